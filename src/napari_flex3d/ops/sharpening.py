"""Fall-off of a map's amplitudes with frequency, and its compensation."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from napari_flex3d.ops.fourier import irfft3, multiplicity, radii, rfft3, shells, soft_edge


def guinier_bfactor(
    volume: Float[Tensor, "n n n"], pixel_size: float, *, coarsest: float = 10.0, finest: float
) -> float:
    """B-factor of a map in Å²: how fast its amplitudes fall, negative as it is applied to sharpen.

    Parameters
    ----------
    volume
        The map, masked.
    pixel_size
        Å.
    coarsest, finest
        Range of resolutions of the fit, Å.

    Returns
    -------
    float
        NaN when fewer than four shells lie in the range.

    Notes
    -----
    Rosenthal & Henderson, J. Mol. Biol. 2003: half the slope of ln(mean power) against 1/d² is B/4 less.
    """
    n = len(volume)
    transform = rfft3(volume)
    shell = shells(n, 3).clamp(max=n // 2).flatten()
    counted = multiplicity(n).expand(transform.shape).flatten().double()
    power = torch.bincount(shell, (transform.abs().square().flatten().double() * counted))
    power /= torch.bincount(shell, counted)
    s = torch.arange(len(power)) / (n * pixel_size)
    used = (s >= 1 / coarsest) & (s <= 1 / finest) & (power > 0) & (torch.arange(len(s)) < n // 2)
    if int(used.sum()) < 4:
        return float("nan")
    slope = np.polyfit(s[used].square().numpy(), 0.5 * power[used].log().numpy(), 1)[0]
    return float(4 * slope)


def sharpen(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    bfactor: float,
    curve: Float[Tensor, " shells"],
    resolution: float,
) -> Float[Tensor, "n n n"]:
    """Map with its fall-off undone, weighted by what its half-maps agree on.

    Parameters
    ----------
    bfactor
        Å², negative to sharpen: amplitudes are multiplied by ``exp(-B s² / 4)``.
    curve
        FSC of the half-maps in shells 0 .. n // 2.
    resolution
        Where the map ends, Å.

    Notes
    -----
    Weight ``sqrt(2 FSC / (1 + FSC))``, Rosenthal & Henderson 2003, eq. 4.
    """
    n = len(volume)
    s = radii(n, 3) / pixel_size
    agreed = curve.clamp(0, 1)[shells(n, 3).clamp(max=n // 2)]
    weight = (2 * agreed / (1 + agreed)).sqrt() * torch.exp(-bfactor / 4 * s.square())
    edge = soft_edge(s * pixel_size, min(pixel_size / resolution, 0.5), 2 / n)
    return irfft3(rfft3(volume) * weight * edge)
