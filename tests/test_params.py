from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from napari_flex3d.params import REQUIRED, AutoFloat, Params, param


@dataclass(frozen=True, kw_only=True)
class Example(Params):
    source: Path = param(REQUIRED, "Input.", positional=True, path="file")
    cells: int = param(20, "Cells.", low=2, high=80)
    rigidity: AutoFloat = param(2.0, "Strength.", low=0, high=1000)
    mask: Path | None = param(None, "Mask.", path="file")
    sign: Literal["auto", "bright", "dark"] = param("auto", "Sign.")
    files: tuple[Path, ...] = param((), "Files.")
    twin: bool = param(True, "Twin.")


def test_values_come_in_their_own_kind():
    example = Example(source="a.star", rigidity=3, files=["x", "y"])
    assert example.source == Path("a.star")
    assert isinstance(example.rigidity, float)
    assert example.files == (Path("x"), Path("y"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cells", 1, "cells = 1: must be 2 to 80"),
        ("cells", 2.5, "cells = 2.5"),
        ("cells", True, "cells = True"),
        ("rigidity", float("nan"), "rigidity = nan: must be 0 to 1000 or auto"),
        ("rigidity", "soft", "rigidity = soft"),
        ("sign", "black", "sign = black: must be auto or bright or dark"),
        ("twin", "no", "twin = no"),
    ],
)
def test_bad_values_are_refused_by_name(name, value, message):
    with pytest.raises(ValueError, match=message):
        Example(source="a", **{name: value})


def test_record_round_trip():
    example = Example(source="a", rigidity="auto", mask="m.mrc", files=("f",))
    assert Example.from_record(example.to_record()) == example
    with pytest.raises(ValueError, match="no parameter colour"):
        Example.from_record({"source": "a", "colour": 1})


def test_text_is_parsed_as_typed():
    info = {i.name: i for i in Example.describe()}
    assert info["rigidity"].parse("auto") == "auto"
    assert info["rigidity"].parse("1e-4") == 1e-4
    assert info["twin"].parse("false") is False
    with pytest.raises(ValueError, match='cells = "many"'):
        info["cells"].parse("many")
    assert info["source"].required
    assert not info["cells"].required
