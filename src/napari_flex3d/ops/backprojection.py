"""Images as slices of the map's transform: how well they determine it, and the map that follows at once."""

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_flex3d.ops.fourier import irfft3, multiplicity, radii

_compile = numba.njit(cache=True, nogil=True, boundscheck=False)


class SliceSum:
    """Sum of central slices in the transform of a map: ``A^T (kx, ky, 0)`` of every image frequency.

    Parameters
    ----------
    box_size
        Of the images.
    padding
        How much finer than the images' own transform the grid is.
    with_values
        Whether complex values are summed beside their weights.

    Notes
    -----
    Trilinear insertion of each coefficient and of its Friedel mate. Frequencies beyond the box are left out.
    """

    def __init__(self, box_size: int, padding: int = 1, *, with_values: bool = False) -> None:
        n = box_size * padding
        self.box_size, self.padding = box_size, padding
        self.weights = torch.zeros(n, n, n // 2 + 1)
        self.values = torch.zeros(n, n, n // 2 + 1, dtype=torch.complex64) if with_values else None

    def add(
        self,
        rotation: Float[Tensor, "batch 3 3"],
        power: Float[Tensor, "batch n half"],
        values: Complex[Tensor, "batch n half"] | None = None,
    ) -> None:
        """Add images.

        Parameters
        ----------
        rotation
            Map to image.
        power
            Squared transfer over noise power at each coefficient of `rfft2`.
        values
            Conjugate transfer times image over noise power, if values are summed.
        """
        share = power * multiplicity(self.box_size) / 2
        scaled = share.to(torch.complex64) if values is None else values * multiplicity(self.box_size) / 2
        sums = self.values if self.values is not None else torch.zeros(1, 1, 1, dtype=torch.complex64)
        arrays = (rotation.float(), share.float(), scaled, self.weights, sums)
        _insert(*(a.contiguous().numpy() for a in arrays), self.padding, self.values is not None)

    def inverted(self, floor: float = 1e-3) -> Float[Tensor, "n n n"]:
        """Map that solves the rigid problem frequency by frequency.

        Parameters
        ----------
        floor
            Least weight, as a share of the mean weight of the shell.

        Notes
        -----
        The real-space fall-off of the trilinear insertion is divided out.
        """
        assert self.values is not None
        level = _shell_means(self.weights)
        measured = (level > 1e-6 * level.max()) & (self.weights > 0)
        return self._cropped(torch.where(measured, self.values / (self.weights + floor * level), 0))

    def backprojected(self) -> Float[Tensor, "n n n"]:
        """Sum of the images' values, as they are, in real space: what the rigid problem's gradient is made of."""
        assert self.values is not None
        return self._cropped(self.values) * len(self.values) ** 3

    def _cropped(self, transform: Tensor) -> Tensor:
        """Map of a transform, freed from the padding and from what the insertion took away."""
        n, fine = self.box_size, len(transform)
        volume = irfft3(transform)
        first = fine // 2 - n // 2
        axis = torch.sinc((torch.arange(n) - n // 2) / fine).square()
        fall = axis[:, None, None] * axis[:, None] * axis
        return volume[(slice(first, first + n),) * 3] / fall


def slice_weights(
    rotation: Float[Tensor, "batch 3 3"], power: Float[Tensor, "batch n half"]
) -> Float[Tensor, "n n half"]:
    """Sum over images of ``power`` at the place of every image frequency in the map's transform (`SliceSum`)."""
    total = SliceSum(power.shape[-2])
    total.add(rotation, power)
    return total.weights


LEAK = 2
"""Shells that a mask leaks into."""


@_compile
@no_type_check
def _insert(rotation, power, values, weights, sums, padding, with_values):
    n, half = power.shape[1], power.shape[2]
    fine = weights.shape[0]
    limit = (n / 2 - 1) ** 2
    for i in range(len(power)):
        a = rotation[i]
        for row in range(n):
            ky = row if row < n - row else row - n
            for kx in range(half):
                if kx * kx + ky * ky >= limit:
                    continue
                w, v = power[i, row, kx], values[i, row, kx]
                for mate in range(2):
                    sign = 1.0 - 2.0 * mate
                    x = sign * padding * (kx * a[0, 0] + ky * a[1, 0])
                    y = sign * padding * (kx * a[0, 1] + ky * a[1, 1])
                    z = sign * padding * (kx * a[0, 2] + ky * a[1, 2])
                    if x <= -1.0:
                        continue  # its mate is kept
                    x0, y0, z0 = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
                    for dx in range(2):
                        at_x = x0 + dx
                        if at_x < 0:
                            continue
                        wx = x - x0 if dx else 1.0 - (x - x0)
                        for dy in range(2):
                            wxy = wx * (y - y0 if dy else 1.0 - (y - y0))
                            at_y = (y0 + dy) % fine
                            for dz in range(2):
                                share = np.float32(wxy * (z - z0 if dz else 1.0 - (z - z0)))
                                at_z = (z0 + dz) % fine
                                weights[at_z, at_y, at_x] += share * w
                                if with_values:
                                    sums[at_z, at_y, at_x] += share * (v if mate == 0 else np.conj(v))


def _shell_means(weights: Float[Tensor, "n n half"], reach: int = 0) -> Float[Tensor, "n n half"]:
    """Mean weight of each coefficient's shell, or the largest of the shells within ``reach`` of it."""
    n = weights.shape[0]
    shell = (radii(n, 3, weights.device) * n).round().long().clamp(max=n // 2)
    count = torch.bincount(shell.flatten())
    mean = torch.bincount(shell.flatten(), weights.double().flatten()) / count
    mean = torch.nn.functional.max_pool1d(mean[None], 2 * reach + 1, 1, reach)[0]
    return mean[shell].to(weights.dtype)


class DensityPreconditioner:
    """Turns a gradient with respect to a map into the step that would solve the rigid problem.

    Parameters
    ----------
    weights
        From `slice_weights`, summed over all images that the gradient sums over, (n, n, half).
    mask
        Voxels of the map that are free, (n, n, n).

    Notes
    -----
    Without motion the normal operator of the least-squares problem is close to ``n³ F^-1 W F`` with ``W`` the weights
    of the Fourier voxels; its inverse, floored where less was measured than in shells nearby, is applied between two
    masks so that it stays symmetric. What the mask leaks from there would be blown up otherwise: on 800 images of
    `groel` at box 48 the step was 99 times too long, and now is 1.3 times. Shells not measured at all are left alone.
    """

    def __init__(self, weights: Float[Tensor, "n n half"], mask: Tensor, floor: float = 0.1):
        n = weights.shape[0]
        level, near = _shell_means(weights), _shell_means(weights, LEAK)
        measured = (level > 1e-3 * level.max()) & (radii(n, 3, weights.device) * n < n // 2 - 0.5)
        self._inverse = torch.where(measured, 1 / (n**3 * (weights + floor * near)), 0).float()
        self._box = n
        self._where = mask.flatten().nonzero()[:, 0]

    def to(self, device: torch.device | str) -> "DensityPreconditioner":
        """Work on gradients on another device; the weights are always summed on the CPU."""
        self._inverse, self._where = self._inverse.to(device), self._where.to(device)
        return self

    def __call__(self, gradient: Float[Tensor, " voxels"]) -> Float[Tensor, " voxels"]:
        """Preconditioned gradient, one number per free voxel."""
        shape = (self._box,) * 3
        volume = gradient.new_zeros(self._box**3)
        volume[self._where] = gradient
        # the origin may stay in the corner: the weights know differences of places only
        solved = torch.fft.irfftn(torch.fft.rfftn(volume.view(shape)) * self._inverse, s=shape)
        return solved.flatten()[self._where]
