"""Segments of a map from other programs: Segger's .seg files, and maps of labels."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mrcfile
import numpy as np

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.io.placing import NONE, Doubles, Ints, place
from napari_flex3d.io.seg import Color, Level, Segmentation, read_seg

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LARGEST_LABEL = 2**24  # beyond, float32 leaves numbers out


@dataclass(frozen=True)
class Segments:
    """Which segment each voxel of a map belongs to.

    Parameters
    ----------
    labels
        Segment of each voxel ``[z, y, x]``, numbered as in the file; -1 where there is none.
    ids
        The segments that have voxels, in rising order.
    names, colors
        Of those that have one; red, green, blue, opacity from 0 to 1.
    """

    labels: Ints
    ids: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, Color] = field(default_factory=dict)


def read_segments(path: Path, volume: Volume, *, level: Level = "groups") -> Segments:
    """Read segments and bring them to the voxels of a map.

    Parameters
    ----------
    path
        A .seg file of Segger, or a map of labels (MRC); the kind is told by the content.
    volume
        The map.
    level
        Of a .seg file: the groups that regions were joined to, or the regions that the watershed found.

    Raises
    ------
    InputError
        If the file is of neither kind, damaged, made on another map, or labels nothing.

    Warns
    -----
    InputWarning
        If labels are resampled or fall outside the map, or if the meaning of 0 had to be told from the numbers.

    Notes
    -----
    In a map of labels with a -1 somewhere, segments count from 0 and -1 is solvent, as CryoSPARC writes it; without,
    0 is none, as in ChimeraX's ``segger exportmask``.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a segmentation (.seg, or labels in .mrc).")
    with path.open("rb") as file:
        is_seg = file.read(len(_HDF5)) == _HDF5 or path.suffix.lower() == ".seg"
    return _from_seg(path, volume, level) if is_seg else _from_labels(path, volume)


def write_labels(
    path: Path, segments: Segments, like: Volume, *, style: Literal["cryosparc", "chimerax"] = "cryosparc"
) -> dict[int, int]:
    """Write a map of labels, as int16, that overlays a map.

    Parameters
    ----------
    like
        The map, for pixel size and origin.
    style
        CryoSPARC numbers segments from 0 and has -1 in solvent; ChimeraX numbers them from 1 and has 0.

    Returns
    -------
    dict
        Number in the file of each segment. It stays what it is where the style allows.

    Raises
    ------
    InputError
        If a number is too large for int16.
    """
    number = _numbering(segments.ids, style)
    if max(number.values(), default=0) > np.iinfo(np.int16).max:
        raise InputError(
            f"{path}: segment {max(number.values())}; a map of labels holds numbers up to 32767."
        )
    table = np.full(max(segments.ids, default=0) + 2, 0 if style == "chimerax" else -1, dtype=np.int16)
    for old, new in number.items():
        table[old + 1] = new
    with atomic(path) as temporary, mrcfile.new(temporary) as file:
        file.set_data(table[segments.labels + 1])
        file.voxel_size = like.pixel_size
        nstart = np.array(like.origin) / (like.pixel_size or 1)
        if like.from_nstart and np.allclose(nstart, nstart.round(), atol=1e-3):
            file.nstart = tuple(nstart.round().astype(int).tolist())
        else:
            file.header.origin = like.origin
    return number


def _numbering(ids: tuple[int, ...], style: str) -> dict[int, int]:
    if style == "chimerax":
        first = 1 if 0 in ids else 0
        return {old: old + first for old in ids}
    return {old: new for new, old in enumerate(sorted(ids))}


def _from_seg(path: Path, volume: Volume, level: Level) -> Segments:
    seg = read_seg(path)
    to_xyz, binned = _of_blocks(seg, volume)
    return _segments(path, place(path, seg.labels(level), to_xyz, volume, binned=binned), seg)


def _of_blocks(seg: Segmentation, volume: Volume) -> tuple[Doubles | None, bool]:
    """Place of the mask's voxels where each stands for a block of the map's, else that of the file.

    Segger lets the mask be smaller by whole factors, and then writes the place of the whole map.
    """
    size, whole = np.array(seg.mask.shape[::-1]), np.array(seg.map_size or seg.mask.shape[::-1])
    factor = np.maximum(whole // size, 1)
    if (
        seg.to_xyz is None
        or (factor == 1).all()
        or ((whole - factor * size >= factor) | (whole < size)).any()
    ):
        return seg.to_xyz, False
    axes = seg.to_xyz[:, :3]
    steps = np.linalg.norm(axes, axis=0)
    if volume.pixel_size and (np.abs(steps / (factor * volume.pixel_size) - 1) < 0.01).all():
        axes = axes / factor  # the place is that of the blocks already
    corner = seg.to_xyz[:, 3] + axes @ ((factor - 1) / 2)
    return np.column_stack([axes * factor, corner]), True


def _from_labels(path: Path, volume: Volume) -> Segments:
    found = read_map(path)
    data = found.data
    low, high = float(data.min()), float(data.max())
    if low < NONE or high > _LARGEST_LABEL or not (data == np.rint(data)).all():
        raise InputError(
            f"{path}: values from {low:.4g} to {high:.4g}; a map of labels has whole numbers, -1 or 0 where there "
            "is no segment."
        )
    labels = data.astype(np.int32)
    if low > NONE:
        warnings.warn(
            f"{path} has no -1, so 0 is read as no segment (ChimeraX's way). In CryoSPARC's way, segments count from 0 "
            "and solvent is -1.",
            InputWarning,
            stacklevel=3,
        )
        labels[labels == 0] = NONE
    return _segments(path, place(path, labels, _to_xyz(found, volume), volume))


def _to_xyz(found: Volume, volume: Volume) -> Doubles | None:
    """Place of a map of labels; that of the map where the box is the same and the header says nothing else."""
    same_box = found.data.shape == volume.data.shape
    same_pixel = abs(found.pixel_size - volume.pixel_size) <= 0.01 * volume.pixel_size
    nowhere = not any(found.origin) or not any(volume.origin)
    if not found.pixel_size or (same_box and same_pixel and nowhere):
        return None
    return np.column_stack([np.eye(3) * found.pixel_size, found.origin])


def _segments(path: Path, labels: Ints, seg: Segmentation | None = None) -> Segments:
    ids = tuple((np.flatnonzero(np.bincount(labels.ravel() + 1))[int((labels == NONE).any()) :] - 1).tolist())
    names = {number: seg.names[number] for number in ids if number in seg.names} if seg else {}
    colors = {number: seg.colors[number] for number in ids if number in seg.colors} if seg else {}
    return Segments(labels, ids, names, colors)
