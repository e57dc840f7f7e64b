"""Particle images before any model: norm, crop, down-sampling, and the noise around the particle."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from napari_flex3d.ops.fourier import resample2, rfft2, shell_mean


def outside_circle(
    box: int, radius: float, shift_px: Float[Tensor, "batch 2"], edge: float = 0.0
) -> Float[Tensor, "batch box box"]:
    """Weight 1 outside a circle about each particle's own centre, 0 inside.

    Parameters
    ----------
    radius
        Of the circle, pixels.
    shift_px
        Shift (x, y) that would centre the particle; its centre is at ``box // 2 - shift_px``.
    edge
        Width in pixels over which the weight rises outside the circle; a sharp circle when 0.
    """
    axis = torch.arange(box, dtype=torch.float32) - box // 2
    x = axis[None, None, :] + shift_px[:, 0, None, None]
    y = axis[None, :, None] + shift_px[:, 1, None, None]
    distance = torch.hypot(x, y) - radius
    return (distance / edge).clamp(0, 1) if edge else (distance > 0).float()


def normalise(
    images: Float[Tensor, "batch box box"], outside: Float[Tensor, "batch box box"]
) -> Float[Tensor, "batch box box"]:
    """Images with mean 0 and standard deviation 1 around the particle, where the weight ``outside`` is."""
    total = outside.sum((-2, -1), keepdim=True).clamp(min=1)
    centred = images - (images * outside).sum((-2, -1), keepdim=True) / total
    variance = (centred.square() * outside).sum((-2, -1), keepdim=True) / total
    return centred / variance.sqrt().clamp(min=1e-12)


def crop(images: Float[Tensor, "*batch n n"], box: int) -> Float[Tensor, "*batch box box"]:
    """Middle part of images; the centre pixel ``n // 2`` becomes ``box // 2``, so shifts stay."""
    first = images.shape[-1] // 2 - box // 2
    return images[..., first : first + box, first : first + box]


def shrink(images: Float[Tensor, "*batch n n"], box: int) -> Float[Tensor, "*batch box box"]:
    """Images on fewer pixels over the same field; white noise of standard deviation 1 keeps it."""
    return resample2(images, box) * (images.shape[-1] / box)


def regrid(
    images: Float[Tensor, "batch n n"], pixel_size: float, box: int, new_pixel_size: float
) -> Float[Tensor, "batch box box"]:
    """Images on a grid of another box and pixel size about the same centre ``n // 2``.

    What lies outside the given images is 0; white noise of standard deviation 1 keeps its power in a coefficient.

    Notes
    -----
    Trigonometric interpolation: exact for images without frequencies that the new grid cannot hold, which are
    left out.
    """
    ratio = new_pixel_size / pixel_size
    weight = _sampling(images.shape[-1], box, ratio).to(images)
    return weight @ images @ weight.T * ratio


@lru_cache(maxsize=8)
def _sampling(n: int, box: int, ratio: float) -> Float[Tensor, "box n"]:
    """Weights of n samples at each of ``box`` places ``ratio`` samples apart: a Dirichlet kernel."""
    place = (torch.arange(box, dtype=torch.float64) - box // 2) * ratio
    most = min((n - 1) // 2, math.ceil(0.5 * n / ratio) - 1)
    wave = 2 * torch.pi / n * torch.arange(1, most + 1, dtype=torch.float64)
    there = place[:, None] * wave
    here = (torch.arange(n, dtype=torch.float64) - n // 2)[:, None] * wave
    weight = (1 + 2 * (there.cos() @ here.cos().T + there.sin() @ here.sin().T)) / n
    weight[place.abs() > n / 2] = 0
    return weight


def noise_power(
    images: Float[Tensor, "batch n n"], outside: Float[Tensor, "batch n n"]
) -> Float[Tensor, "batch shells"]:
    """Noise power of a coefficient of `rfft2` in each shell, from what lies around the particle.

    White noise of standard deviation 1 gives ``n**2``.

    Parameters
    ----------
    outside
        Weight of each pixel; a soft edge keeps strong low frequencies from leaking into the others.
    """
    n = images.shape[-1]
    total = outside.sum((-2, -1), keepdim=True)
    mean = (images * outside).sum((-2, -1), keepdim=True) / total
    power = rfft2((images - mean) * outside).abs().square()
    area = outside.square().sum((-2, -1)).clamp(min=1e-6)
    shells = shell_mean(power, n) * (n**2 / area)[:, None]
    shells[:, 0] = shells[:, 1]  # the mean was taken out
    return shells


def resample_noise(
    power: Float[Tensor, " shells"], box: int, crop_box: int, train_box: int
) -> Float[Tensor, " some"]:
    """Noise power of images of ``box`` after `crop` to ``crop_box`` and `shrink` to ``train_box``."""
    shell = torch.arange(train_box // 2 + 1, dtype=torch.float64) * box / crop_box
    low = shell.floor().long().clamp(max=len(power) - 2)
    part = (shell - low).clamp(max=1).to(power.dtype)
    value = power[low] * (1 - part) + power[low + 1] * part
    return value * (train_box / box) ** 2
