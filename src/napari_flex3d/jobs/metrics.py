"""The table ``metrics.csv`` of a job: one row an epoch or iteration."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from napari_flex3d.io.files import atomic


class Metrics:
    """The growing table; a kill at any moment leaves whole rows.

    Parameters
    ----------
    path
        The file.
    keep
        Whether rows of an earlier run stay: all those before the first new row, by their first column.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        self.path = path
        self._columns: list[str] = []
        self._continues = keep and path.exists()
        if not keep:
            path.unlink(missing_ok=True)

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row."""
        if self._continues:
            self._continues = False
            first = next(iter(row))
            self._columns, old = _read(self.path)
            self._rewrite([r for r in old if _number(r.get(first, "")) < float(row[first])])
        if not self._columns or any(name not in self._columns for name in row):
            old = _read(self.path)[1] if self._columns else []
            self._columns += [name for name in row if name not in self._columns]
            self._rewrite(old)
        line = _lines([[_text(row[name]) if name in row else "" for name in self._columns]])
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode())  # one call, so that a reader never sees half a row
            os.fsync(file)
        finally:
            os.close(file)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        with atomic(self.path) as path:
            path.write_text(
                _lines([self._columns, *([r.get(c, "") for c in self._columns] for r in rows)]), newline=""
            )


def read_metrics(folder: Path) -> dict[str, list[float]]:
    """Columns of the ``metrics.csv`` of a job, empty when there is none; a missing value is NaN."""
    path = folder / "metrics.csv"
    if not path.exists():
        return {}
    columns, rows = _read(path)
    return {name: [_number(row.get(name, "")) for row in rows] for name in columns}


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]  # a row that a power cut left half written is dropped
    columns, *rows = [*csv.reader(io.StringIO(whole)), []] if whole else [[]]
    return columns, [dict(zip(columns, row, strict=False)) for row in rows if row]


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _number(text: str) -> float:
    return float(text) if text else float("nan")
