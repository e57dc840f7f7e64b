"""The solvent mask of a map that came without one."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_flex3d.ops.fourier import low_pass


def automatic_mask(
    density: Float[ndarray, "n n n"],
    pixel_size: float,
    *,
    lowpass: float,
    threshold: float | Literal["auto"],
    dilate: float,
    pad: float,
) -> Float[ndarray, "n n n"]:
    """Soft mask around the largest piece of a map.

    Parameters
    ----------
    density
        The map.
    pixel_size
        Å.
    lowpass
        Resolution that it is filtered to first, Å.
    threshold
        Density of the filtered map above which a voxel is protein; "auto" takes 0.4 of Otsu's, which keeps
        moving parts that are weak in a consensus map, but not less than three times the noise; and where most
        of what is above it is noise, the map is filtered more.
    dilate
        How far the mask reaches beyond that, Å.
    pad
        Width of the cosine edge beyond that, Å.
    """
    volume = torch.from_numpy(np.ascontiguousarray(density, dtype=np.float32))
    cutoff = min(pixel_size / lowpass, 0.5)
    piece, share = _largest_piece(low_pass(volume, cutoff).numpy(), threshold)
    while threshold == "auto" and share < 0.5 and cutoff > 0.05:  # mostly noise: filter more
        cutoff /= 2
        piece, share = _largest_piece(low_pass(volume, cutoff, width=cutoff / 4).numpy(), threshold)
    if not piece.any():
        return np.zeros_like(density, dtype=np.float32)
    solid = ndimage.binary_fill_holes(piece)
    distance = ndimage.distance_transform_edt(~solid) * pixel_size - dilate
    edge = np.clip(distance / pad, 0, 1) if pad > 0 else (distance > 0).astype(float)
    return (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32)


def radius_of(mask: Float[ndarray, "n n n"], pixel_size: float) -> float:
    """Distance in Å from the box centre to the farthest voxel whose mask is above one half."""
    axis = np.arange(len(mask)) - len(mask) // 2
    z, y, x = np.nonzero(mask > 0.5)
    return float(np.sqrt((axis[z] ** 2 + axis[y] ** 2 + axis[x] ** 2).max(initial=0))) * pixel_size


def _largest_piece(smooth: ndarray, threshold: float | Literal["auto"]) -> tuple[ndarray, float]:
    """Take the largest connected piece above the threshold; also its share of all that is above."""
    labels, count = ndimage.label(smooth > (_level(smooth) if threshold == "auto" else threshold))
    if count == 0:
        return np.zeros(smooth.shape, dtype=bool), 0.0
    sizes = np.bincount(labels.ravel())[1:]
    return labels == 1 + sizes.argmax(), float(sizes.max() / sizes.sum())


def _level(smooth: ndarray) -> float:
    """Threshold of a map whose box is mostly solvent: above its noise, and well below its protein."""
    median = np.median(smooth)
    noise = 1.4826 * np.median(np.abs(smooth - median))
    otsu = threshold_otsu(smooth[_ball(len(smooth))])  # type: ignore[no-untyped-call]
    return float(max(0.4 * otsu, median + 3 * noise))


def _ball(n: int) -> ndarray:
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return x**2 + y**2 + z**2 < (n // 2) ** 2
