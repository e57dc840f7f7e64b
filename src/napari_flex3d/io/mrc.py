"""MRC files: maps, and particle stacks that are read in place and written image by image."""

import bz2
import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import ArrayLike, DTypeLike, NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic

Floats = NDArray[np.float32]
Triple = tuple[float, float, float]

_MODES: dict[int, str] = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED = {3: "complex int16", 4: "complex float32", 101: "4 bit"}
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
_HEADER_BYTES = 1024
_IMOD_STAMP = 1146047817


@dataclass(frozen=True)
class Volume:
    """A map on a cubic grid.

    Parameters
    ----------
    data
        Density ``[z, y, x]``, whatever the axis order of the file was.
    pixel_size
        Å per voxel; 0 when the file does not say.
    origin
        Where the corner voxel lies, (x, y, z) in Å, as ChimeraX places the map.
    from_nstart
        Whether the file gave the origin in whole voxels (CCP4's ``nstart``) instead of Å.
    """

    data: Floats
    pixel_size: float
    origin: Triple = (0.0, 0.0, 0.0)
    from_nstart: bool = False

    def on_grid(self, data: Floats, pixel_size: float | None = None) -> "Volume":
        """Other data on another box or pixel about the same centre ``n // 2``: it overlays this map."""
        new_size = self.pixel_size if pixel_size is None else pixel_size
        x, y, z = (
            o + (old // 2) * self.pixel_size - (new // 2) * new_size
            for o, old, new in zip(self.origin, self.data.shape[::-1], data.shape[::-1], strict=True)
        )
        return replace(self, data=data, pixel_size=new_size, origin=(x, y, z))


@dataclass(frozen=True)
class Layout:
    """How the numbers lie in a file, read from its header and checked against its length."""

    path: Path
    header: Any
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int


def read_layout(path: Path) -> Layout:
    """Header of an MRC file; neither the MAP stamp nor the voxel size need be there.

    Raises
    ------
    InputError
        If the file is no MRC file, of a mode that is not supported, or shorter than its header says.
    """
    raw = _first_bytes(path, _HEADER_BYTES)
    if len(raw) < _HEADER_BYTES:
        raise InputError(
            f"{path} has {len(raw)} bytes; an MRC file has a header of {_HEADER_BYTES}. Copy it again."
        )
    header = _decode(raw)
    shape = (int(header.nz), int(header.ny), int(header.nx))
    mode = int(header.mode)
    if min(shape) < 1 or max(shape) > 2**28 or not 0 <= mode < 2**15:
        raise InputError(
            f"{path} is no MRC file: its header gives {shape[2]} x {shape[1]} x {shape[0]}, mode {mode}."
        )
    if mode not in _MODES:
        name = _REFUSED.get(mode, "unknown")
        raise InputError(f"{path}: MRC mode {mode} ({name}) is not supported; convert to float32.")
    kind = "u1" if mode == 0 and _is_unsigned(raw, header) else _MODES[mode]
    dtype = np.dtype(kind).newbyteorder(header.dtype["nx"].byteorder)
    offset = _HEADER_BYTES + max(int(header.nsymbt), 0)
    if path.suffix not in _OPENERS:
        size = path.stat().st_size
        if size == _HEADER_BYTES + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize:
            offset = _HEADER_BYTES  # some files announce symmetry records that they do not have (EMD-1042)
        _check_length(path, offset, shape, dtype, size)
    return Layout(path, header, shape, dtype, offset)


def open_stack(path: Path) -> NDArray[Any]:
    """Images of a stack (N, ny, nx), memory-mapped, in the number type of the file.

    Raises
    ------
    InputError
        As `read_layout`; or if the file is compressed, or the images are not square with an even box.
    """
    if path.suffix in _OPENERS:
        raise InputError(f"{path}: compressed stacks cannot be read in place; decompress it first.")
    layout = read_layout(path)
    _, ny, nx = layout.shape
    if nx != ny or nx % 2:
        raise InputError(f"{path}: {nx} x {ny}; an even square box is needed.")
    return np.memmap(path, layout.dtype, mode="r", offset=layout.offset, shape=layout.shape)


def read_map(path: Path) -> Volume:
    """Read a map and put its axes in the order z, y, x.

    Raises
    ------
    InputError
        As `read_layout`; or if the cell is skewed, the voxels are not cubes, or a value is not finite.

    Notes
    -----
    Origin: the header's if any component is not zero, else ``nstart`` times the voxel size (ChimeraX's rule).
    """
    layout = read_layout(path)
    header = layout.header
    data, axes = _permuted(layout, _payload(layout))
    sides = np.array([header.mx, header.my, header.mz], dtype=float)
    cell = np.array(header.cella.tolist(), dtype=float)
    voxel = np.divide(cell, sides, out=np.zeros(3), where=sides > 0)
    angles = np.array(header.cellb.tolist(), dtype=float)
    if np.any(angles) and np.any(np.abs(angles - 90) > 0.01):
        raise InputError(f"{path}: cell angles {_listed(angles)}; a map with right angles is needed.")
    if np.ptp(voxel) > 1e-3 * voxel.max():
        shape = " x ".join(map(str, data.shape[::-1]))
        raise InputError(f"{path}: {shape}, voxel {_listed(voxel)} Å; a cubic map is needed.")
    if not np.isfinite(data).all():
        raise InputError(f"{path}: {np.count_nonzero(~np.isfinite(data))} values are not finite.")
    voxel = np.array([float(f"{v:.6g}") for v in voxel])  # float32 holds no more; 5.7 comes back as 5.7
    origin = np.array(header.origin.tolist(), dtype=float)
    from_nstart = not np.any(origin)
    if from_nstart:
        nstart = np.zeros(3)
        nstart[axes] = [header.nxstart, header.nystart, header.nzstart]
        origin = nstart * voxel
    return Volume(data, float(voxel[0]), (float(origin[0]), float(origin[1]), float(origin[2])), from_nstart)


def write_map(
    path: Path,
    data: ArrayLike,
    *,
    like: Volume | None = None,
    pixel_size: float | None = None,
    origin: Triple | None = None,
) -> None:
    """Write a map as float32; a kill leaves the old file or the new one.

    Parameters
    ----------
    data
        Density ``[z, y, x]``.
    like
        A map that the new one must overlay: box and pixel size may differ, the centre stays where it is.
    pixel_size
        Å per voxel; that of ``like`` unless given.
    origin
        Where the corner voxel lies, (x, y, z) in Å, instead of where ``like`` puts it.
    """
    values = np.ascontiguousarray(data, dtype="<f4")
    volume = Volume(values, pixel_size or 0.0) if like is None else like.on_grid(values, pixel_size)
    if origin is not None:
        volume = replace(volume, origin=origin, from_nstart=False)
    header = _header(values.shape, volume.pixel_size, np.dtype("<f4"), stack=False)
    _place(header, volume)
    header.dmin, header.dmax, header.dmean, header.rms = (
        values.min(),
        values.max(),
        values.mean(),
        values.std(),
    )
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(header.tobytes())
        file.write(values.data)


class StackWriter:
    """Images appended one batch at a time to a stack of known box, as float16; made by `write_stack`."""

    def __init__(self, file: BinaryIO, box_size: int, pixel_size: float) -> None:
        self._file = file
        self._box = box_size
        self._pixel_size = pixel_size
        self._count = 0
        self._low, self._high, self._sum, self._squares = np.inf, -np.inf, 0.0, 0.0
        file.write(bytes(_HEADER_BYTES))

    def append(self, images: ArrayLike) -> None:
        """Write images (B, box, box).

        Raises
        ------
        InputError
            If a value is not finite or too large for float16.
        """
        wide = np.asarray(images, dtype=np.float32)
        if wide.shape[1:] != (self._box, self._box):
            raise ValueError(f"images of shape {wide.shape}: must be (batch, {self._box}, {self._box})")
        bad = int(np.count_nonzero(~(np.abs(wide) <= np.finfo(np.float16).max)))
        if bad:
            raise InputError(f"{self._file.name}: {bad} values overflow float16; write float32.")
        half = np.ascontiguousarray(wide, dtype="<f2")
        if half.size:
            self._low, self._high = min(self._low, float(half.min())), max(self._high, float(half.max()))
            self._sum += float(half.sum(dtype=np.float64))
            self._squares += float(np.square(half, dtype=np.float64).sum())
        self._count += len(half)
        self._file.write(half.data)

    def _finish(self) -> None:
        header = _header((self._count, self._box, self._box), self._pixel_size, np.dtype("<f2"), stack=True)
        pixels = max(self._count * self._box**2, 1)
        mean = self._sum / pixels
        header.dmin, header.dmax, header.dmean = self._low, self._high, mean
        header.rms = np.sqrt(max(self._squares / pixels - mean**2, 0.0))
        self._file.seek(0)
        self._file.write(header.tobytes())


@contextmanager
def write_stack(path: Path, box_size: int, pixel_size: float) -> Iterator[StackWriter]:
    """Write a float16 stack image by image; it takes the place of ``path`` only when all is written."""
    with atomic(path) as temporary, temporary.open("w+b") as file:
        writer = StackWriter(file, box_size, pixel_size)
        yield writer
        writer._finish()


def _first_bytes(path: Path, count: int) -> bytes:
    """Bytes of a file, decompressed, up to ``count``."""
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    if path.suffix not in _OPENERS:
        with path.open("rb") as file:
            return file.read(count)
    try:
        with _OPENERS[path.suffix](path, "rb") as packed:
            return bytes(packed.read(count))
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} cannot be decompressed ({error}). Copy it again.") from None


