"""STAR files: strict reading, writing, and columns of numbers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.columns import CHUNK, Texts
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.io.star_rows import SPECIAL, Body, Part, parts, stamp_of

Columns = Mapping[str, Sequence[str]]

_AWKWARD = re.compile(r"""["'#_$;]|data_|loop_|save_|stop_|global_""", re.IGNORECASE)
"""What a value does not begin with unless it is in quotes."""

_MARKS = (
    "\t",
    "\r",
    "  ",
    "\n ",
    " \n",
    *"\"'#$;",
    " _",
    "\n_",
    "data_",
    "loop_",
    "save_",
    "stop_",
    "global_",
)
"""Without these in it, text has nothing that needs quotes but blanks, which can be counted."""

_ROWS = "rows-of-table-"
"""Stands in the parser's sight for the rows of a table, which it sees apart from the rest."""


def read_star(path: Path) -> dict[str, Columns]:
    """All tables of a STAR file: table name to label to values, as text.

    The texts stay in the file until they are asked for; columns of numbers come with their numbers. The rows are
    shown to the parser a part at a time, so that a file of any size takes little memory.

    Raises
    ------
    InputError
        If the file is no STAR file, a row has too few or too many values, or a table or column occurs twice.
    """
    _check_text(path)
    stamp = stamp_of(path)
    lines: list[bytes] = []
    numbers: list[int] = []
    bodies: list[Body] = []
    for part in parts(path):
        if part.table is None:
            lines += part.lines
            numbers += range(part.number, part.number + len(part.lines))
            continue
        if part.table == len(bodies):
            bodies.append(Body(part.width))
            lines.append(" ".join([f"{_ROWS}{part.table}"] * part.width).encode() + b"\n")
            numbers.append(part.number)
        places, rows = part.rows()
        _check_rows(path, part, places, rows)
        bodies[part.table].add(part.starts(places), rows)
    columns = [body.columns(path, stamp) for body in bodies]
    document = _parse(path, b"".join(lines), numbers)
    return {block.name.strip(): dict(_columns(block, columns)) for block in document}


def write_star(path: Path, tables: Mapping[str, Mapping[str, Sequence[object]]]) -> None:
    """Write tables as RELION does; a kill leaves the old file or the new one."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("# version 50001\n")
        for name, columns in tables.items():
            file.write(f"\ndata_{name}\n\nloop_\n")
            for number, label in enumerate(columns, 1):
                file.write(f"_{label} #{number}\n")
            count = max(map(len, columns.values()), default=0)
            for start in range(0, count, CHUNK):
                file.write(
                    _lines([list(map(str, column[start : start + CHUNK])) for column in columns.values()])
                )


def parse_numbers(where: Path | str, label: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """Turn a column of text into numbers.

    Raises
    ------
    InputError
        For the first value that is no finite number, with its row (from 1).
    """
    try:
        known = texts.numbers if isinstance(texts, Texts) else None
        values = np.fromiter(map(float, texts), np.float64, len(texts)) if known is None else known
    except ValueError:
        row, bad = next((r, t) for r, t in enumerate(texts, 1) if not _is_number(t))
        raise InputError(
            f'{where} row {row}: {label} = "{bad}" is no number (decimal point needed).'
        ) from None
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise InputError(f"{where} row {wrong[0] + 1}: {label} is {texts[wrong[0]]}.")
    return values


def parse_integer(text: str) -> int:
    """Turn text into a whole number; "3.000" is one."""
    if not _is_number(text):
        raise InputError(f'"{text}" is no whole number.')
    return int(float(text))


def _check_text(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    with path.open("rb") as file:
        if b"\0" in file.read(4096):
            raise InputError(
                f"{path} is no STAR file: it is not text. Give a particle star file (data_particles)."
            )


def _check_rows(path: Path, part: Part, places: list[int], rows: list[list[bytes]]) -> None:
    """Refuse rows of another length than their table, and what the parser does not take, with the line number."""
    wrong = next((i for i, row in enumerate(rows) if len(row) != part.width), None)
    if wrong is not None:
        raise InputError(
            f"{path} line {part.number + places[wrong]}: the table has {part.width} columns but this row has "
            f"{len(rows[wrong])} values. The file may be cut short."
        )
    if _same_values(path, part, part.lines, rows, part.number):
        return
    for place, row in zip(places, rows, strict=True):  # the parser does not always name the line
        number = part.number + place
        if not _same_values(path, part, [part.lines[place]], [row], number):
            raise InputError(f"{path} is no STAR file (line {number}: its values cannot be told apart).")
    last = part.number + len(part.lines) - 1
    raise InputError(
        f"{path} is no STAR file (lines {part.number} to {last}: their values cannot be told apart)."
    )


def _same_values(path: Path, part: Part, lines: list[bytes], rows: list[list[bytes]], number: int) -> bool:
    """Whether the parser sees the same values in some lines of a table."""
    header = [b"data_\n", b"loop_\n", *(b"_%d\n" % n for n in range(part.width))]
    numbers = [number] * len(header) + list(range(number, number + len(lines)))
    raw = b"".join([*header, *lines])
    try:
        loop = _parse(path, raw, numbers)[0][0].loop
    except InputError:
        if len(lines) == 1:
            raise
        return False
    if loop.length() != len(rows):
        return False
    is_plain = not any(mark in raw for mark in SPECIAL)
    return is_plain or [_unquoted(v).encode() for v in loop.values] == [v for row in rows for v in row]


def _parse(path: Path, raw: bytes, numbers: Sequence[int]) -> "gemmi.cif.Document":
    """Parse text whose lines have these numbers in the file."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        return gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise InputError(_in_words(path, str(error), numbers)) from None


