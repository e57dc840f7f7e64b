"""Higher-order aberrations of the objective lens: beam tilt and RELION's Zernike terms."""

from collections.abc import Sequence
from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor

from napari_flex3d.ops.ctf import wavelength


def zernike_phase(
    frequency: Float[Tensor, "*grid 2"], coefficients: Sequence[float], *, odd: bool
) -> Float[Tensor, "*grid"]:
    """Sum of Zernike terms, radians.

    Parameters
    ----------
    frequency
        (kx, ky) in 1/Å, not normalised to a unit disc.
    coefficients
        rlnOddZernike or rlnEvenZernike, by order n and, within it, by m from -n to n.
    odd
        Whether they are the odd ones, which shift phases, or the even ones, which add to the CTF's phase.

    Notes
    -----
    RELION's basis (Zivanov et al., IUCrJ 2020): ``R_n^|m|(rho) cos(m phi)``, ``sin(|m| phi)`` for negative m.
    """
    radius = frequency.square().sum(-1).sqrt()
    angle = torch.atan2(frequency[..., 1], frequency[..., 0])
    total = torch.zeros_like(radius)
    order = 1 if odd else 0
    terms = iter(coefficients)
    remaining = len(coefficients)
    while remaining > 0:
        for m in range(-order, order + 1, 2):
            wave = torch.cos(m * angle) if m >= 0 else torch.sin(-m * angle)
            total = total + next(terms, 0.0) * _radial(radius, order, abs(m)) * wave
        remaining -= order + 1
        order += 2
    return total


def beam_tilt_phase(
    frequency: Float[Tensor, "*grid 2"],
    tilt: Sequence[float],
    voltage: float,
    spherical_aberration: float,
) -> Float[Tensor, "*grid"]:
    """Phase of a tilted beam, radians.

    Parameters
    ----------
    frequency
        (kx, ky) in 1/Å.
    tilt
        rlnBeamTiltX and rlnBeamTiltY, mrad.
    voltage, spherical_aberration
        kV, mm.

    Notes
    -----
    Axial coma, ``-2 pi Cs lambda² k² (k . tilt)``, in RELION's sign.
    """
    lam = wavelength(torch.tensor(voltage, dtype=frequency.dtype))
    along = frequency @ torch.tensor(tilt, dtype=frequency.dtype) * 1e-3
    return -2 * torch.pi * spherical_aberration * 1e7 * lam**2 * frequency.square().sum(-1) * along


def _radial(radius: Float[Tensor, "*grid"], n: int, m: int) -> Float[Tensor, "*grid"]:
    total = torch.zeros_like(radius)
    for k in range((n - m) // 2 + 1):
        weight = factorial(n - k) / (factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k))
        total = total + (-1) ** k * weight * radius ** (n - 2 * k)
    return total
