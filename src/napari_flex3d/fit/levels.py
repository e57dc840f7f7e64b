"""Coarse to fine: images and voxels just fine enough for the frequencies that an epoch uses."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.fit.state import Fit, Setup
from napari_flex3d.mesh import voxel_positions
from napari_flex3d.ops.fourier import cropped, multiplicity, radii, resample3, shells, soft_edge
from napari_flex3d.ops.projection import Body, fine_box, place, project, rigid_body
from napari_flex3d.particles import ParticleBatch

RESOLUTION_LIMIT = 0.4
"""Cycles per pixel that training sees at its end: 80 % of the Nyquist frequency."""

FIRST_LIMIT = 0.2
"""Cycles per pixel of the training box that the first epoch sees."""

EARLY_LIMIT = 0.25
"""Where that has risen to when the map is released and everything is seen."""

NEGLIGIBLE = (1e-3, 3e-4, 1e-4)
"""Shares of the density's sum of squares that a held map may lose, tried in this order."""

LARGEST_ERROR = 0.02
"""Relative change of any image that leaving voxels out may make."""

SMALLEST_GRID = 24

HELD_LIMIT = 0.45
"""Highest frequency in use on the smaller grid of a held map, cycles per voxel: no more voxels than that needs."""


@dataclass(frozen=True)
class Level:
    """What an epoch works on.

    Parameters
    ----------
    limit
        Highest frequency in use, cycles per pixel of the training box.
    box_size, pixel_size
        Of the images: they hold the frequencies up to the limit and no others.
    oversampling
        How much finer than the images the spreading grid is.
    body, rigid
        Voxels tied to the mesh, and the same voxels tied to nothing that bends.
    values
        The map there while it is held; None when it is the fit's own.
    amplitude
        One over the noise's amplitude for each coefficient of an image (box, half), zero beyond the limit.
    voxels, error
        Voxels of the mask at this level, and what leaving out those with next to no density changes: relative
        error of the images, the largest of some views.
    """

    limit: float
    box_size: int
    pixel_size: float
    oversampling: float
    body: Body
    rigid: Body
    values: Tensor | None
    amplitude: Tensor
    voxels: int
    error: float

    def batches(
        self, setup: Setup, rows: NDArray[np.int64], size: int
    ) -> Iterator[tuple[NDArray[np.int64], ParticleBatch]]:
        """Rows and images of some particles, ``size`` at a time, at this box and in units of the noise."""
        parts = (rows[start : start + size] for start in range(0, len(rows), size))
        for some, batch in setup.particles.batches(parts, setup.device, box=self.box_size):
            yield some, batch.times(self.amplitude)

    def facts(self) -> dict[str, float]:
        """What is reported of it."""
        return {
            "box": self.box_size,
            "voxels": len(self.body.order),
            "left_out_error": self.error,
        }


def early_epochs(epochs: int) -> int:
    """Epochs during which the map is held and everything is coarse."""
    return max(1, epochs // 3)


def level_at(setup: Setup, state: Fit, epoch: int) -> Level:
    """Level of an epoch: it follows from the epoch and the map alone, so a resumed run makes the same."""
    early = early_epochs(setup.params.epochs)
    limit = RESOLUTION_LIMIT
    if epoch < early:
        limit = FIRST_LIMIT + (EARLY_LIMIT - FIRST_LIMIT) * epoch / early
    if epoch < early or setup.params.freeze_density:
        return held_level(setup, state.values.detach(), limit)
    common, amplitude = _grid(setup, limit, setup.particles.box_size)
    voxels = len(setup.body.order)
    return Level(*common, setup.body, setup.rigid, None, amplitude.to(setup.device), voxels, 0.0)


def held_level(setup: Setup, values: Tensor, limit: float) -> Level:
    """Level at which a map (values of the body's voxels) is held; the limit is in cycles per training pixel."""
    n, device = setup.particles.box_size, setup.device
    grid = min(n, max(SMALLEST_GRID, 2 * math.ceil(limit / HELD_LIMIT * n / 2)))
    common, amplitude = _grid(setup, limit, grid)
    there, points = _held_map(setup, values, grid)
    keep, error = _with_density(there, points, *common[1:], amplitude)
    body = setup.mesh.bind(points[keep])
    rigid = rigid_body(torch.from_numpy(points[keep]).float()[body.order])
    kept = there[keep][body.order].to(device)
    return Level(*common, body.to(device), rigid.to(device), kept, amplitude.to(device), len(there), error)


def _grid(setup: Setup, limit: float, grid: int) -> tuple[tuple[float, int, float, float], Tensor]:
    """Limit, box, pixel size and oversampling of the images for voxels on a grid; and the amplitude of the noise."""
    n = setup.particles.box_size
    box = min(n, 2 * (math.floor(limit * n) + 1))
    # half a pixel less, so that rounding up gives this very grid
    oversampling = (fine_box(grid, 1.5) - 0.5) / box
    pixel_size = setup.particles.pixel_size * n / box
    return (limit, box, pixel_size, oversampling), cropped(noise_amplitude(setup, limit), box)


def noise_amplitude(setup: Setup, limit: float) -> Tensor:
    """Square root of multiplicity over noise power of each coefficient of the training box, zero beyond the limit."""
    box = setup.particles.box_size
    power = torch.as_tensor(np.asarray(setup.particles.noise))
    edge = soft_edge(radii(box), limit - 0.01, 0.02)
    edge[0, 0] = 0  # the mean of an image is background
    return (edge * multiplicity(box) / power[shells(box).clamp(max=box // 2)]).sqrt()


def _held_map(setup: Setup, values: Tensor, grid: int) -> tuple[Tensor, np.ndarray]:
    """Values and places (Å) of the mask's voxels on a grid of other size; projections keep their size."""
    n = setup.particles.box_size
    on_grid = torch.empty_like(values)
    on_grid[setup.body.order] = values
    volume = torch.zeros(n, n, n)
    volume[setup.mask] = on_grid.cpu()
    mask = resample3(setup.mask.float(), grid) > 0.5
    there = resample3(volume, grid)[mask] * (n / grid) ** 3
    pixel_size = setup.particles.pixel_size * n / grid
    return there, voxel_positions(np.argwhere(mask.numpy()), grid, pixel_size)


def _with_density(
    values: Tensor, points: np.ndarray, box: int, pixel_size: float, oversampling: float, amplitude: Tensor
) -> tuple[Tensor, float]:
    """Voxels (N) worth keeping, and the relative error of the images that leaving out the others makes."""
    square, order = values.double().square().sort()
    share = torch.empty_like(square)
    share[order] = square.cumsum(0) / square.sum().clamp(min=1e-30)
    body = rigid_body(torch.from_numpy(points).float())
    random = torch.Generator().manual_seed(0)
    views = torch.linalg.qr(torch.randn(16, 3, 3, generator=random))[0]
    at = place(views, body.vertices[None], pixel_size)

    def size(some: Tensor) -> Tensor:
        images = project(some, at, body, box, oversampling) * amplitude
        return torch.view_as_real(images).square().sum((-3, -2, -1))

    whole = size(values).clamp(min=1e-30)
    for negligible in NEGLIGIBLE:
        keep = share > negligible
        error = float((size(values * ~keep) / whole).max().sqrt())
        if error <= LARGEST_ERROR:
            return keep, error
    return torch.ones_like(keep), 0.0
