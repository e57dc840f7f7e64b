"""What a job has found, in words and numbers that a person can read."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from napari_flex3d.io.errors import InputError


def facts(summary: dict[str, Any], indent: str = "") -> list[str]:
    """Summary of a job in lines that a person can read."""
    lines = []
    for name, value in summary.items():
        words = in_units(name)
        if isinstance(value, dict | list) and not value:
            continue
        if isinstance(value, dict):
            lines += [f"{indent}{words}:", *facts(value, indent + "   ")]
        elif isinstance(value, list) and len(value) > 8:
            continue
        elif value is not None:
            lines.append(f"{indent}{words}: {_plain(value)}")
    return lines


def in_units(name: str) -> str:
    """Turn the name of a number into words, with its unit in brackets: ``cell_size_A`` is "cell size (Å)"."""
    units = {"A": "Å", "A3": "Å³", "kV": "kV", "mm": "mm", "px": "px", "s": "s"}
    *words, last = name.split("_")
    return f"{' '.join(words)} ({units[last]})" if words and last in units else name.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return str(value)


def resolution_table(summary: dict[str, Any]) -> str:
    """Resolutions of the flexible and the rigid map as a small table."""
    rows = ""
    for key, name in (("flex", "flexible"), ("rigid", "rigid")):
        found = summary.get(key) or {}
        if found:
            cells = (f"{found.get(k):.2f} Å" if found.get(k) else "–" for k in ("fsc143_A", "fsc05_A"))
            rows += f"<tr><td>{name}</td>{''.join(f'<td align=right>{c}</td>' for c in cells)}</tr>"
    head = "<tr><th></th><th>FSC 0.143</th><th>FSC 0.5</th></tr>"
    return f"<table cellpadding=4>{head}{rows}</table>"


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Columns of a table of numbers; a value that is missing is NaN."""
    if not path.is_file():
        raise InputError(f"{path} is missing; run the stage again.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
