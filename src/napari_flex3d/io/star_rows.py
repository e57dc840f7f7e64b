"""Rows of a table of a star file: found in one pass through the file, and left in it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_flex3d.io.columns import Ints, Known, Texts
from napari_flex3d.io.errors import InputError

PART = 1 << 17
"""Bytes that are looked at together."""

_LONG = 256
"""Texts of more bytes are left in the file."""

BOM = b"\xef\xbb\xbf"

_MARKS = (b"_", b"data_", b"loop_")

_TOKEN = re.compile(rb"""'[^']*'(?=[\s#]|$)|"[^"]*"(?=[\s#]|$)|#.*|\S+""")
SPECIAL = (b'"', b"'", b"#")
"""Without these in it a line's values are what lies between blanks."""


def values_of(lines: list[bytes]) -> list[list[bytes]]:
    """Values of each line without their quotes; a comment is none."""
    together = b"".join(lines)
    if not any(mark in together for mark in SPECIAL):
        return [line.split() for line in lines]
    return [
        [
            token[1:-1] if token[:1] in (b"'", b'"') else token
            for token in _TOKEN.findall(line)
            if token[:1] != b"#"
        ]
        for line in lines
    ]


@dataclass
class Rows:
    """Rows of a table, by where they begin in the file; texts are read from there when they are asked for.

    Parameters
    ----------
    path, stamp
        The file, and its size and time when it was looked through.
    starts
        (N) first byte of each row.
    width
        Columns.
    """

    path: Path
    stamp: tuple[int, int]
    starts: Ints
    width: int
    _latest: tuple[Ints, list[tuple[bytes, ...]]] | None = field(default=None, repr=False)

    def column(self, number: int) -> Callable[[Ints], list[str]]:
        """Reader of the texts of a column."""
        return lambda rows: [value.decode() for value in self.read(rows)[number]] if len(rows) else []

    def read(self, rows: Ints) -> list[tuple[bytes, ...]]:
        """All columns of some rows; the latest are kept, as the next column is mostly asked for the same."""
        latest = self._latest
        if latest is not None and np.array_equal(latest[0], rows):
            return latest[1]
        changed = InputError(f"{self.path} has changed since it was read. Start again from the new file.")
        if not self.path.is_file() or stamp_of(self.path) != self.stamp:
            raise changed
        lines = []
        with self.path.open("rb") as file:
            for start in self.starts[rows].tolist():
                file.seek(start)
                lines.append(file.readline())
        found = values_of(lines)
        if any(len(row) != self.width for row in found):
            raise changed
        columns = list(zip(*found, strict=True))
        self._latest = rows, columns
        return columns


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of a file, which tell whether it has changed."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class Body:
    """Rows of one table while a file is gone through: where they begin, and what their columns hold.

    A column whose first value is a number is one of numbers. One that has another value later on, or very long texts,
    is left in the file.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._starts: list[Ints] = []
        self._known: dict[int, list[Known]] = {n: [] for n in range(width)}

    def add(self, starts: Ints, rows: list[list[bytes]]) -> None:
        """Take in some rows and where they begin."""
        if not rows:
            return
        self._starts.append(starts)
        for number, column in enumerate(zip(*rows, strict=True)):
            known = self._known.get(number)
            if known is None:
                continue
            found = _known(column, known[0].dtype.kind if known else "")
            if found is None:
                del self._known[number]
            else:
                known.append(found)

    def columns(self, path: Path, stamp: tuple[int, int]) -> list[Texts]:
        """All columns, when everything has been taken in."""
        starts = np.concatenate(self._starts) if self._starts else np.empty(0, np.int64)
        rows, every = Rows(path, stamp, starts, self.width), np.arange(len(starts))
        return [
            Texts(rows.column(n), every, np.concatenate(known) if (known := self._known.pop(n, [])) else None)
            for n in range(self.width)
        ]


def _known(texts: tuple[bytes, ...], kind: str) -> Known | None:
    """Numbers, or short texts, where the column has not shown itself to be of the other kind."""
    if kind in ("", "f"):
        try:
            return np.array(list(map(float, texts)))
        except ValueError:
            pass
    if kind == "f" or max(map(len, texts)) > _LONG:
        return None
    return np.array(texts)


@dataclass(frozen=True)
class Part:
    """Some lines of a file that lie together: rows of a table, or what is around tables.

    Parameters
    ----------
    lines
        The lines, with their ends.
    number
        Of the first line, from 1.
    start
        Its first byte in the file.
    table
        Number of the table that they are rows of, comments and empty lines between them included, from 0;
        None outside of tables.
    width
        Columns of that table.
    """

    lines: list[bytes]
    number: int
    start: int
    table: int | None = None
    width: int = 0

    def rows(self) -> tuple[list[int], list[list[bytes]]]:
        """Lines that are rows, by their place in the part, and their values."""
        found = values_of(self.lines)
        if all(found):
            return list(range(len(found))), found
        return [i for i, row in enumerate(found) if row], [row for row in found if row]

    def starts(self, places: list[int]) -> Ints:
        """First byte of some of its lines."""
        ends = np.cumsum([0, *map(len, self.lines)])
        return self.start + ends[places]


def parts(path: Path) -> Iterator[Part]:
    """Go through a star file once, a part at a time.

    A table begins with the line ``loop_`` and a line for every column. Anything unusual counts as lying outside of
    tables, where the parser sees it as it is.
    """
    number, place, state = 1, 0, _State()
    with path.open("rb") as file:
        if file.read(len(BOM)) == BOM:
            place = len(BOM)
        file.seek(place)
        while lines := file.readlines(PART):
            first = 0
            while first < len(lines):
                end = state.end_of_part(lines, first)
                if end > first:
                    part = Part(lines[first:end], number, place, *state.table_and_width())
                    yield part
                    number, place = number + end - first, place + sum(map(len, part.lines))
                first = end
                state.turn(first < len(lines))


class _State:
    """Where we are in a file: among rows, or in what is around them."""

    def __init__(self) -> None:
        self.in_rows, self.in_loop, self.width, self.table = False, False, 0, -1

    def table_and_width(self) -> tuple[int | None, int]:
        return (self.table, self.width) if self.in_rows else (None, 0)

    def end_of_part(self, lines: list[bytes], first: int) -> int:
        """Line after the last one of the same kind as line ``first``."""
        if self.in_rows:
            ends = (i for i in range(first, len(lines)) if lines[i].lstrip().startswith(_MARKS))
            return next(ends, len(lines))
        for i in range(first, len(lines)):
            word = lines[i].split(None, 1)[:1]
            if not word or word[0].startswith(b"#"):
                continue
            if word[0].startswith(b"_"):
                self.width += self.in_loop
            elif word[0].startswith((b"data_", b"loop_")):
                self.in_loop, self.width = word[0] == b"loop_", 0
            elif self.width:
                return i
        return len(lines)

    def turn(self, is_other_kind: bool) -> None:
        """Begin with the next kind of lines, if there are any left to look at."""
        if is_other_kind and self.in_rows:
            self.in_rows, self.in_loop, self.width = False, False, 0
        elif is_other_kind:
            self.in_rows, self.table = True, self.table + 1
