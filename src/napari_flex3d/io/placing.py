"""Labels from one grid to the voxels of a map, by the places of both in space."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.mrc import Volume

Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]

NONE = -1
"""Label of a voxel that belongs to no segment."""

_ALIGNED = 0.05  # voxels
_SHARE = 0.5
_SAMPLE = 200_000


def place(path: Path, labels: Ints, to_xyz: Doubles | None, volume: Volume, *, binned: bool = False) -> Ints:
    """Labels on the voxels of a map.

    Parameters
    ----------
    path
        For messages.
    labels
        ``[z, y, x]``, -1 where there is none.
    to_xyz
        Matrix (3, 4) from voxel (x, y, z) to Å; none if unknown, and then the grid must be the map's.
    volume
        The map.
    binned
        Whether the labels are known to be those of whole blocks of voxels, so that nothing is lost by repetition.

    Raises
    ------
    InputError
        If there is no label, the grids differ and ``to_xyz`` is unknown, or less than half of the labelled voxels lie
        inside the map.

    Warns
    -----
    InputWarning
        If the labels are resampled, or some of them lie outside.
    """
    if not (labels != NONE).any():
        raise InputError(f"{path}: no voxel belongs to a segment.")
    if to_xyz is None or not volume.pixel_size:
        if labels.shape == volume.data.shape:
            return labels
        raise InputError(
            f"{path}: {_size(labels)} voxels, the map has {_size(volume.data)}, and where they lie is not written. "
            "Make the segmentation on the map of the prep job."
        )
    to_map = to_xyz.copy()
    to_map[:, 3] -= volume.origin
    to_map /= volume.pixel_size
    _check_share(path, labels, to_xyz, to_map, volume)
    far = np.array(labels.shape[::-1]) - 1
    shift = np.rint(to_map[:, 3])
    corners = np.array([[x, y, z, 1] for x in (0, far[0]) for y in (0, far[1]) for z in (0, far[2])])
    if np.abs(corners @ to_map.T - corners[:, :3] - shift).max() < _ALIGNED:
        return _pasted(labels, shift.astype(int)[::-1], volume.data.shape)
    if not binned:
        warnings.warn(
            f"{path}: voxels of {_step(to_xyz)} Å at {_place(to_xyz)} Å, the map has {volume.pixel_size:g} Å at "
            f"{_listed(volume.origin)} Å; each voxel of the map takes the nearest label.",
            InputWarning,
            stacklevel=3,
        )
    return _resampled(labels, to_map, volume.data.shape)


def _check_share(path: Path, labels: Ints, to_xyz: Doubles, to_map: Doubles, volume: Volume) -> None:
    labelled = np.flatnonzero(labels != NONE)
    labelled = labelled[:: max(len(labelled) // _SAMPLE, 1)]
    at = np.array(np.unravel_index(labelled, labels.shape))[::-1].T
    index = at @ to_map[:, :3].T + to_map[:, 3]
    inside = ((index > -0.5) & (index < np.array(volume.data.shape[::-1]) - 0.5)).all(1)
    share = float(inside.mean())
    if share < _SHARE:
        raise InputError(
            f"{path}: segmentation of {_size(labels)} at {_place(to_xyz)} Å, voxels of {_step(to_xyz)} Å; "
            f"{share:.0%} of what it labels lies in the map of {_size(volume.data)} at {_listed(volume.origin)} Å, "
            f"voxels of {volume.pixel_size:g} Å: made on another map?"
        )
    if share < 1:
        warnings.warn(
            f"{path}: {max(1 - share, 0.001):.1%} of the labelled voxels lie outside the map.",
            InputWarning,
            stacklevel=4,
        )


def _pasted(labels: Ints, shift: NDArray[np.int_], shape: tuple[int, ...]) -> Ints:
    placed = np.full(shape, NONE, dtype=np.int32)
    spans = [
        (max(s, 0), min(s + n, m), s) for s, n, m in zip(shift.tolist(), labels.shape, shape, strict=True)
    ]
    placed[tuple(slice(a, b) for a, b, _ in spans)] = labels[tuple(slice(a - s, b - s) for a, b, s in spans)]
    return placed


def _resampled(labels: Ints, to_map: Doubles, shape: tuple[int, ...]) -> Ints:
    """Nearest label of every voxel of the map."""
    back = np.linalg.inv(to_map[:, :3])
    offset = -back @ to_map[:, 3]
    return ndimage.affine_transform(
        labels, back[::-1, ::-1], offset[::-1], output_shape=shape, order=0, mode="constant", cval=NONE
    )


def _size(data: NDArray[np.generic]) -> str:
    return " x ".join(map(str, data.shape[::-1]))


def _place(to_xyz: Doubles) -> str:
    return _listed(to_xyz[:, 3].tolist())


def _step(to_xyz: Doubles) -> str:
    steps = np.linalg.norm(to_xyz[:, :3], axis=0)
    return f"{steps[0]:.4g}" if np.ptp(steps) < 1e-4 * steps[0] else _listed(steps.tolist())


def _listed(values: tuple[float, ...] | list[float]) -> str:
    return f"({', '.join(f'{value:.4g}' for value in values)})"
