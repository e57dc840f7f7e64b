"""Pickles of plain numbers, text and arrays, read without running anything that they name.

A pickle is a program. Here a small machine runs those of its instructions that make plain data, and knows arrays by the
few names under which numpy writes them; no name is looked up and no class of Python's or numpy's is called. So a file
cannot run code, ask for memory that it does not fill, or hash something without end, all of which
``pickle.Unpickler`` with a restricted ``find_class`` still lets it do.
"""

import mmap
import pickletools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_KNOWN = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{(module, "_reconstruct"): "reconstruct" for module in _MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in _MULTIARRAY},
    **{(module, "_frombuffer"): "frombuffer" for module in _NUMERIC},
}
_MOST_STEPS = 200_000  # a mesh takes a few hundred
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NUMBERS_AND_TEXT = (int, float, str, bytes, bytearray)


class _Name:
    """One of the known names, waiting to be called."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Type:
    """A number type: its letter and size, and its byte order once that is set."""

    def __init__(self, code: str) -> None:
        if not re.fullmatch(r"[biufUS]\d{1,5}", code):
            raise ValueError(f"an array of type {code[:20]}")
        self.code = code
        self.order = "="

    def dtype(self) -> "np.dtype[Any]":
        return np.dtype(self.code if self.order == "|" else self.order + self.code)


class _Array:
    """An array, empty until its state is set."""

    def __init__(self) -> None:
        self.array: NDArray[Any] = np.empty(0)


class _Mark:
    """Where a list of entries begins on the stack."""


_FRESH: dict[str, Any] = {"MARK": _Mark, "EMPTY_LIST": list, "EMPTY_DICT": dict}


def read_plain_pickle(path: Path) -> dict[str, Any]:
    """Dictionary of numbers, text and arrays that a pickle of protocol 0 to 5 holds.

    Raises
    ------
    InputError
        If the file names anything but numpy's arrays and numbers, is cut short or damaged, or is no dictionary.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # about backslashes in damaged text
            held = _Machine(path).run(raw)
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        why = str(error)[:200] or type(error).__name__
        raise InputError(f"{path} is no plain mesh file, or damaged ({why}). Copy it again.") from None
    if not isinstance(held, dict):
        raise InputError(f"{path} holds a {type(held).__name__}, not the dictionary of a mesh.")
    return {key: value.array if isinstance(value, _Array) else value for key, value in held.items()}


