"""Particles of a training chosen by a condition, given back in the user's own file."""

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.columns import Texts
from napari_flex3d.io.cs.container import read_fields
from napari_flex3d.io.cs.rows import write_fields
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.latents import read_csv
from napari_flex3d.io.particle_files import is_cs_file
from napari_flex3d.io.star import Columns as StarColumns
from napari_flex3d.io.star import parse_numbers, read_star
from napari_flex3d.io.star_copy import IMAGE_NAME, copy_rows
from napari_flex3d.jobs import input_of, read_job

Values = NDArray[np.float64] | NDArray[np.bool_]

_LONGEST = 1000
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARED: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def select(train: Path, where: str, out: Path) -> dict[str, Any]:
    """Write the particles of a training job that satisfy a condition.

    The file is the training's ``latents.star`` or ``latents.cs`` with rows left out: the user's own file with all its
    columns and tables, and the latents.

    Parameters
    ----------
    train
        A finished training job.
    where
        The condition, such as ``z1 > 0.5 and held_out == 0``: comparisons, ``and``, ``or``, ``not``, arithmetic and
        ``abs`` of the columns of ``latents.csv`` and the number columns of ``latents.star``.
    out
        A .star or .cs file.

    Returns
    -------
    How many particles were kept, of how many, and where they are.

    Raises
    ------
    InputError
        If the job is none or not done, the condition cannot be read or keeps nothing, or the particles cannot be
        written as such a file.
    """
    _check_out(out, train)
    columns = Columns(train)
    chosen = satisfied(where, columns)
    if not chosen.any():
        used = [f"{name} is {columns[name].min():g} to {columns[name].max():g}" for name in columns.used]
        raise InputError(f"No particle satisfies {where}: {', '.join(used) or 'it is never true'}.")
    return write_chosen(train, chosen, out) | {"where": where}


def write_chosen(train: Path, chosen: NDArray[np.bool_], out: Path) -> dict[str, Any]:
    """Write some of the particles of a training job, as `select` does.

    Parameters
    ----------
    train
        A finished training job.
    chosen
        Which (N), in the order of the model's latents.
    out
        A .star or .cs file.

    Raises
    ------
    InputError
        If the job is none or not done, nothing is chosen, or the particles cannot be written as such a file.
    """
    _check_out(out, train)
    rows = np.flatnonzero(chosen)
    if not len(rows):
        raise InputError("No particle is chosen; there is nothing to write.")
    said = {"kept": len(rows), "of": len(chosen), "out": str(out)}
    if out.suffix == ".star":
        copy_rows(train / "latents.star", out, rows)
        return said
    write_fields(out, {name: values[rows] for name, values in read_fields(train / "latents.cs").items()})
    note = "Fields of passthrough files stay in those; give them along, they are joined by uid."
    return said | {"note": note}


def _check_out(out: Path, train: Path) -> None:
    read_job(train, "train", wanted_by="select")
    source = input_of(input_of(input_of(train, "mesh"), "prep"), "particles")
    for name in ("latents.csv", "latents.star", "latents.cs"):
        if not (train / name).is_file():
            raise InputError(
                f"{train} has no {name}: the training has not ended. Go on with flex3d train --resume."
            )
    if out.suffix not in (".star", ".cs"):
        raise InputError(f"{out}: particles are written as .star or .cs. Choose such a name.")
    if out.suffix == ".cs" and not is_cs_file(source):
        raise InputError(f"{out}: the particles came from {source.name}, a star file. Write a .star file.")
    if out.resolve() == source.resolve() or out.resolve().parent == train.resolve():
        raise InputError(f"{out} belongs to the input or to the training job. Choose another name.")


class Columns(Mapping[str, NDArray[np.float64]]):
    """Columns that a condition may name; those of the star file are read when one is named."""

    def __init__(self, train: Path) -> None:
        self._known = read_csv(train / "latents.csv", lambda names: names)
        self._path = train / "latents.star"
        self._star: StarColumns | None = None
        self.used: list[str] = []

    @property
    def _table(self) -> StarColumns:
        if self._star is None:
            self._star = next(columns for columns in read_star(self._path).values() if IMAGE_NAME in columns)
        return self._star

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._known:
            label = name.removeprefix("_")
            if label not in self._table:
                raise InputError(f"There is no {name}. Names: {', '.join(self)}.")
            if not _is_number(self._table[label]):
                raise InputError(f"{name} holds text; a condition is on numbers.")
            self._known[name] = parse_numbers(self._path, name, self._table[label])
        if name not in self.used:
            self.used.append(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._known
        yield from (label for label, column in self._table.items() if _is_number(column))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _is_number(column: object) -> bool:
    return isinstance(column, Texts) and column.numbers is not None


def satisfied(where: str, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Where a condition on columns holds, (N).

    Nothing is executed: the text is taken apart, and only comparisons, ``and``, ``or``, ``not``, arithmetic, ``abs``,
    numbers and names of columns are known.

    Raises
    ------
    InputError
        For anything else, a name that is no column, or an expression that is no condition.
    """
    if len(where) > _LONGEST:
        raise InputError(f"The condition has {len(where)} letters; {_LONGEST} are read.")
    try:
        tree = ast.parse(where.strip(), mode="eval").body
        with np.errstate(all="ignore"):
            found = _value(tree, columns)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f'"{where}" cannot be read as a condition, such as "z1 > 0.5 and held_out == 0".'
        ) from None
    if np.ndim(found) == 0 or found.dtype != bool:
        raise InputError(f'"{where}" is no condition on the particles: compare it, as in "z1 > 0.5".')
    return found


def _value(node: ast.expr, columns: Mapping[str, NDArray[np.float64]]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return np.float64(number)
        case ast.Name(id=name):
            return columns[name]
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return join.reduce([_condition(part, columns) for part in parts])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return ~_condition(part, columns)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -_number(part, columns)
        case ast.UnaryOp(op=ast.UAdd(), operand=part):
            return _number(part, columns)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_number(left, columns), _number(right, columns))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARED for op in ops):
            values = [_number(part, columns) for part in (left, *others)]
            pairs = zip(ops, values, values[1:], strict=False)
            return np.logical_and.reduce([_COMPARED[type(op)](a, b) for op, a, b in pairs])
        case ast.Call(func=ast.Name(id="abs"), args=[part], keywords=[]):
            return np.abs(_number(part, columns))
    raise InputError(
        f"{ast.unparse(node)}: a condition is made of comparisons, and, or, not, + - * / % **, abs(), numbers and "
        "names of columns."
    )


def _number(node: ast.expr, columns: Mapping[str, NDArray[np.float64]]) -> Any:
    found = _value(node, columns)
    if found.dtype == bool:
        raise InputError(f"{ast.unparse(node)} is a condition where a number is needed.")
    return found


def _condition(node: ast.expr, columns: Mapping[str, NDArray[np.float64]]) -> Any:
    found = _value(node, columns)
    if found.dtype != bool:
        raise InputError(f"{ast.unparse(node)} is a number where a condition is needed: compare it.")
    return found
