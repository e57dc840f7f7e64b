"""One declaration per parameter: default, meaning, unit and range, read by command line, form, docs and job record."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, Self, Union, dataclass_transform, get_args, get_origin

REQUIRED: Any = MISSING
"""Default of a parameter that must be given."""

AutoInt = int | Literal["auto"]
AutoFloat = float | Literal["auto"]


@dataclass(frozen=True)
class ParamInfo:
    """What a parameter means and which values it takes; ``kind`` is its annotation without None and "auto"."""

    name: str
    kind: type
    default: Any
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    auto: bool = False
    many: bool = False
    positional: bool = False
    advanced: bool = False
    path: Literal["file", "new file", "folder", "job"] | None = None
    suffixes: tuple[str, ...] = ()
    cryosparc: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is MISSING

    @property
    def flag(self) -> str:
        """Its flag on the command line: ``latent_dims`` becomes ``--latent-dims``."""
        return "--" + self.name.replace("_", "-")

    def allowed(self) -> str:
        """The allowed values in words, for messages and help."""
        words = [" or ".join(self.choices)] if self.choices else []
        if self.low is not None and self.high is not None:
            words.append(f"{_number(self.low)} to {_number(self.high)} {self.unit}".strip())
        elif self.low is not None:
            words.append(f"at least {_number(self.low)} {self.unit}".strip())
        elif self.high is not None:
            words.append(f"at most {_number(self.high)} {self.unit}".strip())
        elif self.kind in (int, float) and not self.choices:
            words.append({int: "a whole number", float: "a number"}[self.kind])
        if self.auto:
            words.append("auto")
        return " or ".join(words)

    def parse(self, text: str) -> Any:
        """Value of this parameter from text, as a person types it.

        Raises
        ------
        ValueError
            If the text is no such value; the message names the parameter and what is allowed.
        """
        if self.auto and text == "auto":
            return "auto"
        if self.optional and text in ("", "none"):
            return None
        try:
            if self.kind is bool:
                return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                    text.lower()
                ]
            return self.kind(text)
        except (ValueError, KeyError):
            raise ValueError(
                f'{self.name} = "{text}": must be {self.allowed() or self.kind.__name__}'
            ) from None

    def check(self, value: Any) -> Any:
        """The value in its own kind, or a `ValueError` that names the parameter, the value and what is allowed."""
        if self.many:
            values = (value,) if isinstance(value, str | Path) else value
            return tuple(dataclasses.replace(self, many=False).check(v) for v in values)
        if value is None and self.optional:
            return None
        if self.auto and value == "auto":
            return value
        wrong = ValueError(f"{self.name} = {value}: must be {self.allowed() or self.kind.__name__}")
        if self.kind is Path:
            if not isinstance(value, str | Path) or not str(value):
                raise wrong
            return Path(value)
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if self.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, self.kind) or (self.kind is not bool and isinstance(value, bool)):
            raise wrong
        if self.choices and value not in self.choices:
            raise wrong
        if (
            isinstance(value, int | float)
            and self.kind is not bool
            and not ((self.low is None or value >= self.low) and (self.high is None or value <= self.high))
        ):
            raise wrong  # NaN fails every comparison and ends here too when there is a range
        return value


def param(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    positional: bool = False,
    advanced: bool = False,
    path: Literal["file", "new file", "folder", "job"] | None = None,
    suffixes: tuple[str, ...] = (),
    cryosparc: str = "",
) -> Any:
    """Declare one parameter of a stage.

    Parameters
    ----------
    default
        Its value when nothing is said; `REQUIRED` when it must be given.
    meaning
        One sentence in the field's words; help text, tooltip and documentation.
    unit
        Its unit as people write it, such as "Å" or "px".
    low, high
        The smallest and the largest allowed value.
    step
        Step of the form's number box; it also sets how many decimals the box keeps.
    positional
        Whether the command line takes it without a flag.
    advanced
        Whether the form folds it away.
    path
        What a path must name.
    suffixes
        File name endings that the form's file dialog offers.
    cryosparc
        The name of the same parameter in CryoSPARC.
    """
    meta = {k: v for k, v in locals().items() if k != "default"}
    return dataclasses.field(default=default, metadata=meta)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(param,))
@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of one stage: a frozen dataclass that refuses bad values when it is made."""

    def __post_init__(self) -> None:
        for info in self.describe():
            object.__setattr__(self, info.name, info.check(getattr(self, info.name)))

    @classmethod
    def describe(cls) -> Iterator[ParamInfo]:
        """All parameters in order."""
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            yield _describe(field, hints[field.name])

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Parameters from plain data, as found in ``job.json`` or a TOML file.

        Raises
        ------
        ValueError
            For a name that this stage does not know, or a value that it refuses.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(record) - known)
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        return cls(**record)

    def completed(self) -> Self:
        """The same with what belongs to the inputs and was not named, so that a job records all that it reads."""
        return self

    def to_record(self) -> dict[str, Any]:
        """Plain data that JSON can hold; `from_record` gives the same parameters back."""
        return {info.name: _plain(getattr(self, info.name)) for info in self.describe()}


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _describe(field: "dataclasses.Field[Any]", hint: Any) -> ParamInfo:
    meta = dict(field.metadata)
    choices: tuple[str, ...] = ()
    optional = auto = many = False
    if get_origin(hint) is tuple:
        many, hint = True, get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        parts = [p for p in get_args(hint) if p is not type(None)]
        optional = len(parts) < len(get_args(hint))
        auto = any(get_origin(p) is Literal for p in parts) and len(parts) > 1
        hint = next(p for p in parts if not (auto and get_origin(p) is Literal))
    if get_origin(hint) is Literal:
        choices, hint = get_args(hint), str
    return ParamInfo(
        name=field.name,
        kind=hint,
        default=field.default,
        choices=choices,
        optional=optional,
        auto=auto,
        many=many,
        **meta,
    )
