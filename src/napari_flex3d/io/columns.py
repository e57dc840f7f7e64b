"""Columns of text that are made when they are asked for: millions of rows take no memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Known = NDArray[np.bytes_ | np.float64]

CHUNK = 500
"""Rows that are made at a time."""


@dataclass(frozen=True, eq=False)
class Texts(Sequence[str]):
    """A column of text.

    Parameters
    ----------
    make
        Gives the texts of some rows of the source.
    rows
        (N) rows of the source that the column has.
    known
        (N) the texts as bytes, or the numbers that they stand for, where they have been read already.
    """

    make: Callable[[Ints], list[str]]
    rows: Ints
    known: Known | None = None

    @property
    def numbers(self) -> Floats | None:
        """Numbers that the texts stand for (N), where they are known."""
        return cast("Floats", self.known) if self.known is not None and self.known.dtype.kind == "f" else None

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        """Make the text of a row, or those of several."""
        some = row if isinstance(row, slice) else [row]
        if self.known is not None and self.known.dtype.kind == "S":
            texts = [text.decode() for text in self.known[some].tolist()]
        else:
            texts = self.make(self.rows[some])
        return texts if isinstance(row, slice) else texts[0]

    def __iter__(self) -> Iterator[str]:
        """Make all texts, a part at a time."""
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same texts."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the first texts."""
        more = ", ..." if len(self) > 5 else ""
        return f"<{len(self)} texts: {', '.join(self[:5])}{more}>"


def formatted(values: NDArray[Any], form: str = "d") -> Texts:
    """Numbers (N) as texts in a format of Python's, such as ``.6f``."""

    def make(rows: Ints) -> list[str]:
        return [format(value, form) for value in values[rows].tolist()]

    return Texts(make, np.arange(len(values)))


def take_columns(
    columns: Mapping[str, Sequence[str]], index: NDArray[np.integer]
) -> dict[str, Sequence[str]]:
    """Keep some rows of all columns; columns of the same source go on sharing their rows."""
    shared: dict[int, Ints] = {}

    def take(column: Sequence[str]) -> Sequence[str]:
        if not isinstance(column, Texts):
            return [column[i] for i in index]
        return Texts(column.make, shared.setdefault(id(column.rows), column.rows[index]))

    return {label: take(column) for label, column in columns.items()}


def without_known(columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Let go of what is known already: it can be made again."""
    return {
        label: Texts(column.make, column.rows) if isinstance(column, Texts) else column
        for label, column in columns.items()
    }
