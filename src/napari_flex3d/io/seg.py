"""Segmentations of Segger, in Chimera and ChimeraX: HDF5 files whose regions are joined to groups."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.placing import NONE

Ints = NDArray[np.int32]
Color = tuple[float, float, float, float]
Level = Literal["groups", "leaves"]

_VERSION = 2
_LARGEST_ID = 2**24  # Segger counts regions from 1
_LARGEST_CHUNK = 2**28


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

    Raises
    ------
    InputError
        If the file is no HDF5, of another format or version, damaged, or does not hold what its header promises.
    """
    with _opened(path) as file:
        _check_format(path, file)
        mask = _mask(path, file)
        ids, parents = _numbers(path, file, "region_ids", 1), _numbers(path, file, "parent_ids", 1)
        if not len(ids) == len(parents) == len(np.unique(ids)) or not len(ids):
            raise InputError(
                f"{path}: {len(ids)} region_ids, {len(parents)} parent_ids; each region once is needed."
            )
        if min(ids.min(), parents.min() + 1) < 1 or max(ids.max(), parents.max(), mask.max()) > _LARGEST_ID:
            raise InputError(
                f"{path}: regions are numbered {ids.min()} to {ids.max()}; 1 to {_LARGEST_ID} is possible."
            )
        return Segmentation(
            path,
            mask,
            dict(zip(ids.tolist(), parents.tolist(), strict=True)),
            _names(file),
            _colors(path, file, ids),
            _transform(path, file),
            _map_size(file),
        )


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; whatever libhdf5 finds wrong in it becomes an error in words."""
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a segmentation (.seg, or labels in .mrc).")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"{path} is no Segger file, or damaged ({why}). Copy it again.") from None


def _check_format(path: Path, file: h5py.File) -> None:
    name, version = _text(file.attrs.get("format")), file.attrs.get("format_version")
    if name != "segger" or np.ndim(version) or version != _VERSION:
        raise InputError(
            f'{path} is no Segger file (format "{name[:40]}", version {version!s:.20}; segger {_VERSION} needed).'
        )


def _dataset(path: Path, file: h5py.File | h5py.Group, name: str) -> h5py.Dataset:
    """Array of that name whose numbers all lie in this file; reading it takes no more memory than it fills."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path} has no {name}; it holds {', '.join(sorted(file)[:20])}.")
    data = file[name]
    if not isinstance(data, h5py.Dataset) or data.shape is None or data.is_virtual or data.external:
        raise InputError(f"{path}: {name} is no array of this file.")
    if data.chunks is None:
        whole = data.id.get_storage_size() >= data.nbytes
    else:
        needed = np.prod(
            [-(-size // chunk) for size, chunk in zip(data.shape, data.chunks, strict=True)], dtype=float
        )
        chunk_size = np.prod(data.chunks, dtype=float) * data.dtype.itemsize
        whole = data.id.get_num_chunks() == needed and chunk_size <= _LARGEST_CHUNK
    if not whole:
        raise InputError(f"{path}: {name} of {' x '.join(map(str, data.shape))} is cut short. Copy it again.")
    return data


def _mask(path: Path, file: h5py.File) -> NDArray[np.uint32]:
    data = _dataset(path, file, "mask")
    if data.ndim != 3 or data.dtype.kind not in "iu" or data.dtype.itemsize > 4 or not data.size:
        raise InputError(
            f"{path}: mask is {data.dtype} of {data.shape}; whole numbers in three dimensions are needed."
        )
    return data.astype("u4")[()]


def _numbers(
    path: Path, file: h5py.File | h5py.Group, name: str, dimensions: int, kinds: str = "iu"
) -> NDArray[Any]:
    data = _dataset(path, file, name)
    if data.ndim != dimensions or data.dtype.kind not in kinds:
        raise InputError(f"{path}: {name} is {data.dtype} of {data.shape}; a list of numbers is needed.")
    return np.asarray(data[()], dtype=np.float64 if "f" in kinds else np.int64)


def _names(file: h5py.File) -> dict[int, str]:
    """Names that somebody gave to regions, from the first attribute of text whose own name has "name" in it."""
    path = Path(file.filename)
    for group in (_text(name) for name in _strings(path, file, "attributes")) if "attributes" in file else ():
        if not group.endswith(" string") or not isinstance(file.get(group, getlink=True), h5py.HardLink):
            continue
        if (
            not isinstance(file[group], h5py.Group)
            or "name" not in _text(file[group].attrs.get("attribute_name")).lower()
        ):
            continue
        ids = _numbers(path, file[group], "ids", 1).tolist()
        values = map(_text, _strings(path, file[group], "values"))
        return {number: value for number, value in zip(ids, values, strict=False) if value}
    return {}


def _strings(path: Path, file: h5py.File | h5py.Group, name: str) -> list[Any]:
    data = _dataset(path, file, name)
    if data.ndim != 1 or data.dtype.kind != "S":
        return []
    return list(data[()])


def _text(value: Any) -> str:
    """Text of an attribute; nothing where it is a pickle, which is never opened."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str) or "\n" in value:
        return ""
    return "".join(letter for letter in value if letter.isprintable())[:200]


def _colors(path: Path, file: h5py.File, ids: NDArray[np.int64]) -> dict[int, Color]:
    if "region_colors" not in file:
        return {}
    colors = _numbers(path, file, "region_colors", 2, "fiu")
    if colors.shape != (len(ids), 4) or not np.isfinite(colors).all():
        raise InputError(
            f"{path}: region_colors of {colors.shape}; ({len(ids)}, 4) finite numbers are needed."
        )
    return dict(zip(ids.tolist(), map(tuple, colors.clip(0, 1).tolist()), strict=True))


def _transform(path: Path, file: h5py.File) -> NDArray[np.float64] | None:
    found = file.attrs.get("ijk_to_xyz_transform")
    if found is None:
        return None
    matrix = np.asarray(found, dtype=np.float64)
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all() or np.abs(matrix).max() > 1e9:
        raise InputError(f"{path}: ijk_to_xyz_transform is no (3, 4) matrix of finite numbers.")
    if abs(np.linalg.det(matrix[:, :3])) < 1e-9:
        raise InputError(f"{path}: ijk_to_xyz_transform lets voxels coincide.")
    return matrix


def _map_size(file: h5py.File) -> tuple[int, int, int] | None:
    found = np.asarray(file.attrs.get("map_size", ()))
    if found.shape != (3,) or found.dtype.kind not in "iu":
        return None
    x, y, z = found.tolist()
    return x, y, z
