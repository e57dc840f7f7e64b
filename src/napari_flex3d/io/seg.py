"""Segmentations of Segger, in Chimera and ChimeraX: regions of a map, joined to groups."""

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.placing import NONE

Ints = NDArray[np.int32]
Color = tuple[float, float, float, float]
Level = Literal["groups", "leaves"]

_LONGEST = 300  # seconds; a mask of 256 voxels across takes a few


@dataclass(frozen=True)
class Segmentation:
    """What a .seg file says, on its own grid.

    Parameters
    ----------
    path
        The file.
    mask
        Leaf region of each voxel ``[z, y, x]``; 0 for none.
    parents
        Parent of every region, 0 for none; the root of each chain is a group or a leaf that was never joined.
    names, colors
        Of those regions that have one; red, green, blue, opacity from 0 to 1.
    to_xyz
        Matrix (3, 4) from voxel (x, y, z) to Å; none where the file has none.
    map_size
        Voxels (x, y, z) of the map that was segmented; none where the file does not say.
    """

    path: Path
    mask: NDArray[np.uint32]
    parents: Mapping[int, int]
    names: Mapping[int, str]
    colors: Mapping[int, Color]
    to_xyz: NDArray[np.float64] | None
    map_size: tuple[int, int, int] | None

    def labels(self, level: Level = "groups") -> Ints:
        """Segment of each voxel of the mask, -1 for none: leaf regions, or the groups that they were joined to.

        Raises
        ------
        InputError
            If a region has an unknown parent, is its own ancestor, or is in the mask only.
        """
        ids = np.fromiter(self.parents, dtype=np.int64, count=len(self.parents))
        target = self._roots(ids) if level == "groups" else ids
        table = np.full(
            max(int(self.mask.max(initial=0)), int(ids.max(initial=0))) + 1, NONE - 1, dtype=np.int32
        )
        table[0] = NONE
        table[ids] = target
        labels = np.empty(self.mask.shape, dtype=np.int32)
        for slab, out in zip(self.mask, labels, strict=True):
            np.take(table, slab, out=out)
            if out.min(initial=NONE) < NONE:
                stray = int(slab[out < NONE][0])
                raise InputError(f"{self.path}: voxels of region {stray}, which region_ids does not name.")
        return labels

    def _roots(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Top of the chain of parents of every region, by jumping twice as far each time."""
        order = np.argsort(ids)
        parent = np.fromiter(self.parents.values(), dtype=np.int64, count=len(ids))
        top = np.where(parent == 0, ids, parent)
        at = np.searchsorted(ids, top, sorter=order).clip(max=len(ids) - 1)
        up = order[at]
        if (lost := ids[up] != top).any():
            raise InputError(
                f"{self.path}: region {ids[lost][0]} has parent {top[lost][0]}, which does not exist."
            )
        for _ in range(len(ids).bit_length()):
            up = up[up]
        if (circling := parent[up] != 0).any():
            raise InputError(
                f"{self.path}: region {ids[up[circling]][0]} has parent {parent[up[circling]][0]} "
                "and is its own ancestor."
            )
        return ids[up]


def read_seg(path: Path) -> Segmentation:
    """Read a segmentation of Segger; text that is a pickle, as its name often is, is left alone.

    Another process reads the file (`seg_hdf5`), since libhdf5 may crash on a damaged one.

    Raises
    ------
    InputError
        If the file is no HDF5, of another format or version, damaged, or does not hold what its header promises.
    """
    command = [sys.executable, "-P", "-m", "napari_flex3d.io.seg_hdf5", str(path)]
    try:
        reader = subprocess.run(command, capture_output=True, timeout=_LONGEST, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{path} is damaged: still reading after {_LONGEST} s. Copy it again.") from None
    if reader.returncode < 0:
        raise InputError(f"{path} is damaged: it makes the HDF5 library crash. Copy it again.")
    if reader.returncode:
        why = (reader.stderr.decode(errors="replace").splitlines() or ["no message"])[-1]
        raise InputError(f"{path} cannot be read: {why[:200]}. If it is whole, report this with the file.")
    if not reader.stdout.startswith(b"PK"):
        raise InputError(reader.stdout.decode(errors="replace"))
    with np.load(io.BytesIO(reader.stdout), allow_pickle=False) as held:
        ids, colors = held["ids"].tolist(), held["colors"].tolist()
        return Segmentation(
            path,
            held["mask"],
            dict(zip(ids, held["parents"].tolist(), strict=True)),
            {int(number): name for number, name in json.loads(held["names"].tobytes()).items()},
            dict(zip(ids, map(tuple, colors), strict=True)) if colors else {},
            held["to_xyz"] if held["to_xyz"].size else None,
            tuple(held["map_size"].tolist()) if held["map_size"].size else None,
        )
