"""Latents of particles from a table of ours, a star file, or CryoSPARC's 3DVA and 3DFlex."""

import csv
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.copies import copy_numbers
from napari_flex3d.io.cs.container import read_fields
from napari_flex3d.io.cs.dataset import dataset_keys
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.particle_files import is_cs_file
from napari_flex3d.io.relion.labels import COPY
from napari_flex3d.io.star import parse_numbers, read_star
from napari_flex3d.io.table import ParticleTable

_NAMES = (r"z(\d+)", r"flex3dLatent(\d+)")
_MOST_COPIES = 1000
_COMPONENT = r"components_mode_(\d+)/value"


@dataclass(frozen=True)
class _Found:
    """Latents as a file has them, with what tells its rows apart; without keys they are in the particles' order.

    Parameters
    ----------
    names
        Of the columns.
    values
        (M, K).
    keys, wanted
        (M) key of each row, and (N) those of the particles.
    """

    names: Sequence[str]
    values: NDArray[np.float64]
    keys: NDArray[Any] | None = None
    wanted: NDArray[Any] | None = None


def read_latents(path: Path, table: ParticleTable, dims: int | Literal["auto"]) -> NDArray[np.float32]:
    """Latents (N, K) of the particles of a prep job.

    Parameters
    ----------
    path
        ``latents.csv`` or a table like it (columns ``z1``, ... and the row of the input file in ``particle``), a
        star file with ``flex3dLatent1``, ... and image names, or a .cs file with ``components_mode_0/value``, ...
        Rows may come in any order, and there may be more of them. A table that does not tell its rows apart must
        have the prep job's particles in their order.
    table
        The particles of the prep job.
    dims
        Latents wanted, K, or "auto" for as many as there are.

    Raises
    ------
    InputError
        If there are none or another number of them, particles are missing, or a value is not finite or the same
        for all particles.
    """
    if is_cs_file(path):
        found = _from_dataset(path, table)
    elif path.suffix == ".star":
        found = _from_star(path, table)
    else:
        found = _from_csv(path, table)
    listed = ", ".join(found.names)
    if dims not in ("auto", len(found.names)):
        raise InputError(
            f"{path} has {len(found.names)} latents ({listed}), latent_dims is {dims}. "
            f"Use --latent-dims {len(found.names)}."
        )
    values = _in_order(path, found, len(table))
    for name, column in zip(found.names, values.T, strict=True):
        wrong = np.flatnonzero(~np.isfinite(column))
        if len(wrong):
            raise InputError(f"{path}: {name} of particle {table.row[wrong[0]] + 1} is {column[wrong[0]]}.")
        if np.ptp(column) == 0:
            raise InputError(f"{path}: {name} is {column[0]:g} for all particles; it tells nothing apart.")
    return values.astype(np.float32)


def _from_dataset(path: Path, table: ParticleTable) -> _Found:
    fields = read_fields(path)
    names = _numbered(path, fields, (_COMPONENT,), "components_mode_0/value", first=0)
    for name in names:
        if fields[name].dtype.kind != "f" or fields[name].ndim != 1:
            raise InputError(f"{path}: {name} holds {fields[name].dtype}; one number a particle is needed.")
    values = np.stack([fields[name].astype(np.float64) for name in names], axis=-1)
    return _Found(names, values, dataset_keys(path, fields), keys_of(table))


def keys_of(table: ParticleTable) -> NDArray[np.uint64]:
    """Keys of the particles in a dataset (N): CryoSPARC's own, or else rows of the input file, copies one by one."""
    uid = table.columns.get("flexUid")
    if uid is not None:
        return np.fromiter(map(int, uid), np.uint64, len(table))
    return _of_copy(table.row, copy_numbers(table)).astype(np.uint64)


def _of_copy(rows: NDArray[Any], copy: NDArray[Any] | None) -> NDArray[Any]:
    """One number for each row and copy."""
    return rows if copy is None else rows * _MOST_COPIES + copy


def _from_star(path: Path, table: ParticleTable) -> _Found:
    tables = read_star(path)
    columns = tables.get("particles") or max(tables.values(), key=len, default={})
    names = _numbered(path, columns, _NAMES, "flex3dLatent1")
    values = np.stack([parse_numbers(path, name, columns[name]) for name in names], axis=-1)
    if "rlnImageName" not in columns:
        return _Found(names, values)
    ours: Iterable[str] = table.columns.get("flexImageName", table.columns["rlnImageName"])
    theirs: Iterable[str] = columns["rlnImageName"]
    if COPY in columns and COPY in table.columns:
        ours = map(" ".join, zip(ours, table.columns[COPY], strict=True))
        theirs = map(" ".join, zip(theirs, columns[COPY], strict=True))
    return _Found(names, values, _as_bytes(theirs), _as_bytes(ours))


