"""The consensus map and its mask, brought onto the particles' grid or refused."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.ops.fourier import low_pass

Floats = NDArray[np.float32]

_SAME_PIXEL = 0.01
_HALF_MAP = re.compile(r"half[-_]?(map[-_]?)?[12ab](?![a-z0-9])")


def read_consensus(path: Path, *, pixel_size: float | None = None, accept: bool = False) -> Volume:
    """Read the consensus map as its file has it.

    Parameters
    ----------
    path
        MRC file.
    pixel_size
        The person's word where the header's pixel size is wrong, Å.
    accept
        Whether what looks like a stack or a half-map is taken as a map.

    Raises
    ------
    InputError, Question
        If it is no cubic map, inverted, or has no pixel size.
    """
    volume = _cubic(path, accept)
    if _HALF_MAP.search(path.name.lower()) and not accept:
        raise Question(
            f"{path} is a half-map by its name; the map of all particles is better. Use it nevertheless?",
            "--accept-map",
        )
    if pixel_size is not None:
        volume = _restated(volume, pixel_size)
    if volume.pixel_size == 0:
        raise Question(
            f"{path}: the header has no voxel size. Enter the map's pixel size.", "--map-pixel-size"
        )
    low, high = np.percentile(volume.data, [0.01, 99.99])
    if -low > high > 0 or high <= 0:
        raise InputError(
            f"{path}: the strongest density is negative ({low:.3g} to {high:.3g}); the map looks inverted. "
            "Protein must be positive: multiply the map by -1."
        )
    return volume


def read_mask(
    path: Path, like: Volume, own: Volume, *, resample: bool = False, accept: bool = False
) -> Floats:
    """Read a mask and bring it to the grid of the consensus map.

    Parameters
    ----------
    like
        The consensus map on the particles' grid.
    own
        The consensus map as its file has it; a mask made on it goes the same way.
    resample, accept
        As for the map.

    Raises
    ------
    InputError, Question
        If values lie outside 0..1, the mask is empty or full, or it is on another grid.
    """
    volume = _cubic(path, accept)
    if volume.pixel_size == 0 or volume.data.shape == own.data.shape:
        volume = _restated(volume, own.pixel_size)
    data = volume.data
    share = float((data > 0.5).mean())
    if data.min() < -0.01 or data.max() > 1.01 or not 0 < share < 0.95:
        raise InputError(
            f"Mask {path}: range {data.min():.3g}..{data.max():.3g}, {100 * share:.1f} % of the box. "
            "Values from 0 (solvent) to 1 (protein) are needed."
        )
    placed = on_grid(path, volume, len(like.data), like.pixel_size, resample=resample, what="Mask")
    return np.clip(placed.data, 0, 1)


def mirrored(data: Floats) -> Floats:
    """Give the mirror image of a map in z, about the centre voxel ``n // 2`` of its even box."""
    return np.ascontiguousarray(np.roll(data[::-1], 1, axis=0))


def _cubic(path: Path, accept: bool) -> Volume:
    volume = read_map(path)
    nz, ny, nx = volume.data.shape
    if nx == ny != nz:
        if not accept:
            raise Question(
                f"{path} has {nz} sections of {ny} x {nx}; is this a stack? Give a cubic map, or have this one "
                "padded to a cube.",
                "--accept-map",
            )
        return _padded(volume)
    if not nx == ny == nz:
        raise InputError(f"{path}: {nx} x {ny} x {nz}, voxel {volume.pixel_size:g} Å; a cubic map is needed.")
    if nx % 2:
        raise InputError(f"{path}: {nx} x {ny} x {nz}; an even box is needed.")
    return volume


def _padded(volume: Volume) -> Volume:
    """Zeros around a map up to an even cube; the centre ``n // 2`` of every axis stays the centre."""
    box = max(volume.data.shape) + max(volume.data.shape) % 2
    before = [box // 2 - n // 2 for n in volume.data.shape]
    widths = [(b, box - n - b) for b, n in zip(before, volume.data.shape, strict=True)]
    return volume.on_grid(np.pad(volume.data, widths))


def _restated(volume: Volume, pixel_size: float) -> Volume:
    """Give the same voxels another pixel size; an origin in whole voxels goes with it."""
    if volume.from_nstart and volume.pixel_size:
        factor = pixel_size / volume.pixel_size
        x, y, z = (o * factor for o in volume.origin)
        volume = replace(volume, origin=(x, y, z))
    return replace(volume, pixel_size=pixel_size)


def on_grid(
    path: Path, volume: Volume, box_size: int, pixel_size: float, *, resample: bool, what: str = "Map"
) -> Volume:
    """Bring a map to the particles' box and pixel size (Å), or refuse.

    Raises
    ------
    Question
        If it is on another grid and may not be resampled.
    """
    box, apart = len(volume.data), abs(volume.pixel_size / pixel_size - 1)
    if box == box_size and apart <= _SAME_PIXEL:
        if apart > 1e-3:
            warnings.warn(
                f"{path}: pixel {volume.pixel_size:g} Å, particles {pixel_size:g} Å; the particles' is used.",
                InputWarning,
                stacklevel=3,
            )
        return _restated(volume, pixel_size)
    grids = f"{what} {box} px at {volume.pixel_size:g} Å, particles {box_size} px at {pixel_size:g} Å."
    if box == box_size:
        raise Question(
            f"{grids} The same box with another pixel size: one of the two is wrong.", "--map-pixel-size"
        )
    if not resample:
        raise Question(f"{grids} Resample?", "--resample-map")
    return volume.on_grid(_resampled(volume, box_size, pixel_size), pixel_size)


def _resampled(volume: Volume, box: int, pixel_size: float) -> Floats:
    """Cubic-spline interpolation about the centre voxel, after a low-pass where the new grid is coarser."""
    data = volume.data
    ratio = pixel_size / volume.pixel_size
    if ratio > 1:
        data = low_pass(torch.from_numpy(data), 0.5 / ratio).numpy()
    offset = len(data) // 2 - (box // 2) * ratio
    return ndimage.affine_transform(
        data, np.full(3, ratio), offset, output_shape=(box,) * 3, order=3, mode="constant"
    ).astype(np.float32)
