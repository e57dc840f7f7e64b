"""Meshes in ``.npz``, under CryoSPARC's names: vertices in Å from the box centre."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.meshfile.arrays import NEEDED, MeshArrays, checked

_LARGEST = 2**34  # bytes of an array: a voxel map of 1,600 voxels across has as many
_DAMAGE = (  # what zipfile, its decompressors and numpy's header reader say of damaged bytes
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, KeyError, RuntimeError),
    *(MemoryError, SyntaxError, TypeError, OverflowError, struct.error, tokenize.TokenError),
)


def read_mesh_npz(path: Path) -> MeshArrays:
    """Mesh of an ``.npz`` file, without its map of voxels.

    Raises
    ------
    InputError
        If it is no such file, an array is missing, or they make no mesh.
    """
    arrays = read_arrays(path, (*NEEDED, "tm_segmask"))
    return checked(path, arrays)


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that an ``.npz`` file holds; of objects none.

    Raises
    ------
    InputError
        If the file is no archive of arrays, is damaged, or lacks one of `NEEDED`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a mesh (.npz, or CryoSPARC's .pkl).")
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            found = {name: _array(archive, name) for name in names if name in held}
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"Mesh {path} cannot be read as .npz ({str(error)[:200]}). Copy it again.") from None
    missing = [name for name in NEEDED if name not in found]
    if missing:
        listed = ", ".join(name[:40] for name in sorted(held)[:20])
        raise InputError(f"Mesh {path} has no {', '.join(missing)}; it holds {listed}.")
    return found


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array, after its header has been seen to promise no more than the archive holds."""
    with archive.open(f"{name}.npy") as member:
        version = npy.read_magic(member)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"{name} is written in version {version} of numpy's format")
        shape, fortran, dtype = read_header(member)
        if dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {dtype}, not numbers")
        count = 1
        for length in shape:
            count *= length
        size = count * dtype.itemsize
        if size > min(_LARGEST, archive.getinfo(f"{name}.npy").file_size) or min(shape, default=1) < 0:
            raise ValueError(f"{name} of {shape} is longer than the archive says")
        raw = member.read(size)
    if len(raw) < size:
        raise ValueError(f"{name} is cut short: {len(raw)} of {size} bytes")
    array = np.frombuffer(raw, dtype=dtype, count=count)
    return array.reshape(shape, order="F" if fortran else "C")
