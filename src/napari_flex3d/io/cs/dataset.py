"""A dataset of CryoSPARC: the .cs files of a job joined by the particles' keys (``uid``), columns checked when read."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.cs.container import Fields, read_fields
from napari_flex3d.io.cs.partners import find_partners
from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.table import Floats, Ints

_MOST_LOST = 0.01
"""Share of the particles that may be missing from a passthrough file."""


@dataclass(frozen=True)
class Dataset:
    """Columns of a particle file and of its passthrough files.

    Parameters
    ----------
    path
        The particle file.
    fields
        Columns by name, N values each.
    rows
        (N) rows of the particle file, from 0.
    """

    path: Path
    fields: Fields
    rows: Ints

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        """Whether there is a column of this name."""
        return name in self.fields

    def take(self, chosen: NDArray[Any]) -> "Dataset":
        """Keep some particles."""
        kept = {name: values[chosen] for name, values in self.fields.items()}
        return Dataset(self.path, kept, self.rows[chosen])

    def prefixes(self) -> list[str]:
        """Groups of columns: "blob", "ctf", "alignments3D"."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.fields if "/" in name))

    def number(self, name: str, shape: tuple[int, ...] = (), default: float | None = None) -> Floats:
        """Read a column of finite numbers, (N, *shape).

        Raises
        ------
        InputError
            If it is missing and has no default, has another shape, or holds NaN or infinity.
        """
        if name not in self.fields:
            if default is None:
                raise InputError(f"{self.path} has no {name}.")
            return np.full((len(self), *shape), default)
        values = self.fields[name]
        if values.dtype.kind not in "iuf" or values.shape[1:] != shape:
            raise InputError(
                f"{self.path}: {name} holds {values.dtype} of shape {values.shape[1:]}; "
                f"numbers of shape {shape} are needed."
            )
        with np.errstate(all="ignore"):
            values = values.astype(np.float64)
        wrong = np.flatnonzero(~np.isfinite(values).reshape(len(self), -1).all(1))
        if len(wrong):
            raise InputError(f"{self.path} row {self.rows[wrong[0]] + 1}: {name} is {values[wrong[0]]}.")
        return values

    def whole(self, name: str, default: float | None = None) -> Ints:
        """Read a column of whole numbers from 0 (N)."""
        values = self.number(name, default=default)
        wrong = np.flatnonzero((values < 0) | (values >= 2**32) | (values % 1 != 0))
        if len(wrong):
            raise InputError(f"{self.path} row {self.rows[wrong[0]] + 1}: {name} is {values[wrong[0]]:g}.")
        return values.astype(np.int64)

    def text(self, name: str) -> list[str]:
        """Read a column of texts; none may be empty or hold unprintable characters."""
        if name not in self.fields:
            raise InputError(f"{self.path} has no {name}.")
        values = self.fields[name]
        if values.dtype.kind not in "SOU" or values.ndim != 1:
            raise InputError(f"{self.path}: {name} holds {values.dtype}; text is needed.")
        texts = []
        for row, value in zip(self.rows, values.tolist(), strict=True):
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
            if not text.isprintable() or not text or "\ufffd" in text:
                raise InputError(f"{self.path} row {row + 1}: {name} is {value!r}.")
            texts.append(text)
        return texts


def read_dataset(path: Path, passthrough: Sequence[Path] = ()) -> Dataset:
    """Join a particle file and its passthrough files; where both have a column, the particle file's is taken.

    Without passthrough files named, those that belong to it are looked for beside it if something is missing.

    Raises
    ------
    InputError
        If keys are missing, occur twice, or are those of other particles.
    """
    fields = read_fields(path)
    keys = dataset_keys(path, fields)
    dataset = Dataset(path, fields | {"uid": keys}, np.arange(len(keys)))
    for other in passthrough or find_partners(path, fields):
        more = read_fields(other)
        dataset = _joined(dataset, other, more | {"uid": dataset_keys(other, more)})
    return dataset


def dataset_keys(path: Path, fields: Fields) -> NDArray[np.uint64]:
    """Row keys of a dataset, each once."""
    if "uid" not in fields or fields["uid"].dtype.kind not in "ui" or fields["uid"].ndim != 1:
        raise InputError(f"{path} has no uid; it cannot be joined.")
    keys = fields["uid"].astype(np.uint64)
    repeats = len(keys) - len(np.unique(keys))
    if repeats:
        raise InputError(f"{path}: {repeats} uids occur more than once.")
    return keys


def _joined(dataset: Dataset, other: Path, more: Fields) -> Dataset:
    """Inner join; rows of the two files may come in any order."""
    keys, theirs = dataset.fields["uid"], more["uid"]
    order = np.argsort(theirs)
    place = order[np.searchsorted(theirs, keys, sorter=order).clip(max=len(theirs) - 1)]
    found = theirs[place] == keys
    lost = len(keys) - int(found.sum())
    if lost > _MOST_LOST * len(keys):
        raise InputError(f"{len(keys) - lost} of {len(keys)} uids occur in {other}: files of different jobs?")
    if lost:
        warnings.warn(f"{lost} rows dropped. {other} does not have them.", InputWarning, stacklevel=4)
    kept = dataset.take(found)
    new = {name: values[place[found]] for name, values in more.items() if name not in kept.fields}
    return Dataset(dataset.path, kept.fields | new, kept.rows)
