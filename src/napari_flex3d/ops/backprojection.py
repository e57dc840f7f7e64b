"""Images as slices of the map's transform: how well they determine it, and the map that follows at once."""

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Complex, Float, Int
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
    shell = _shells(n, weights.device)
    count = torch.bincount(shell.flatten())
    mean = torch.bincount(shell.flatten(), weights.double().flatten()) / count
    mean = torch.nn.functional.max_pool1d(mean[None], 2 * reach + 1, 1, reach)[0]
    return mean[shell].to(weights.dtype)


def _shells(n: int, device: torch.device) -> Int[Tensor, "n n half"]:
    """Shell of each coefficient; what lies beyond the last belongs to it."""
    return (radii(n, 3, device) * n).round().long().clamp(max=n // 2)


class DensityPreconditioner:
    """Turns a gradient with respect to a map into the step that would solve the rigid problem.

    Parameters
    ----------
    weights
        Of a `SliceSum` of all images that the gradient sums over, (n, n, half).
    mask
        Voxels of the map that are free, (n, n, n).
    signal
        Ratio of signal to noise in the map that is expected in each shell (n//2 + 1): the map has a Gaussian prior of
        that variance. None: no prior.

    Notes
    -----
    Without motion the normal operator of the least-squares problem is close to ``n³ F^-1 W F`` with ``W`` the weights
    of the Fourier voxels; its inverse, floored where less was measured than in shells nearby, is applied between two
    masks so that it stays symmetric. What the mask leaks from there would be blown up otherwise: on 800 images of
    `groel` at box 48 the step was 99 times too long, and now is 1.3 times. Shells not measured at all are left alone.
    """

    def __init__(
        self,
        weights: Float[Tensor, "n n half"],
        mask: Tensor,
        floor: float = 0.1,
        *,
        signal: Float[Tensor, " half"] | None = None,
    ):
        n = weights.shape[0]
        level, near = _shell_means(weights), _shell_means(weights, LEAK)
        measured = (level > 1e-3 * level.max()) & (radii(n, 3, weights.device) * n < n // 2 - 0.5)
        prior = torch.zeros_like(level) if signal is None else level / signal[_shells(n, weights.device)]
        self._inverse = torch.where(measured, 1 / (n**3 * (weights + prior + floor * near)), 0).float()
        self._prior = (n**3 * prior).float()
        self._box = n
        self._where = mask.flatten().nonzero()[:, 0]

    def to(self, device: torch.device | str) -> "DensityPreconditioner":
        """Work on gradients on another device; the weights are always summed on the CPU."""
        self._inverse, self._prior = self._inverse.to(device), self._prior.to(device)
        self._where = self._where.to(device)
        return self

    def __call__(
        self,
        gradient: Float[Tensor, " voxels"],
        values: Float[Tensor, " voxels"] | None = None,
        share: float = 1.0,
    ) -> Float[Tensor, " voxels"]:
        """Preconditioned gradient, one number per free voxel.

        Parameters
        ----------
        gradient
            Of the data's part of the objective.
        values
            The map, whose prior is added; None: no prior.
        share
            Of all images, in the gradient.
        """
        total = self._transform(gradient)
        if values is not None:
            total += self._transform(values).mul_(self._prior).mul_(share)
        return torch.fft.irfftn(total.mul_(self._inverse), s=(self._box,) * 3).flatten()[self._where]

    def _transform(self, values: Tensor) -> Tensor:
        # the origin may stay in the corner: the weights know differences of places only
        volume = values.new_zeros(self._box**3)
        volume[self._where] = values
        return torch.fft.rfftn(volume.view((self._box,) * 3))