def _decode(raw: bytes) -> Any:
    """Decode in the byte order of the machine stamp, or else the one in which the size makes sense."""
    little = np.frombuffer(raw, HEADER_DTYPE.newbyteorder("<"))
    big = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(">"))
    stamp = raw[212]
    swapped = stamp == 0x11 or (stamp != 0x44 and _is_sensible(big) and not _is_sensible(little))
    return (big if swapped else little).view(np.recarray)[0]


def _is_sensible(header: Any) -> bool:
    return all(0 < int(header[side][0]) < 2**16 for side in ("nx", "ny"))


def _is_unsigned(raw: bytes, header: Any) -> bool:
    """Whether IMOD wrote the bytes as 0 to 255: its stamp is there and its flag of signed bytes is not."""
    stamp, flags = np.frombuffer(raw, np.dtype("i4").newbyteorder(header.dtype["nx"].byteorder), 2, 152)
    return bool(stamp == _IMOD_STAMP and not flags & 1)


def _check_length(
    path: Path, offset: int, shape: tuple[int, ...], dtype: "np.dtype[Any]", found: int
) -> None:
    wanted = offset + math.prod(shape) * dtype.itemsize
    if found < wanted:
        raise InputError(f"{path}: header wants {wanted} bytes, the file has {found}. Copy it again.")


