"""How well the images determine each spatial frequency of a map, and steps scaled by it."""

import torch
from jaxtyping import Float
from napari_flex3d.ops.fourier import multiplicity, radii
from torch import Tensor


def slice_weights(
    rotation: Float[Tensor, "batch 3 3"], power: Float[Tensor, "batch n half"]
) -> Float[Tensor, "n n half"]:
    """Sum over images of ``power`` at the place of every image frequency in the map's transform.

    Parameters
    ----------
    rotation
        Map to image.
    power
        Squared transfer over noise power at each coefficient of `rfft2`.

    Notes
    -----
    Nearest-neighbour insertion of central slices ``k = A^T (kx, ky, 0)`` and of their Friedel mates.
    """
    n = power.shape[-2]
    ky, kx = torch.meshgrid(torch.fft.fftfreq(n) * n, torch.arange(n // 2 + 1.0), indexing="ij")
    plane = torch.stack([kx, ky], dim=-1).to(power.device)
    inside = plane.square().sum(-1) < (n / 2 - 1) ** 2
    share = (power * multiplicity(n, power.device) / 2)[:, inside]
    full = power.new_zeros(n * n * n)
    for turn, weight in zip(rotation, share, strict=True):
        k = (plane[inside] @ turn[:2]).round().long()  # (points, 3): x y z
        for mate in (k, -k):
            x, y, z = (mate % n).unbind(-1)
            full.index_add_(0, (z * n + y) * n + x, weight)
    return full.view(n, n, n)[..., : n // 2 + 1].contiguous()


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
    of the Fourier voxels; its inverse, floored where little was measured, is applied between two masks so that it
    stays symmetric. Shells that were not measured are left alone: what the mask leaks there would be blown up.
    """

    def __init__(self, weights: Float[Tensor, "n n half"], mask: Tensor, floor: float = 0.1):
        n = weights.shape[0]
        radius = (radii(n, 3, weights.device) * n).round().long().clamp(max=n // 2)
        count = torch.bincount(radius.flatten())
        mean = torch.bincount(radius.flatten(), weights.double().flatten()) / count
        level = mean[radius]
        measured = (level > 1e-3 * mean.max()) & (radius < n // 2)
        self._inverse = torch.where(measured, 1 / (n**3 * (weights + floor * level)), 0).float()
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
