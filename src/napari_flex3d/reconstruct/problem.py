"""Least squares for one half-map: what a pass over its particles gives."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.model import FlexModel
from napari_flex3d.ops.fourier import multiplicity, radii, shells, soft_edge
from napari_flex3d.ops.projection import Body, place, project
from napari_flex3d.particles import Particles

BATCH = 32


@dataclass(frozen=True)
class Problem:
    """Images of a half-set, where the map's voxels fall in them, and the noise.

    Parameters
    ----------
    particles
        At the crop box.
    rows
        Particles of the half-set.
    body
        The masked voxels on the mesh, or on a single tetrahedron for the rigid twin.
    model
        Gives every particle's flow; None for the rigid twin.
    weight
        Multiplicity over noise power of each coefficient (n, half), from `noise_weight`.
    device
        Where passes over the particles are computed; all else, results included, is on the CPU.
    """

    particles: Particles
    rows: NDArray[np.int64]
    body: Body
    model: FlexModel | None
    weight: Tensor
    device: torch.device = torch.device("cpu")

    def vertices(self, rows: NDArray[np.int64], rotation: Tensor) -> Tensor:
        """Mesh vertices in each image (B, P, 2), pixels."""
        rest = self.body.vertices[None]
        if self.model is not None:
            with torch.no_grad():
                rest = rest + self.model.generator(torch.from_numpy(self.model.standard[rows]))
        return place(rotation, rest.to(rotation.device), self.particles.pixel_size)

    def mean_vertices(self, rows: NDArray[np.int64]) -> Tensor:
        """Mesh vertices (P, 3), Å, of the deformation that some particles share."""
        if self.model is None:
            return self.body.vertices
        generator = self.model.generator
        with torch.no_grad():
            features = generator.features(torch.from_numpy(self.model.standard[rows])).mean(0)
            return self.body.vertices + generator.flow(features - generator.mean_features)

    def gradient(
        self, values: Tensor | None, *, against_images: bool
    ) -> Generator[int, None, tuple[Tensor, float]]:
        """Sum over the particles of the gradient and of the value of half the squared misfit.

        Parameters
        ----------
        values
            The map's voxels, in the body's order; None for zero.
        against_images
            Misfit to the images; otherwise to nothing, which gives the normal operator's product.

        Yields
        ------
        Particles done so far.
        """
        box, count = self.particles.box_size, len(self.body.order)
        body, weight = self.body.to(self.device), self.weight.to(self.device)
        at = torch.zeros(count, device=self.device) if values is None else values.to(self.device)
        total, value = torch.zeros(count, device=self.device), 0.0
        for start in range(0, len(self.rows), BATCH):
            rows = self.rows[start : start + BATCH]
            batch = self.particles.batch(rows, self.device)
            free = at.detach().clone().requires_grad_()
            images = batch.transfer * project(free, self.vertices(rows, batch.rotation), body, box)
            misfit = batch.transform - images if against_images else images
            loss = 0.5 * (weight * (misfit.real.square() + misfit.imag.square())).sum()
            (step,) = torch.autograd.grad(loss, free)
            total += step
            value += float(loss.detach())
            yield start + len(rows)
        return total.cpu(), value


def noise_weight(particles: Particles) -> Tensor:
    """Weight of each coefficient (n, half): multiplicity over noise power, up to just below the Nyquist frequency."""
    box = particles.box_size
    power = torch.as_tensor(np.asarray(particles.noise))
    band = soft_edge(radii(box), 0.5 - 1.5 / box, 2 / box)
    band[0, 0] = 0  # the mean of an image is background
    return band * multiplicity(box) / power[shells(box).clamp(max=box // 2)]