def _payload(layout: Layout) -> NDArray[Any]:
    """Map the numbers of a file in their own order; read compressed files whole."""
    if layout.path.suffix not in _OPENERS:
        return np.memmap(layout.path, layout.dtype, mode="r", offset=layout.offset, shape=layout.shape)
    count = math.prod(layout.shape)
    raw = _first_bytes(layout.path, layout.offset + count * layout.dtype.itemsize)
    _check_length(layout.path, layout.offset, layout.shape, layout.dtype, len(raw))
    return np.frombuffer(raw, layout.dtype, count=count, offset=layout.offset).reshape(layout.shape)


def _permuted(layout: Layout, raw: NDArray[Any]) -> tuple[Floats, list[int]]:
    """Turn data to [z, y, x]; also say which of x, y, z (0, 1, 2) is the file's column, row and section."""
    axes = [int(layout.header.mapc) - 1, int(layout.header.mapr) - 1, int(layout.header.maps) - 1]
    if sorted(axes) != [0, 1, 2]:  # files of some programs leave the three at zero
        axes = [0, 1, 2]
    order = [2 - axes.index(axis) for axis in (2, 1, 0)]
    return np.array(raw.transpose(order), dtype=np.float32, order="C"), axes


def _header(shape: tuple[int, ...], pixel_size: float, dtype: DTypeLike, *, stack: bool) -> Any:
    header = np.zeros(1, HEADER_DTYPE.newbyteorder("<")).view(np.recarray)[0]
    nz, ny, nx = shape
    header.nx, header.ny, header.nz = nx, ny, nz
    header.mx, header.my, header.mz = nx, ny, 1 if stack else nz
    header.mode = {np.dtype("<f4"): 2, np.dtype("<f2"): 12}[np.dtype(dtype)]
    header.cella = (nx * pixel_size, ny * pixel_size, (1 if stack else nz) * pixel_size)
    header.cellb = (90.0, 90.0, 90.0)
    header.mapc, header.mapr, header.maps = 1, 2, 3
    header.ispg = 0 if stack else 1
    header.nversion = 20141
    header.map = b"MAP "
    header.machst = [0x44, 0x44, 0, 0]
    return header


def _place(header: Any, volume: Volume) -> None:
    """Write the origin the way the input map had it, so that every viewer overlays the two."""
    nstart = np.array(volume.origin) / (volume.pixel_size or 1.0)
    if volume.from_nstart and np.allclose(nstart, nstart.round(), atol=1e-3):
        header.nxstart, header.nystart, header.nzstart = (int(v) for v in nstart.round())
    else:
        header.origin = volume.origin


def _listed(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
