"""The HDF5 side of Segger's files; run as a process of its own by `seg`.

``python -m napari_flex3d.io.seg_hdf5 FILE`` writes to its output the arrays as .npz, or in words what is wrong.
"""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError

_VERSION = 2
_LARGEST_ID = 2**24  # Segger counts regions from 1
_LARGEST_CHUNK = 2**28
_MEMORY = 2**32
_DAMAGE = (  # what h5py says of damaged bytes
    *(OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, OverflowError, MemoryError),
)


def main() -> None:
    """Read the file that the command line names."""
    path = Path(sys.argv[1])
    _limit_memory(path)
    try:
        arrays = read_arrays(path)
    except InputError as error:
        sys.stdout.buffer.write(str(error).encode(errors="replace"))
    else:
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        sys.stdout.buffer.write(buffer.getbuffer())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a file of Segger: mask, ids, parents, colors, to_xyz, map_size (empty where missing), names as JSON.

    Raises
    ------
    InputError
        As `seg.read_seg`.
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
        return {
            "mask": mask,
            "ids": ids,
            "parents": parents,
            "names": np.frombuffer(json.dumps(_names(path, file)).encode(), np.uint8),
            "colors": _colors(path, file, ids),
            "to_xyz": _transform(path, file),
            "map_size": _map_size(file),
        }


def _limit_memory(path: Path) -> None:
    """Let a lie in the file end in a MemoryError: gzip makes at most 1,032 bytes of one."""
    with suppress(ImportError, ValueError, OSError):  # where there are no such limits
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY + 4 * 1032 * path.stat().st_size, most))


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
    except _DAMAGE as error:
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
        raise InputError(
            f"{path} has no {name}; it holds {', '.join(key[:40] for key in sorted(file)[:20])}."
        )
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


def _names(path: Path, file: h5py.File) -> dict[int, str]:
    """Names that somebody gave to regions, from the first attribute of text whose own name has "name" in it."""
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


def _colors(path: Path, file: h5py.File, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    if "region_colors" not in file:
        return np.empty(0)
    colors = _numbers(path, file, "region_colors", 2, "fiu")
    if colors.shape != (len(ids), 4) or not np.isfinite(colors).all():
        raise InputError(
            f"{path}: region_colors of {colors.shape}; ({len(ids)}, 4) finite numbers are needed."
        )
    return colors.clip(0, 1)


def _transform(path: Path, file: h5py.File) -> NDArray[np.float64]:
    found = file.attrs.get("ijk_to_xyz_transform")
    if found is None:
        return np.empty(0)
    matrix = np.asarray(found, dtype=np.float64)
    if matrix.shape != (3, 4) or not np.isfinite(matrix).all() or np.abs(matrix).max() > 1e9:
        raise InputError(f"{path}: ijk_to_xyz_transform is no (3, 4) matrix of finite numbers.")
    if abs(np.linalg.det(matrix[:, :3])) < 1e-9:
        raise InputError(f"{path}: ijk_to_xyz_transform lets voxels coincide.")
    return matrix


def _map_size(file: h5py.File) -> NDArray[np.int64]:
    found = np.asarray(file.attrs.get("map_size", ()))
    if found.shape != (3,) or found.dtype.kind not in "iu":
        return np.empty(0, dtype=np.int64)
    return found.astype(np.int64)


if __name__ == "__main__":
    main()
