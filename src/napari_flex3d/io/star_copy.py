"""Copies of a star file with some of its particles: every byte as it was, but for what is asked."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from napari_flex3d.io.columns import Ints
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.io.star_rows import Part, parts

IMAGE_NAME = "rlnImageName"

_NUMBER = re.compile(rb"#\s*\d+")
_WORD = re.compile(rb"""\s*('[^']*'(?=[\s#]|$)|"[^"]*"(?=[\s#]|$)|#.*|\S+)""")


def copy_rows(
    source: Path,
    out: Path,
    rows: Ints,
    added: Mapping[str, Sequence[str]] | None = None,
    *,
    dropped: str = "",
    names: Sequence[str] | None = None,
) -> None:
    """Copy a star file, keeping some rows of its particle table.

    Other tables, comments, the order of columns and the text of every value stay as they are.

    Parameters
    ----------
    source, out
        The file and its copy.
    rows
        (N) rows of the particle table to keep, from 0, ascending.
    added
        Further columns, N texts each.
    dropped
        Pattern of the labels that are left out.
    names
        (N) image names that the rows must have.

    Raises
    ------
    InputError
        If the file has no such rows.
    """
    which = _particle_table(source)
    copy = _Copy(source, rows, added or {}, dropped, names)
    header: list[bytes] = []
    with atomic(out) as temporary, temporary.open("wb") as file:
        for part in parts(source):
            if part.table is None:
                header += part.lines
                continue
            if part.table == which and header:
                header = copy.header(header)
            file.writelines(header)
            header = []
            if part.table == which:
                copy.body(file, part)
            else:
                file.writelines(part.lines)
        file.writelines(header)
        copy.check_complete()


def _particle_table(source: Path) -> int:
    """Number of the table of particles: that of the block particles, else the one that has image names."""
    header: list[bytes] = []
    found: dict[bool, int] = {}
    block = b""
    for part in parts(source):
        if part.table is None:
            header += part.lines
            continue
        block = next(
            (line.split()[0] for line in reversed(header) if line.lstrip().startswith(b"data_")), block
        )
        labels = [header[place].split()[0] for place in _label_places(header)]
        if f"_{IMAGE_NAME}".encode() in labels:
            found.setdefault(block == b"data_particles", part.table)
        header = []
    if not found:
        raise InputError(f"{source} has no table with {IMAGE_NAME}.")
    return found.get(True, found.get(False, 0))


def _label_places(header: list[bytes]) -> list[int]:
    """Lines of the labels of the table that follows."""
    words = [(line.split(None, 1) or [b""])[0] for line in header]
    start = max((n for n, word in enumerate(words) if word == b"loop_"), default=len(words))
    return [n for n in range(start, len(words)) if words[n].startswith(b"_")]


class _Copy:
    """One copying of a particle table."""

    def __init__(
        self,
        source: Path,
        rows: Ints,
        added: Mapping[str, Sequence[str]],
        dropped: str,
        names: Sequence[str] | None,
    ) -> None:
        self.source, self.rows, self.added, self.names = source, rows, added, names
        self.pattern = re.compile(dropped or "(?!)")
        self.dropped: set[int] = set()
        self.name_at = 0
        self.row = self.done = 0

    def header(self, lines: list[bytes]) -> list[bytes]:
        """Lines before the rows, with the new labels."""
        places = _label_places(lines)
        labels = [lines[place].split()[0].decode(errors="replace").lstrip("_") for place in places]
        self.name_at = labels.index(IMAGE_NAME)
        self.dropped = {n for n, label in enumerate(labels) if self.pattern.fullmatch(label)}
        kept = [place for n, place in enumerate(places) if n not in self.dropped]
        out = []
        for place, line in enumerate(lines):
            if place not in places:
                out.append(line)
            elif place in kept:
                number = b"#%d" % (kept.index(place) + 1)
                out.append(_NUMBER.sub(number, line, count=1) if self.dropped else line)
            if place == places[-1]:
                end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
                labels = [f"_{label} #{n}" for n, label in enumerate(self.added, len(kept) + 1)]
                out += [label.encode() + end for label in labels]
        return out

    def body(self, file: BinaryIO, part: Part) -> None:
        """Copy the wanted rows of a part, and comments and empty lines between them."""
        places, values = part.rows()
        end = self.row + len(places)
        until = self.done + int(np.searchsorted(self.rows[self.done :], end))
        wanted = (self.rows[self.done : until] - self.row).tolist()
        self._check_names([values[n][self.name_at] for n in wanted])
        columns = [column[self.done : until] for column in self.added.values()]
        more = [" ".join(texts).encode() for texts in zip(*columns, strict=True)] if columns else None
        new = {places[n]: more[k] if more else b"" for k, n in enumerate(wanted)}
        left_out = set(places) - set(new)
        for place, line in enumerate(part.lines):
            if place in new:
                file.write(self._row(line, new[place]))
            elif place not in left_out:
                file.write(line)
        self.row, self.done = end, until

    def check_complete(self) -> None:
        """Refuse a file with fewer rows than are wanted."""
        if self.done < len(self.rows):
            raise InputError(
                f"{self.source} has {self.row} particles, row {self.rows[-1] + 1} is wanted: it has changed since "
                "prep. Run flex3d prep again."
            )

    def _check_names(self, found: list[bytes]) -> None:
        if self.names is None:
            return
        expected = self.names[self.done : self.done + len(found)]
        for n, (name, wanted) in enumerate(zip(found, expected, strict=True)):
            if name.decode(errors="replace") != wanted:
                row = self.rows[self.done + n] + 1
                raise InputError(
                    f"{self.source} row {row} is {name.decode(errors='replace')}, it was {wanted} when prep read it. "
                    "Run flex3d prep again."
                )

    def _row(self, line: bytes, more: bytes) -> bytes:
        text = line.rstrip(b"\r\n")
        end = line[len(text) :] or b"\n"
        if not more and not self.dropped:
            return text + end
        words = list(_WORD.finditer(text))
        comment = b""
        if words and words[-1][1].startswith(b"#"):
            comment = words.pop()[0]
        kept = [word[0] for n, word in enumerate(words) if n not in self.dropped]
        tail = b"" if comment else text[words[-1].end() :]
        return b"".join([*kept, tail if tail and not more else b" " * bool(more), more, comment, end])
