"""Centred transforms, resampling by cropping frequencies, shells. The only place that shifts.

Images and volumes have their origin at index ``n // 2``; transforms keep the layout of ``torch.fft.rfftn``: zero
frequency first, last axis halved. Frequencies are in cycles per pixel, so 0.5 is the Nyquist frequency.
"""

from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor


def rfft2(images: Float[Tensor, "*batch n n"]) -> Complex[Tensor, "*batch n half"]:
    """Transform of each image about its centre pixel ``n // 2``."""
    return torch.fft.rfft2(torch.fft.ifftshift(images, dim=(-2, -1)))


def cropped_rfft2(images: Float[Tensor, "*batch n n"], box: int) -> Complex[Tensor, "*batch box half"]:
    """`rfft2` of images of even size, and of that what an even ``box`` over the same field has (`cropped`)."""
    whole = torch.fft.rfft2(images)
    transform = whole if box == images.shape[-1] else cropped(whole, box)
    # half the box to the side is a change of every second sign
    return transform.mul_(_chequers(box, images.dtype, str(images.device)))


@lru_cache
def _chequers(box: int, dtype: torch.dtype, device: str) -> Float[Tensor, "box half"]:
    odd = (torch.arange(box)[:, None] + torch.arange(box // 2 + 1)) % 2
    return (1 - 2 * odd).to(dtype).to(device)


def irfft2(transforms: Complex[Tensor, "*batch n half"]) -> Float[Tensor, "*batch n n"]:
    """Images of transforms made by `rfft2`; the box must be even unless ``half`` says otherwise."""
    n = transforms.shape[-2]
    return torch.fft.fftshift(torch.fft.irfft2(transforms, s=(n, n)), dim=(-2, -1))


def rfft3(volumes: Float[Tensor, "*batch n n n"]) -> Complex[Tensor, "*batch n n half"]:
    """Transform of each volume about its centre voxel ``n // 2``."""
    return torch.fft.rfftn(torch.fft.ifftshift(volumes, dim=(-3, -2, -1)), dim=(-3, -2, -1))


def irfft3(transforms: Complex[Tensor, "*batch n n half"]) -> Float[Tensor, "*batch n n n"]:
    """Volumes of transforms made by `rfft3`."""
    n = transforms.shape[-2]
    return torch.fft.fftshift(torch.fft.irfftn(transforms, s=(n, n, n), dim=(-3, -2, -1)), dim=(-3, -2, -1))


def frequencies(n: int, device: torch.device | str = "cpu") -> Float[Tensor, "n half 2"]:
    """Frequency ``(kx, ky)`` of each coefficient of `rfft2`, cycles per pixel."""
    ky, kx = torch.meshgrid(torch.fft.fftfreq(n), torch.fft.rfftfreq(n), indexing="ij")
    return torch.stack([kx, ky], dim=-1).to(device)


def radii(n: int, dims: int = 2, device: torch.device | str = "cpu") -> Float[Tensor, "*shape"]:
    """Length of the frequency of each coefficient of `rfft2` or `rfft3`, cycles per pixel."""
    axes = [torch.fft.fftfreq(n)] * (dims - 1) + [torch.fft.rfftfreq(n)]
    grids = torch.meshgrid(*axes, indexing="ij")
    return torch.stack(grids).square().sum(0).sqrt().to(device)


def shells(n: int, dims: int = 2, device: torch.device | str = "cpu") -> Int[Tensor, "*shape"]:
    """Shell of each coefficient: its radius in whole Fourier pixels."""
    return (radii(n, dims) * n).round().long().to(device)


def multiplicity(n: int, device: torch.device | str = "cpu") -> Float[Tensor, " half"]:
    """How often each column of the last axis counts in a sum over all frequencies: 2, or 1 for its own mirror."""
    weights = torch.full((n // 2 + 1,), 2.0, device=device)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights


def shift_phase(
    frequency: Float[Tensor, "n half 2"], shift_px: Float[Tensor, "*batch 2"]
) -> Complex[Tensor, "*batch n half"]:
    """Factor that puts a centred particle where its recorded image has it.

    Parameters
    ----------
    frequency
        From `frequencies`.
    shift_px
        Shift (x, y) in pixels that would centre the particle; it sits at ``n // 2 - shift_px``.

    Notes
    -----
    ``exp(+2 pi i k.t)``, RELION's sign (``ObservationModel::predictObservation``).
    """
    angle = 2 * torch.pi * shift_px
    angles = angle[..., :1] * frequency[0, :, 0], angle[..., 1:] * frequency[:, 0, 1]
    along_x, along_y = (torch.polar(torch.ones_like(a), a) for a in angles)
    return along_y[..., :, None] * along_x[..., None, :]


def cropped(transforms: Shaped[Tensor, "*batch n half"], box: int) -> Shaped[Tensor, "*batch box part"]:
    """Coefficients in the layout of `rfft2` that an even ``box`` over the same field has, unscaled.

    Its own Nyquist frequency is that of one side of the larger box only.
    """
    half = transforms[..., : box // 2 + 1]
    return torch.cat([half[..., : box // 2, :], half[..., -(box // 2) :, :]], dim=-2)


def resample2(images: Float[Tensor, "*batch n n"], box: int) -> Float[Tensor, "*batch box box"]:
    """Images on a grid of ``box`` pixels over the same field, by cropping or padding frequencies.

    Values keep their scale: a constant image stays the same constant.
    """
    n = images.shape[-1]
    if n == box:
        return images
    return irfft2(_crop(rfft2(images), n, box, dims=2)) * (box / n) ** 2


def resample3(volumes: Float[Tensor, "*batch n n n"], box: int) -> Float[Tensor, "*batch box box box"]:
    """Volumes on a grid of ``box`` voxels over the same field, by cropping or padding frequencies."""
    n = volumes.shape[-1]
    if n == box:
        return volumes
    return irfft3(_crop(rfft3(volumes), n, box, dims=3)) * (box / n) ** 3


def _crop(transforms: Tensor, n: int, box: int, dims: int) -> Tensor:
    """Frequencies of a grid of ``n`` that a grid of ``box`` holds; missing ones are zero."""
    low = min(n, box)
    keep = (low - 1) // 2  # the Nyquist frequency itself has no partner on the other grid and is left out
    for axis in range(-dims, -1):
        first = transforms.narrow(axis, 0, keep + 1)
        last = transforms.narrow(axis, n - keep, keep)
        shape = list(transforms.shape)
        shape[axis] = box - 2 * keep - 1
        transforms = torch.cat([first, transforms.new_zeros(shape), last], dim=axis)
    half = transforms[..., : keep + 1]
    return torch.nn.functional.pad(half, (0, box // 2 + 1 - keep - 1))


def low_pass(
    volumes: Float[Tensor, "*batch n n n"], cutoff: float, width: float = 0.02
) -> Float[Tensor, "*batch n n n"]:
    """Volumes without the frequencies above ``cutoff`` cycles per pixel; the edge is a cosine of ``width``."""
    return irfft3(rfft3(volumes) * soft_edge(radii(volumes.shape[-1], 3, volumes.device), cutoff, width))


def soft_edge(radius: Float[Tensor, "*shape"], cutoff: float, width: float) -> Float[Tensor, "*shape"]:
    """1 below ``cutoff - width / 2``, 0 above ``cutoff + width / 2``, a cosine between."""
    ramp = ((radius - cutoff) / width + 0.5).clamp(0, 1)
    return 0.5 * (1 + torch.cos(torch.pi * ramp))


def shell_mean(values: Float[Tensor, "*batch n half"], n: int) -> Float[Tensor, "*batch shells"]:
    """Mean of image coefficients over each shell 0..n//2, mirror coefficients counted.

    Parameters
    ----------
    values
        One real number per coefficient of `rfft2`, such as its power.
    n
        Box size.
    """
    shell = shells(n, 2, values.device)
    weight = multiplicity(n, values.device).expand(n, -1)
    inside = shell <= n // 2
    index = shell[inside]
    count = torch.zeros(n // 2 + 1, device=values.device).index_add_(0, index, weight[inside])
    sums = values.new_zeros((*values.shape[:-2], n // 2 + 1))
    sums.index_add_(-1, index, (values * weight)[..., inside])
    return sums / count