def _in_words(path: Path, error: str, numbers: Sequence[int]) -> str:
    table = re.search(r"duplicate block name: (\S+)", error)
    if table:
        return f"{path} has the table data_{table[1]} twice. Keep one."
    column = re.search(r"in data_(\S*): duplicate tag _(\S+)", error)
    if column:
        return f"{path} has the column {column[2]} twice in data_{column[1]}. Keep one."
    place = re.search(r"^string:(\d+):\d+\(\d+\): (.*)", error)
    line = numbers[min(int(place[1]), len(numbers)) - 1] if place and numbers else 1
    detail = f"line {line}: {place[2]}" if place else error
    return f"{path} is no STAR file ({detail}). Give a particle star file (data_particles)."


def _columns(
    block: "gemmi.cif.Block", bodies: Sequence[Sequence[Texts]]
) -> Iterator[tuple[str, Sequence[str]]]:
    for item in block:
        if item.loop is not None:
            labels, values = [tag.lstrip("_") for tag in item.loop.tags], list(item.loop.values)
            if values and values[0].startswith(_ROWS):
                yield from zip(labels, bodies[int(values[0].removeprefix(_ROWS))], strict=True)
            else:
                texts = [_unquoted(value) for value in values]
                yield from ((label, texts[n :: len(labels)]) for n, label in enumerate(labels))
        elif item.pair is not None:
            yield item.pair[0].lstrip("_"), [_unquoted(item.pair[1])]


def _unquoted(value: str) -> str:
    return gemmi.cif.as_string(value) if value[:1] in ("'", '"') else value


def _lines(columns: list[list[str]]) -> str:
    """Make lines of columns of text; values that would be read otherwise are put in quotes."""
    text = "\n".join([" ".join(row) for row in zip(*columns, strict=True)]) + "\n"
    is_plain = text.count(" ") == len(columns[0]) * (len(columns) - 1) and text.count("\n") == len(columns[0])
    from_start = "\n" + text
    if is_plain and not any(mark in from_start for mark in _MARKS):
        return text
    quoted = [[_in_quotes(value) for value in column] for column in columns]
    return "".join(" ".join(row) + "\n" for row in zip(*quoted, strict=True))


def _in_quotes(text: str) -> str:
    if text and not any(c.isspace() for c in text) and _AWKWARD.match(text) is None:
        return text
    for mark in "\"'":
        if mark not in text and "\n" not in text:
            return mark + text + mark
    raise InputError(f"{text!r} cannot be written in a STAR file.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
