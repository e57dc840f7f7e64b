"""A stage's parameters as command line arguments, and back."""

import argparse
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import read_job
from napari_flex3d.params import ParamInfo, Params


def add_params(parser: argparse.ArgumentParser, params: type[Params]) -> None:
    """Give the parser one argument per parameter."""
    basic = parser.add_argument_group("parameters")
    advanced = parser.add_argument_group("advanced parameters")
    for info in params.describe():
        _add(parser if info.positional else advanced if info.advanced else basic, info)


def params_from(arguments: Mapping[str, Any], stage: str, params: type[Params]) -> Params:
    """Parameters of a stage from parsed arguments, over those of ``--config``.

    Raises
    ------
    ValueError
        For a missing or a wrong parameter, in words.
    InputError
        If the file of ``--config`` cannot be used.
    """
    known = list(params.describe())
    record = params_of_file(arguments["config"], stage, known) if arguments.get("config") else {}
    # a positional that is left out comes as None, or as [] when it takes several
    record |= {i.name: arguments[i.name] for i in known if arguments.get(i.name) not in (None, [])}
    missing = [
        i.name.upper() if i.positional else i.flag for i in known if i.required and i.name not in record
    ]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}")
    return params.from_record(record)


def params_of_file(file: Path, stage: str, known: list[ParamInfo]) -> dict[str, Any]:
    """Parameters of a stage from a file: TOML or the ``job.json`` of a job.

    In TOML they stand at the top or in a table with the stage's name; relative paths start at the file's
    folder.

    Raises
    ------
    InputError
        If the file is neither, or is about another stage.
    """
    if file.is_dir() or file.name == "job.json":
        job = read_job(file if file.is_dir() else file.parent)
        if job.stage != stage:
            raise InputError(f"{file} is of a {job.stage} job; {stage} needs the job.json of a {stage} job.")
        return job.params
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{file} does not exist. Give --config a TOML file or the job.json of a job."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no TOML file: {error}.") from None
    own = content.get(stage)
    table = own if isinstance(own, dict) else {k: v for k, v in content.items() if not isinstance(v, dict)}
    record = {name.replace("-", "_"): value for name, value in table.items()}
    for info in known:
        if info.kind is Path and record.get(info.name):
            value = record[info.name]
            record[info.name] = [file.parent / v for v in value] if info.many else file.parent / value
    return record


def _add(group: Any, info: ParamInfo) -> None:
    """Add one parameter; what is not given leaves no trace, so that ``--config`` shows through."""
    text = _help(info).replace("%", "%%")
    if info.kind is bool:
        group.add_argument(
            info.flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
        return
    more: dict[str, Any] = {"type": _typed(info), "help": text, "metavar": metavar(info)}
    if info.positional:
        group.add_argument(info.name, nargs="*" if info.many else "?", **more)
    else:
        group.add_argument(info.flag, nargs="+" if info.many else None, default=argparse.SUPPRESS, **more)


def _typed(info: ParamInfo) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = info.check(info.parse(text))
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value[0] if info.many else value

    return parse


def metavar(info: ParamInfo) -> str:
    """Name of a parameter's value in the help."""
    if info.path == "job":
        return f"{info.name.upper()}_JOB"
    if info.positional:
        return info.name.upper()
    if info.choices:
        return "|".join(info.choices)
    word = {"file": "FILE", "new file": "FILE", "folder": "FOLDER"}.get(info.path or "")
    word = word or {int: "N", float: "X", str: "TEXT"}.get(info.kind, info.name.upper())
    return f"{word}|auto" if info.auto else word


def _help(info: ParamInfo) -> str:
    facts = []
    if not info.required and info.default not in (None, (), ""):
        default = info.default
        if info.kind is bool:
            default = "on" if default else "off"
        facts.append(f"default {default}{f' {info.unit}' if info.unit and default != 'auto' else ''}")
    elif info.unit:
        facts.append(info.unit)
    if info.low is not None or info.high is not None:
        facts.append(info.allowed())
    if info.cryosparc:
        facts.append(f"CryoSPARC: {info.cryosparc}")
    return f"{info.meaning} ({'; '.join(facts)})" if facts else info.meaning
