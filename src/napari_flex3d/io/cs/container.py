"""The containers of CryoSPARC's .cs files: numpy records, or the compressed columns called CSDAT.

Nothing in a file is believed before it is checked against the file's size: a copy that was cut short is an
`InputError`.
"""

import io
import json
import math
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import lz4.block
import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError

Fields = dict[str, NDArray[Any]]

NPY, CSDAT, POINTER = b"\x93NUMPY", b"\x95CSDAT", b"version https://git-lfs"

_MOST_EXPANSION = 260
"""A byte of an lz4 block stands for at most 255 bytes, and a little is added."""


def is_cs(path: Path) -> bool:
    """Whether a file begins as a .cs file does, or as the Git LFS pointer to one."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(POINTER)).startswith((NPY, CSDAT, POINTER))


def read_fields(path: Path) -> Fields:
    """Columns of a .cs file by their names, one value a particle; texts are bytes or str.

    Raises
    ------
    InputError
        If the file is none of the kind, is cut short, or has no rows.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    with path.open("rb") as file:
        start = file.read(len(POINTER))
        file.seek(0)
        if start == POINTER:
            raise InputError(f"{path} is a Git LFS pointer, not the data. Download the real file.")
        if start.startswith(NPY):
            fields = _read_npy(path, file)
        elif start.startswith(CSDAT):
            fields = _Stream(path, file).fields()
        else:
            raise InputError(f"{path} is no CryoSPARC file: it begins with neither NUMPY nor CSDAT.")
    if not fields or not len(next(iter(fields.values()))):
        raise InputError(f"{path} has no particles.")
    return fields


