"""Damage done to real files, for the fuzz tests of every reader.

`damaged` draws it with hypothesis; `outcome` says what a reader made of it, and lets everything but our own errors
and warnings through. Import as ``from tests.io.mutations import ...``.
"""

import signal
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from napari_flex3d.io.errors import InputError, InputWarning

Mutation = Callable[[DrawFn, bytes], bytes]

_HEADER = 1200
_NUMBERS = [
    *(struct.pack("<i", n) for n in (0, 1, -1, 2**31 - 1, -(2**31), 0x10000000, 3, 257)),
    *(struct.pack(">i", n) for n in (1, 2**31 - 1, 1000)),
    *(struct.pack("<f", x) for x in (float("nan"), float("inf"), -float("inf"), 1e38, -1.0, 1e-30)),
    struct.pack("<q", 2**62),
]
_WORDS = [
    *("nan", "inf", "-inf", "1e400", "-999", "0", "-1", "99999999999999999999", "1e300", "1,5", "²"),
    *("abc", "'", '"', "#", "@", "1@", "@x", "0@x", ";", "loop_", "data_x", "_rlnImageName", "[1,2", "[]"),
    *("\0", "\ufeff", "é", "../..", "/", "x" * 5000),
]


class Damaged(bytes):
    """Bytes that a failing test does not print."""

    def __repr__(self) -> str:
        return f"<{len(self)} damaged bytes>"


@st.composite
def damaged(draw: DrawFn, original: bytes, mutations: Sequence[Mutation]) -> bytes:
    """One to four mutations, one after the other."""
    data = original
    for mutation in draw(st.lists(st.sampled_from(mutations), min_size=1, max_size=4)):
        data = mutation(draw, data)
    return Damaged(data)


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in code that takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still reading after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(read: Callable[[], object], seconds: float = 20.0) -> str:
    """Say "read" or "refused"; whatever is not an InputError or an InputWarning is raised, also a hang.

    A message must be one that can be shown: not empty, printable, of a screen's length at most.
    """
    with watchdog(seconds), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", InputWarning)
        try:
            read()
        except InputError as error:
            text = str(error)
            assert text, "an error without a message"
            assert len(text) < 3000, f"a message of {len(text)} letters: {text[:200]}"
            return "refused"
    return "read"


def flip_bits(draw: DrawFn, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 8))) if data else ():
        changed[_place(draw, data)] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def put_number(draw: DrawFn, data: bytes) -> bytes:
    """A number that is none, or huge, where a header has its numbers."""
    at = _place(draw, data) // 4 * 4
    number = draw(st.sampled_from(_NUMBERS))
    return data[:at] + number + data[at + len(number) :]


def cut(draw: DrawFn, data: bytes) -> bytes:
    return data[: _place(draw, data)]


def drop_span(draw: DrawFn, data: bytes) -> bytes:
    first, last = _span(draw, data)
    return data[:first] + data[last:]


def repeat_span(draw: DrawFn, data: bytes) -> bytes:
    first, last = _span(draw, data)
    return data[:last] + data[first:last] + data[last:]


def move_span(draw: DrawFn, data: bytes) -> bytes:
    first, last = _span(draw, data)
    rest = data[:first] + data[last:]
    at = _place(draw, rest)
    return rest[:at] + data[first:last] + rest[at:]


def swap_lines(draw: DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    a, b = _index(draw, lines), _index(draw, lines)
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def repeat_line(draw: DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    lines.insert(_index(draw, lines), lines[_index(draw, lines)])
    return b"\n".join(lines)


def drop_line(draw: DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    del lines[_index(draw, lines)]
    return b"\n".join(lines)


def swap_words(draw: DrawFn, data: bytes) -> bytes:
    """Two columns of one line, or with the same draw of every line that has as many."""
    lines = data.split(b"\n")
    row = _index(draw, lines)
    count = len(lines[row].split())
    if not count:
        return data
    a, b = draw(st.integers(0, count - 1)), draw(st.integers(0, count - 1))
    rows = [r for r, line in enumerate(lines) if len(line.split()) == count] if draw(st.booleans()) else [row]
    for r in rows:
        words = lines[r].split()
        words[a], words[b] = words[b], words[a]
        lines[r] = b" ".join(words)
    return b"\n".join(lines)


def change_word(draw: DrawFn, data: bytes) -> bytes:
    """Another word, added, removed or put in place of one."""
    lines = data.split(b"\n")
    row = _index(draw, lines)
    words = lines[row].split(b"," if b"," in lines[row] and draw(st.booleans()) else None)
    at = draw(st.integers(0, len(words)))
    new = draw(st.lists(st.sampled_from(_WORDS), max_size=2))
    words[at : at + draw(st.integers(0, 1))] = [word.encode() for word in new]
    lines[row] = (b"," if b"," in lines[row] else b" ").join(words)
    return b"\n".join(lines)


BINARY: tuple[Mutation, ...] = (flip_bits, put_number, cut, drop_span, repeat_span, move_span)
TEXT: tuple[Mutation, ...] = (
    *(flip_bits, cut, drop_span, repeat_span, move_span),
    *(swap_lines, repeat_line, drop_line, swap_words, change_word, change_word),
)


def _place(draw: DrawFn, data: bytes) -> int:
    """A place in the data, every second time in the header."""
    reach = min(_HEADER, len(data)) if draw(st.booleans()) else len(data)
    return draw(st.integers(0, max(reach - 1, 0)))


def _span(draw: DrawFn, data: bytes) -> tuple[int, int]:
    first = _place(draw, data)
    return first, first + draw(st.integers(1, 400))


def _index(draw: DrawFn, items: Sequence[object]) -> int:
    return draw(st.integers(0, len(items) - 1))
