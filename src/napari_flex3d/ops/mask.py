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
        moving parts that are weak in a consensus map.
    dilate
        How far the mask reaches beyond that, Å.
    pad
        Width of the cosine edge beyond that, Å.
    """
    cutoff = min(pixel_size / lowpass, 0.5)
    smooth = low_pass(torch.from_numpy(np.ascontiguousarray(density, dtype=np.float32)), cutoff).numpy()
    level = _level(smooth[_ball(len(smooth))]) if threshold == "auto" else threshold
    labels, count = ndimage.label(smooth > level)
    if count == 0:
        return np.zeros_like(density, dtype=np.float32)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    solid = ndimage.binary_fill_holes(labels == sizes.argmax())
    distance = ndimage.distance_transform_edt(~solid) * pixel_size - dilate
    edge = np.clip(distance / pad, 0, 1) if pad > 0 else (distance > 0).astype(float)
    return (0.5 + 0.5 * np.cos(np.pi * edge)).astype(np.float32)


def radius_of(mask: Float[ndarray, "n n n"], pixel_size: float) -> float:
    """Distance in Å from the box centre to the farthest voxel whose mask is above one half."""
    axis = np.arange(len(mask)) - len(mask) // 2
    z, y, x = np.nonzero(mask > 0.5)
    return float(np.sqrt((axis[z] ** 2 + axis[y] ** 2 + axis[x] ** 2).max(initial=0))) * pixel_size


def _level(values: ndarray) -> float:
    return 0.4 * float(threshold_otsu(values))  # type: ignore[no-untyped-call]


def _ball(n: int) -> ndarray:
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return x**2 + y**2 + z**2 < (n // 2) ** 2