def _from_csv(path: Path, table: ParticleTable) -> _Found:
    names: list[str] = []

    def wanted(header: list[str]) -> list[str]:
        names.extend(_numbered(path, header, _NAMES, "z1"))
        return [*names, *(name for name in header if name in ("particle", "copy"))]

    columns = read_csv(path, wanted)
    values = np.stack([columns[name] for name in names], axis=-1)
    if "particle" not in columns:
        return _Found(names, values)
    ours = copy_numbers(table)
    if ours is None or "copy" not in columns:
        return _Found(names, values, columns["particle"], table.row)
    theirs = _of_copy(columns["particle"], columns["copy"])
    return _Found(names, values, theirs, _of_copy(table.row, ours))


def read_csv(path: Path, choose: Callable[[list[str]], list[str]]) -> dict[str, NDArray[np.float64]]:
    """Columns of numbers of a table with a header.

    Parameters
    ----------
    path
        The table, its values separated by commas.
    choose
        Names of the wanted columns, from all there are.

    Raises
    ------
    InputError
        If the file is no such table, a row has too few or too many values, or a wanted value is no number.
    """
    values = array("d")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            names = choose(header)
            places = [header.index(name) for name in names]
            for number, row in enumerate(filter(None, rows), 1):
                if len(row) != len(header):
                    raise InputError(
                        f"{path} row {number} has {len(row)} values, the header names {len(header)}. "
                        "The file may be cut short."
                    )
                try:
                    values.extend([float(row[place]) for place in places])
                except ValueError:
                    raise InputError(
                        f"{path} row {number}: {_no_number(row, names, places)} is no number."
                    ) from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}.") from None
    columns = (
        np.frombuffer(values, dtype=np.float64).reshape(-1, len(names))
        if values
        else np.empty((0, len(names)))
    )
    return dict(zip(names, columns.T, strict=True))


def _no_number(row: list[str], names: list[str], places: list[int]) -> str:
    """Name the first value that is none."""
    for name, place in zip(names, places, strict=True):
        try:
            float(row[place])
        except ValueError:
            return f'{name} = "{row[place][:40]}"'
    return "a value"


def _numbered(
    path: Path, columns: Iterable[str], patterns: Sequence[str], example: str, first: int = 1
) -> list[str]:
    """Find the columns of latents in the order of their numbers; none may be missing in between."""
    columns = list(columns)
    for pattern in patterns:
        number = {int(match[1]): name for name in columns if (match := re.fullmatch(pattern, name))}
        if number:
            missing = sorted(set(range(first, max(number) + 1)) - set(number))
            if missing:
                raise InputError(
                    f"{path} has {number[max(number)]}, but no "
                    f"{number[max(number)].replace(str(max(number)), str(missing[0]))}."
                )
            return [number[k] for k in sorted(number)]
    listed = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    raise InputError(f"{path} has no latents ({example}, ...); it has {listed[:200] or 'no columns'}.")


def _as_bytes(names: Iterable[str]) -> NDArray[np.bytes_]:
    return np.array([name.encode() for name in names])


def _in_order(path: Path, found: _Found, count: int) -> NDArray[np.float64]:
    """Bring the rows into the order of the particles."""
    if found.keys is None or found.wanted is None:
        if len(found.values) != count:
            raise InputError(
                f"{path} has {len(found.values)} rows and nothing that tells them apart, the prep job has {count} "
                "particles. Give a table with a column that names the particles."
            )
        return found.values
    if np.array_equal(found.keys, found.wanted):
        return found.values
    keys, first, repeats = np.unique(found.keys, return_index=True, return_counts=True)
    if repeats.max() > 1:
        raise InputError(f"{path}: {int((repeats > 1).sum())} particles occur more than once.")
    place = np.searchsorted(keys, found.wanted).clip(max=len(keys) - 1)
    missing = np.flatnonzero(keys[place] != found.wanted)
    if len(missing):
        key = found.wanted[missing[0]]
        raise InputError(
            f"{path} lacks {len(missing)} of {count} particles, first "
            f"{key.decode() if isinstance(key, bytes) else key}. Give the latents of the same particles."
        )
    return found.values[first[place]]
