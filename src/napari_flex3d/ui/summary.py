"""What a job has found, in words and numbers that a person can read."""

import csv
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from napari_flex3d.io.errors import InputError
from napari_flex3d.resolutions import CRITERIA, KINDS, by_part


def facts(summary: dict[str, Any], indent: str = "") -> list[str]:
    """Summary of a job in lines that a person can read."""
    lines = []
    for name, value in summary.items():
        words = in_units(name)
        if isinstance(value, dict | list | str) and not value:
            continue
        if isinstance(value, dict):
            lines += [f"{indent}{words}:", *facts(value, indent + "   ")]
        elif isinstance(value, list) and isinstance(value[0], dict):
            lines += [f"{indent}{words}:", *(f"{indent}   {', '.join(facts(one))}" for one in value)]
        elif isinstance(value, list) and len(value) > 8:
            continue
        elif value is not None:
            lines.append(f"{indent}{words}: {_plain(value)}")
    return lines


def in_units(name: str) -> str:
    """Turn the name of a number into words, with its unit in brackets: ``cell_size_A`` is "cell size (Å)"."""
    units = {"A": "Å", "A2": "Å²", "A3": "Å³", "kV": "kV", "kDa": "kDa", "mm": "mm", "px": "px", "s": "s"}
    *words, last = name.split("_")
    return f"{' '.join(words)} ({units[last]})" if words and last in units else name.replace("_", " ")


def in_words(seconds: float) -> str:
    """Say a length of time as a person does."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return str(value)


def resolution_table(summary: dict[str, Any]) -> str:
    """Resolutions of the flexible and the rigid map, of the whole and of each part, as a small table."""
    parts = by_part(summary)
    kinds = [kind for kind in KINDS if any(kind in found for found in parts.values())]
    top = "".join(f"<th colspan={len(kinds)}>{words} (Å)</th>" for words in CRITERIA.values())
    head = "".join(f"<th>{KINDS[kind]}</th>" for _ in CRITERIA for kind in kinds)
    rows = ""
    for part, found in parts.items():
        cells = [_row(found, kinds, criterion) for criterion in CRITERIA]
        rows += f"<tr><td>{escape(part)}</td>{''.join(cells)}</tr>"
    return f"<table cellpadding=3><tr><th></th>{top}</tr><tr><th></th>{head}</tr>{rows}</table>"


def _row(found: Mapping[str, Mapping[str, float]], kinds: list[str], criterion: str) -> str:
    """Cells of one criterion; the finer one is bold."""
    values = [found.get(kind, {}).get(criterion) for kind in kinds]
    finest = min((value for value in values if value), default=None)
    text = [f"{value:.2f}" if value else "–" for value in values]
    marked = [
        f"<b>{t}</b>" if v == finest and len(kinds) > 1 else t for t, v in zip(text, values, strict=True)
    ]
    return "".join(f"<td align=right>{t}</td>" for t in marked)


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a table of numbers; a value that is missing is NaN."""
    if not path.is_file():
        raise InputError(f"{path} is missing; run the stage again.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
