"""Images and maps of pseudo-atoms by the exact Fourier sum; nothing of `ops.projection` is in them."""

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy import ndarray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ..ops import fourier
from ..ops.ctf import ctf
from .protein import FIELD

BLOB_SD = 2.0
"""Standard deviation of one pseudo-atom in a field of `FIELD`, Å."""

VOLTAGE, SPHERICAL_ABERRATION, AMPLITUDE_CONTRAST = 300.0, 2.7, 0.1


def _waves(positions_px: Float[Tensor, "*batch atoms"], box: int) -> Complex[Tensor, "*batch atoms half"]:
    """exp(-2 pi i k x / box) for k = 0 .. box/2, by doubling."""
    angle = -2 * torch.pi / box * positions_px
    waves = torch.ones_like(angle)[..., None].to(torch.complex64)
    power = torch.polar(torch.ones_like(angle), angle)[..., None]
    while waves.shape[-1] <= box // 2:
        waves = torch.cat([waves, waves * power], dim=-1)
        power = power * power
    return waves[..., : box // 2 + 1]


def _both_signs(waves: Complex[Tensor, "*batch half"]) -> Complex[Tensor, "*batch n"]:
    """All frequencies of an axis in the order of ``torch.fft.fftfreq``."""
    return torch.cat([waves[..., :-1], waves[..., 1:].flip(-1).conj()], dim=-1)


def _envelope(box: int, dims: int) -> Tensor:
    """Transform of one pseudo-atom of unit mass."""
    sd_px = BLOB_SD * box / FIELD
    return torch.exp(-2 * (torch.pi * sd_px * fourier.radii(box, dims)).square())


def project_atoms(
    atoms: Float[ndarray, "batch atoms 3"], rotation: Float[ndarray, "batch 3 3"], box: int, pixel_size: float
) -> Complex[Tensor, "batch n half"]:
    """Project pseudo-atoms by the direct sum; the transforms have the layout of `ops.fourier.rfft2`."""
    seen = torch.from_numpy(np.einsum("bij,baj->bai", rotation[:, :2], atoms) / pixel_size).float()
    rows, columns = _both_signs(_waves(seen[..., 1], box)), _waves(seen[..., 0], box)
    return rows.transpose(1, 2) @ columns * _envelope(box, 2)


def atoms_to_map(atoms: Float[ndarray, "atoms 3"], box: int, pixel_size: float) -> Float[Tensor, "n n n"]:
    """Density of pseudo-atoms of unit mass each, band-limited at the Nyquist frequency."""
    total = torch.zeros((box * box, box // 2 + 1), dtype=torch.complex64)
    for part in torch.split(torch.from_numpy(atoms / pixel_size).float(), 256):
        x, y, z = (_waves(part[:, axis], box) for axis in range(3))
        plane = _both_signs(z)[:, :, None] * _both_signs(y)[:, None, :]
        total += plane.flatten(1).T @ x
    return fourier.irfft3(total.reshape(box, box, -1) * _envelope(box, 3))


def solvent_mask(
    states: Float[ndarray, "states atoms 3"], box: int, pixel_size: float
) -> Float[ndarray, "n n n"]:
    """1 within 7 Å of any atom of any state, falling to 0 at 12 Å (in a field of `FIELD`)."""
    index = np.rint(states.reshape(-1, 3) / pixel_size).astype(int) + box // 2
    x, y, z = index[((index >= 0) & (index < box)).all(-1)].T
    empty = np.ones((box, box, box), dtype=bool)
    empty[z, y, x] = False
    distance = distance_transform_edt(empty) * FIELD / box
    ramp = np.clip((np.asarray(distance) - 7.0) / 5.0, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * ramp)).astype(np.float32)


def form_images(
    atoms: Float[ndarray, "batch atoms 3"], seen: dict[str, ndarray], box: int, pixel_size: float
) -> Float[Tensor, "batch n n"]:
    """Noise-free images of pseudo-atoms: projection, contrast transfer, shift, contrast of the particle."""
    column = {k: torch.from_numpy(v).float() for k, v in seen.items() if k not in ("micrograph", "half")}
    one = torch.ones(len(atoms))
    frequency = fourier.frequencies(box)
    transfer = ctf(
        frequency / pixel_size,
        column["defocus_u"],
        column["defocus_v"],
        column["defocus_angle"],
        VOLTAGE * one,
        SPHERICAL_ABERRATION * one,
        AMPLITUDE_CONTRAST * one,
        0 * one,
        0 * one,
        column["contrast"],
    )
    phase = fourier.shift_phase(frequency, column["shift"] / pixel_size)
    return fourier.irfft2(project_atoms(atoms, seen["rotation"], box, pixel_size) * transfer * phase)
