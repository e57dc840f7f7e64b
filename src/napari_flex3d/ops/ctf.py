"""Contrast transfer function."""

import torch
from jaxtyping import Float
from torch import Tensor


def wavelength(voltage: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Electron wavelength in Å of an accelerating voltage in kV."""
    volts = voltage * 1e3
    return 12.2643247 / torch.sqrt(volts * (1 + 0.978466e-6 * volts))


def ctf(
    frequency: Float[Tensor, "*grid 2"],
    defocus_u: Float[Tensor, " batch"],
    defocus_v: Float[Tensor, " batch"],
    defocus_angle: Float[Tensor, " batch"],
    voltage: Float[Tensor, " batch"],
    spherical_aberration: Float[Tensor, " batch"],
    amplitude_contrast: Float[Tensor, " batch"],
    phase_shift: Float[Tensor, " batch"],
    bfactor: Float[Tensor, " batch"],
    scale: Float[Tensor, " batch"],
) -> Float[Tensor, "batch *grid"]:
    """Contrast transfer function of each particle; +amplitude contrast at zero frequency.

    Parameters
    ----------
    frequency
        (kx, ky) in 1/Å.
    defocus_u, defocus_v
        Underfocus along the two axes, Å, positive for underfocus.
    defocus_angle
        Angle from x to the first axis, towards y, radians.
    voltage
        kV.
    spherical_aberration
        mm.
    amplitude_contrast
        Fraction.
    phase_shift
        Phase plate, radians.
    bfactor
        Å², envelope ``exp(-B s² / 4)``.
    scale
        Factor on the whole.

    Notes
    -----
    RELION's formula and sign (Rohou & Grigorieff, J. Struct. Biol. 2015, eqs. 2-5):
    ``gamma = -pi lambda df s² + pi/2 Cs lambda³ s⁴ - phase - asin(Q)``, ``CTF = -sin(gamma)``.
    """
    shape = (-1,) + (1,) * (frequency.ndim - 1)
    u, v, angle, q, phase, b, factor = (
        p.reshape(shape)
        for p in (defocus_u, defocus_v, defocus_angle, amplitude_contrast, phase_shift, bfactor, scale)
    )
    lam = wavelength(voltage).reshape(shape)
    cs = spherical_aberration.reshape(shape) * 1e7
    s2 = frequency.square().sum(-1)
    direction = torch.atan2(frequency[..., 1], frequency[..., 0])
    defocus = 0.5 * (u + v + (u - v) * torch.cos(2 * (direction - angle)))
    gamma = -torch.pi * lam * defocus * s2 + 0.5 * torch.pi * cs * lam**3 * s2**2 - phase - torch.asin(q)
    return -torch.sin(gamma) * torch.exp(-b * s2 / 4) * factor