class _Machine:
    """Stack, marks and memory of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._size = path.stat().st_size
        self._encoded = 0

    def run(self, raw: mmap.mmap) -> Any:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(raw)):  # type: ignore[arg-type]
            if step > _MOST_STEPS:
                raise ValueError(f"more than {_MOST_STEPS} parts")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._do(opcode.name, argument)
        raise ValueError("no end")

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _FRESH:
            stack.append(_FRESH[name]())
        elif name in _TUPLES:
            stack.append(tuple(self._last(_TUPLES[name])))
        elif name in ("GLOBAL", "INST"):
            stack.append(self._name(*argument.split(" ", 1)))
        elif name in ("PROTO", "FRAME"):
            pass
        elif "PUT" in name:
            self._memory[argument] = stack[-1]
        elif "GET" in name:
            stack.append(self._memory[argument])
        elif isinstance(argument, _NUMBERS_AND_TEXT) and not name.startswith(("EXT", "PERSID")):
            stack.append(argument)
        else:
            action = getattr(self, f"_do_{name.lower()}", None)
            if action is None:
                raise ValueError(f"instruction {name}")
            action()

    def _last(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("stack")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        taken = []
        while not isinstance(value := self._stack.pop(), _Mark):
            taken.append(value)
        return taken[::-1]

    def _do_memoize(self) -> None:
        self._memory[len(self._memory)] = self._stack[-1]

    def _do_pop(self) -> None:
        self._stack.pop()

    def _do_pop_mark(self) -> None:
        self._marked()

    def _do_tuple(self) -> None:
        self._stack.append(tuple(self._marked()))

    def _do_list(self) -> None:
        self._stack.append(self._marked())

    def _do_dict(self) -> None:
        pairs = self._marked()
        self._stack.append({})
        self._set(pairs)

    def _do_append(self) -> None:
        self._add([self._stack.pop()])

    def _do_appends(self) -> None:
        self._add(self._marked())

    def _do_setitem(self) -> None:
        self._set(self._last(2))

    def _do_setitems(self) -> None:
        self._set(self._marked())

    def _do_stack_global(self) -> None:
        self._stack.append(self._name(*self._last(2)))

    def _do_reduce(self) -> None:
        name, arguments = self._last(2)
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no function")
        made = _CALLS[name.kind](*arguments)
        if isinstance(made, bytes):
            self._encoded += len(made)
            if self._encoded > self._size:  # one text again and again
                raise ValueError("more bytes than the file has")
        self._stack.append(made)

    def _do_build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, _Type):
            target.order = _order(state[1])
        elif isinstance(target, _Array):
            _, shape, kind, fortran, raw = state
            target.array = _filled(raw, kind, shape, "F" if fortran else "C")
        else:
            raise TypeError("a state for what has none")

    def _add(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError("an entry for what is no list")
        self._stack[-1].extend(values)

    def _set(self, pairs: list[Any]) -> None:
        keys = pairs[::2]
        if not isinstance(self._stack[-1], dict) or not all(isinstance(key, str) for key in keys):
            raise TypeError("an entry for what is no dictionary with names")
        self._stack[-1].update(zip(keys, pairs[1::2], strict=True))

    def _name(self, module: Any, name: Any) -> _Name:
        kind = _KNOWN.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if kind is None:
            raise InputError(
                f"{self._path} holds {str(module)[:60]}.{str(name)[:60]}; not a plain mesh file. It was not opened."
            )
        return _Name(kind)


def _order(text: Any) -> str:
    if not isinstance(text, str) or text not in ("<", ">", "|", "="):
        raise ValueError("an array of unknown byte order")
    return text


def _raw(value: Any) -> bytes | bytearray:
    if isinstance(value, str):  # how Python 2 wrote bytes
        return value.encode("latin1")
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"an array made of {type(value).__name__}")
    return value


def _filled(raw: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Array over bytes that must be exactly as many as it needs."""
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise TypeError("an array without type or shape")
    dtype, data, count = kind.dtype(), _raw(raw), 1
    if len(shape) > 8 or not all(isinstance(length, int) and 0 <= length < 2**48 for length in shape):
        raise ValueError("an array of impossible shape")
    for length in shape:
        count *= length
    if count * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and type {dtype} made of {len(data)} bytes")
    return np.frombuffer(data, dtype=dtype, count=count).reshape(shape, order=order)


def _reconstruct(*_: Any) -> _Array:
    return _Array()  # its state follows


def _dtype(code: Any, *_: Any) -> _Type:
    if not isinstance(code, str):
        raise TypeError("an array of unknown type")
    return _Type(code)


def _scalar(kind: Any, raw: Any) -> Any:
    return _filled(raw, kind, (), "C").item()


def _frombuffer(raw: Any, kind: Any, shape: Any, order: Any, *more: Any) -> _Array:
    if any(value is not None for value in more):
        raise ValueError("an array with its axes in another order")
    made = _Array()
    made.array = _filled(raw, kind, shape, order)
    return made


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    if not isinstance(text, str) or codec != "latin1":
        raise TypeError("text in an unknown code")
    return text.encode("latin1")


def _never(*_: Any) -> Any:
    raise TypeError("a call of numpy.ndarray")


_CALLS = {
    "ndarray": _never,
    "dtype": _dtype,
    "reconstruct": _reconstruct,
    "scalar": _scalar,
    "frombuffer": _frombuffer,
    "encode": _encode,
}
