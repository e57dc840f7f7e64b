"""STAR files: strict reading, writing, and columns of numbers."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic

Columns = dict[str, list[str]]

_TOKEN = re.compile(r"""'[^']*'(?=\s|$)|"[^"]*"(?=\s|$)|#.*|\S+""")


def read_star(path: Path) -> dict[str, Columns]:
    """All tables of a STAR file: table name to label to values, as text.

    Raises
    ------
    InputError
        If the file is no STAR file, a row has too few or too many values, or a table or column occurs twice.
    """
    text = _text(path)
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        _check_rows(path, text)
        raise InputError(_in_words(path, str(error))) from None
    _check_rows(path, text)
    return {block.name.strip(): _columns(block) for block in document}


def write_star(path: Path, tables: Mapping[str, Mapping[str, Sequence[object]]]) -> None:
    """Write tables as RELION does; a kill leaves the old file or the new one."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("# version 50001\n")
        for name, columns in tables.items():
            file.write(f"\ndata_{name}\n\nloop_\n")
            for number, label in enumerate(columns, 1):
                file.write(f"_{label} #{number}\n")
            for row in zip(*columns.values(), strict=True):
                file.write(" ".join(_quoted(value) for value in row) + "\n")


def parse_numbers(where: Path | str, label: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """Turn a column of text into numbers.

    Raises
    ------
    InputError
        For the first value that is no finite number, with its row (from 1).
    """
    try:
        values = np.array([float(text) for text in texts])
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


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    raw = path.read_bytes()
    if b"\0" in raw[:4096]:
        raise InputError(
            f"{path} is no STAR file: it is not text. Give a particle star file (data_particles)."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _check_rows(path: Path, text: str) -> None:
    """Refuse rows of another length than their table, with the line number; the parser counts only in all."""
    columns, in_loop = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(("data_", "loop_")):
            columns, in_loop = 0, words[0] == "loop_"
        elif in_loop and words[0].startswith("_"):
            columns += 1
        elif in_loop and columns:
            if "'" in line or '"' in line or "#" in line:
                words = [w for w in _TOKEN.findall(line) if not w.startswith("#")]
            if len(words) != columns:
                raise InputError(
                    f"{path} line {number}: the table has {columns} columns but this row has {len(words)} "
                    "values. The file may be cut short."
                )


def _in_words(path: Path, error: str) -> str:
    table = re.search(r"duplicate block name: (\S+)", error)
    if table:
        return f"{path} has the table data_{table[1]} twice. Keep one."
    column = re.search(r"in data_(\S*): duplicate tag _(\S+)", error)
    if column:
        return f"{path} has the column {column[2]} twice in data_{column[1]}. Keep one."
    place = re.search(r"^string:(\d+):\d+\(\d+\): (.*)", error)
    detail = f"line {place[1]}: {place[2]}" if place else error
    return f"{path} is no STAR file ({detail}). Give a particle star file (data_particles)."


def _columns(block: "gemmi.cif.Block") -> Columns:
    columns: Columns = {}
    for item in block:
        if item.loop is not None:
            tags, values = item.loop.tags, list(item.loop.values)
            for number, tag in enumerate(tags):
                columns[tag.lstrip("_")] = [_unquoted(v) for v in values[number :: len(tags)]]
        elif item.pair is not None:
            columns[item.pair[0].lstrip("_")] = [_unquoted(item.pair[1])]
    return columns


def _unquoted(value: str) -> str:
    return gemmi.cif.as_string(value) if value[:1] in ("'", '"') else value


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if not text or any(c.isspace() for c in text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