def field_names(path: Path) -> list[str]:
    """Names of the columns of a .cs file, without reading them.

    Raises
    ------
    InputError
        If its header cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(NPY)) == NPY:
            file.seek(0)
            return list(_npy_header(path, file)[1].names or ())
        file.seek(0)
        stream = _Stream(path, file)
        return [stream._field(field)[0] for field in stream._header()["dtype"]]


def _read_npy(path: Path, file: BinaryIO) -> Fields:
    shape, dtype = _npy_header(path, file)
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects and is not read.")
    if dtype.names is None or len(shape) != 1 or shape[0] < 0 or not dtype.itemsize:
        raise InputError(f"{path} is an array of {dtype} {shape}, not a CryoSPARC dataset.")
    need, left = shape[0] * dtype.itemsize, _left(file)
    if need > left:
        raise InputError(f"{path} is cut short: {shape[0]} rows need {need} bytes, {left} are left.")
    rows = np.frombuffer(file.read(need), dtype)
    return {name: rows[name] for name in dtype.names}


def _npy_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    """Shape and type of the records; a header of any length that the file can hold."""
    start = file.read(12)
    version = start[6:8]
    if len(start) < 12 or version not in (b"\1\0", b"\2\0"):
        raise InputError(f"{path} is cut short or damaged: it has no header of numpy's versions 1 or 2.")
    width = 2 if version == b"\1\0" else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    file.seek(8 + width)
    if length > _left(file):
        raise InputError(f"{path} is cut short: column names need {length} bytes, {_left(file)} are left.")
    read = np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    header = io.BytesIO(start[8 : 8 + width] + file.read(length))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python 2 wrote, and what damaged text looks like
            shape, _, dtype = read(header, max_header_size=10**9)
    except Exception:  # the header is Python text: damaged, it may fail in any way
        raise InputError(f"{path}: its header is damaged. Copy it again.") from None
    return shape, dtype


def _left(file: BinaryIO) -> int:
    """Bytes between here and the end."""
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


class _Stream:
    """One reading of a CSDAT file.

    Notes
    -----
    After the magic: length (u32) and text of a JSON header; for each column a length (u32) and its bytes,
    an lz4 block if the header lists the column; the rest is a heap of texts that end in NUL, to which columns
    of type ``|O`` hold offsets (u64). Little-endian.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.raw = memoryview(file.read())
        self.at = len(CSDAT)

    def fields(self) -> Fields:
        header = self._header()
        length = header["length"]
        if length == 0:
            return {}
        packed = set(header["compressed_fields"])
        found: Fields = {}
        for field in header["dtype"]:
            name, dtype, shape = self._field(field)
            found[name] = self._column(name, dtype, (length, *shape), name in packed)
        heap = bytes(self.raw[self.at :])
        texts = [field[0] for field in header["dtype"] if field[1] == "|O"]
        return found | {name: self._texts(name, found[name], heap) for name in texts}

    def _header(self) -> dict[str, Any]:
        text = bytes(self._take("header", self._count("header")))
        damaged = InputError(f"{self.path}: its header is damaged. Copy it again.")
        try:
            header = json.loads(text)
        except (ValueError, RecursionError):
            raise damaged from None
        if not isinstance(header, dict):
            raise damaged
        header.setdefault("compressed_fields", [])
        length, packed = header.get("length"), header["compressed_fields"]
        if not _is_size(length) or not isinstance(header.get("dtype"), list) or not isinstance(packed, list):
            raise damaged
        if not all(isinstance(name, str) for name in packed):
            raise damaged
        if packed and header.get("compression") != "lz4":
            raise InputError(f"{self.path} is compressed by {header.get('compression')}; lz4 is read.")
        return header

    def _field(self, field: Any) -> tuple[str, "np.dtype[Any]", Sequence[int]]:
        """Name, type and shape of one value of a column."""
        try:
            name, kind, *rest = field
            shape = rest[0] if rest else []
            dtype = np.dtype("<u8" if kind == "|O" else kind)
            sound = isinstance(name, str) and isinstance(kind, str) and dtype.kind in "iufcb"
            sound = sound and len(rest) < 2 and all(_is_size(n) and n > 0 for n in shape)
        except (SyntaxError, TypeError, ValueError):
            sound = False
        if not sound:
            raise InputError(f"{self.path}: its header describes no column by {field}. Copy it again.")
        return name, dtype, shape

    def _column(
        self, name: str, dtype: "np.dtype[Any]", shape: tuple[int, ...], is_packed: bool
    ) -> NDArray[Any]:
        count = self._count(f"column {name}")
        size = dtype.itemsize * math.prod(shape)
        if not is_packed and count != size:
            raise InputError(
                f"{self.path}: column {name} has {count} bytes, {size} are needed. Copy it again."
            )
        data: bytes | memoryview = self._take(f"column {name}", count)
        if is_packed:
            data = self._unpacked(name, data, size)
        return np.frombuffer(data, dtype).reshape(shape)

    def _unpacked(self, name: str, data: bytes | memoryview, size: int) -> bytes:
        unpacked = b""
        if size <= _MOST_EXPANSION * (len(data) + 1):  # else it is not worth the memory to try
            try:
                unpacked = lz4.block.decompress(data, uncompressed_size=size)
            except (lz4.block.LZ4BlockError, MemoryError, OverflowError, ValueError):
                unpacked = b""
        if len(unpacked) != size:
            raise InputError(f"{self.path}: column {name} is damaged. Copy it again.")
        return unpacked

    def _texts(self, name: str, offsets: NDArray[np.uint64], heap: bytes) -> NDArray[Any]:
        unique, inverse = np.unique(offsets, return_inverse=True)
        texts = np.empty(len(unique), dtype=object)
        for number, offset in enumerate(unique.tolist()):
            end = heap.find(b"\0", offset) if offset < len(heap) else -1
            if end < 0:
                self._cut_short(f"column {name}", max(offset, len(heap)) + 1, len(heap))
            texts[number] = heap[offset:end]
        return texts[inverse.reshape(offsets.shape)]

    def _count(self, what: str) -> int:
        return struct.unpack("<I", self._take(what, 4))[0]

    def _take(self, what: str, count: int) -> memoryview:
        left = len(self.raw) - self.at
        if count > left:
            self._cut_short(what, count, left)
        self.at += count
        return self.raw[self.at - count : self.at]

    def _cut_short(self, what: str, need: int, left: int) -> None:
        raise InputError(f"{self.path} is cut short: {what} needs {need} bytes, {left} are left.")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
