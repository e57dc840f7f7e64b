"""Contrast transfer function."""

import torch
from jaxtyping import Float
from torch import Tensor


def wavelength(voltage: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Electron wavelength in Å of an accelerating voltage in kV."""
    volts = voltage * 1e3
    return 12.2643247 / torch.sqrt(volts * (1 + 0.978466e-6 * volts))


def phase_basis(frequency: Float[Tensor, "*grid 2"]) -> Float[Tensor, "5 *grid"]:
    """What the phase of a contrast transfer function is a sum of: constant, defocus, astigmatism (two), Cs.

    Parameters
    ----------
    frequency
        (kx, ky) in 1/Å.
    """
    kx, ky = frequency[..., 0], frequency[..., 1]
    s2 = frequency.square().sum(-1)
    return torch.stack([torch.ones_like(s2), s2, kx**2 - ky**2, 2 * kx * ky, s2**2])


def ctf_phase(
    basis: Float[Tensor, "5 *grid"],
    defocus_u: Float[Tensor, " batch"],
    defocus_v: Float[Tensor, " batch"],
    defocus_angle: Float[Tensor, " batch"],
    voltage: Float[Tensor, " batch"],
    spherical_aberration: Float[Tensor, " batch"],
    amplitude_contrast: Float[Tensor, " batch"],
    phase_shift: Float[Tensor, " batch"],
) -> Float[Tensor, "batch *grid"]:
    """Phase gamma of each particle, of which the contrast transfer function is minus the sine.

    Parameters
    ----------
    basis
        `phase_basis` of the frequencies; the others as for `ctf`.

    Notes
    -----
    Rohou & Grigorieff, J. Struct. Biol. 2015, eqs. 2-5: ``gamma = -pi lambda df s² + pi/2 Cs lambda³ s⁴ - phase -
    asin(Q)``. The defocus along a direction, ``(u + v + (u - v) cos 2(direction - angle)) / 2``, times s² is linear in
    s², kx² - ky² and 2 kx ky, so that a batch is one matrix product.
    """
    lam = wavelength(voltage)
    mean, half = (
        -0.5 * torch.pi * lam * (defocus_u + defocus_v),
        -0.5 * torch.pi * lam * (defocus_u - defocus_v),
    )
    parts = (
        -phase_shift - torch.asin(amplitude_contrast),
        mean,
        half * torch.cos(2 * defocus_angle),
        half * torch.sin(2 * defocus_angle),
        0.5 * torch.pi * spherical_aberration * 1e7 * lam**3,
    )
    return torch.tensordot(torch.stack(parts, dim=-1), basis, 1)


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
    RELION's formula and sign: minus the sine of `ctf_phase`, times `envelope`.
    """
    phase_of = (
        defocus_u,
        defocus_v,
        defocus_angle,
        voltage,
        spherical_aberration,
        amplitude_contrast,
        phase_shift,
    )
    basis = phase_basis(frequency)
    return -torch.sin(ctf_phase(basis, *phase_of)) * envelope(basis[1], bfactor, scale)


def envelope(
    s2: Float[Tensor, "*grid"], bfactor: Float[Tensor, " batch"], scale: Float[Tensor, " batch"]
) -> Float[Tensor, "batch *#grid"]:
    """Scale of each particle times ``exp(-B s² / 4)``, where s² is; one number a particle, broadcast, without B."""
    shape = (-1,) + (1,) * s2.ndim
    scale = scale.reshape(shape).to(s2)
    return scale * torch.exp(bfactor.reshape(shape).to(s2) * s2 / -4) if bool(bfactor.any()) else scale
