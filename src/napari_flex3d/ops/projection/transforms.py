"""Between the grid that voxels are spread on and the transform of an image: crop, and divide by the spline's own.

`forward` and `inverse` are the two transforms; `to_transform` and `from_transform` crop or pad as well.
"""

from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def forward(grid: Float[Tensor, "*batch fine fine"]) -> Complex[Tensor, "*batch fine width"]:
    """Whole transform of spread grids."""
    return torch.fft.rfft2(grid)


def inverse(columns: Complex[Tensor, "batch half fine"]) -> Float[Tensor, "batch fine fine"]:
    """Grids from the kept columns of their transform, each column lying in one piece; not scaled.

    Notes
    -----
    The columns beyond, which are zero, are not transformed: with the turn, half the time of ``irfft2``.
    """
    batch, half, fine = columns.shape
    rows = columns.new_zeros(batch, fine, fine // 2 + 1)
    rows[..., :half] = torch.fft.ifft(columns, norm="forward").mT
    return torch.fft.irfft(rows, n=fine, norm="forward")


def to_transform(grid: Float[Tensor, "*batch fine fine"], box: int) -> Complex[Tensor, "*batch box half"]:
    """Transform of a spread grid, cropped and freed from the spline; `from_transform` is its adjoint."""
    fine, columns = grid.shape[-1], box // 2 + 1
    factor = spline_factor(box, fine, grid.dtype, str(grid.device))
    transform = forward(grid)
    cropped = transform.new_empty(*grid.shape[:-2], box, columns)
    for kept, held in _rows(box, fine):
        torch.mul(transform[..., held, :columns], factor[kept], out=cropped[..., kept, :])
    return cropped


def from_transform(
    gradient: Complex[Tensor, "batch box half"], fine: int
) -> Float[Tensor, "batch fine fine"]:
    """Adjoint of `to_transform`, with one real transform."""
    box, columns = gradient.shape[-2:]
    factor = adjoint_factor(box, fine, gradient.real.dtype, str(gradient.device))
    padded = gradient.new_zeros(len(gradient), columns, fine)
    for kept, held in _rows(box, fine):
        torch.mul(gradient[:, kept].mT, factor[kept].mT, out=padded[..., held])
    return inverse(padded)


@lru_cache
def spline_factor(box: int, fine: int, dtype: torch.dtype, device: str) -> Float[Tensor, "box half"]:
    """One over the cubic B-spline's transform."""
    ky = (torch.fft.fftfreq(box, dtype=torch.float64) * box).round()
    kx = torch.arange(box // 2 + 1, dtype=torch.float64)
    spline = torch.sinc(ky / fine)[:, None] ** 4 * torch.sinc(kx / fine)[None] ** 4
    return (1 / spline).to(dtype).to(device)  # not all devices have float64


@lru_cache
def adjoint_factor(box: int, fine: int, dtype: torch.dtype, device: str) -> Float[Tensor, "box half"]:
    """The same, halved where the inverse real transform counts a column twice."""
    columns = box // 2 + 1
    factor = spline_factor(box, fine, dtype, device).clone()
    factor[:, slice(1, columns - 1) if fine == box else slice(1, columns)] *= 0.5
    return factor


def _rows(box: int, fine: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the rows of a transform lie, and where in a finer one: those of frequencies from 0 on, then the others."""
    above = (box + 1) // 2
    return (slice(above), slice(above)), (slice(above, box), slice(fine - box + above, fine))
