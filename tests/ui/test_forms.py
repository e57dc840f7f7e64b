import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from qtpy.QtWidgets import QLabel
from superqt import QCollapsible

from napari_flex3d.params import REQUIRED, AutoFloat, AutoInt, Params, param
from napari_flex3d.stages import STAGES
from napari_flex3d.ui.forms import ParamsForm, label_of, tooltip_of


@dataclass(frozen=True, kw_only=True)
class Every(Params):
    """One parameter of every kind."""

    source: Path = param(REQUIRED, "Input.", positional=True, path="file", suffixes=(".star",))
    job: Path | None = param(None, "A job.", path="job")
    rate: float = param(1e-4, "Tiny.", low=0, high=1, unit="1/step", cryosparc="Learning rate")
    many: int = param(100_000, "Large.", low=1)
    limit: float | None = param(None, "Where to end.", unit="Å", low=2.0, high=100.0)
    dims: AutoInt = param("auto", "Dims.", low=1, high=16)
    rigidity: AutoFloat = param(2.0, "Strength.", low=0, high=1000, step=0.01)
    sign: Literal["auto", "bright"] = param("auto", "Sign.")
    kind: Literal["a", "b"] | None = param(None, "Kind.")
    twin: bool = param(True, "Twin.")
    text: str | None = param(None, "Text.")
    axis: tuple[int, ...] = param((), "Axes.", low=1)
    files: tuple[Path, ...] = param((), "Files.", path="file")
    seed: int = param(0, "Seed.", low=0, high=2**31 - 1, advanced=True)


def given(params: type[Params]) -> dict[str, Any]:
    """Values for the parameters that have no default."""
    return {info.name: Path(f"/some/{info.name}") for info in params.describe() if info.required}


def untouched(qtbot, params: type[Params]) -> None:
    form = ParamsForm(params)
    qtbot.addWidget(form)
    form.fill(given(params))
    assert form.params() == params(**given(params))


def test_an_untouched_form_returns_the_defaults_of_every_kind(qtbot):
    untouched(qtbot, Every)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_an_untouched_form_returns_the_defaults_of_every_stage(qtbot, stage):
    if importlib.util.find_spec(f"napari_flex3d.{stage.name}") is None:
        pytest.skip(f"stage {stage.name} is not written yet")
    untouched(qtbot, stage.params)


@pytest.mark.parametrize(
    "values",
    [
        {"limit": 7.5, "dims": 3, "rigidity": "auto", "sign": "bright", "kind": "b", "twin": False},
        {"text": "0>1, 0>2", "axis": (1, 3), "files": (Path("/a"), Path("/b")), "seed": 2**31 - 1},
        {"rate": 3e-4, "many": 5_000_000, "job": Path("/project/J1")},
    ],
)
def test_values_that_are_filled_in_come_out_again(qtbot, values):
    form = ParamsForm(Every)
    qtbot.addWidget(form)
    form.fill({"source": Path("/p.star"), **values})
    assert form.params() == Every(source="/p.star", **values)
    form.fill({info.name: info.default for info in Every.describe() if not info.required})
    assert form.params() == Every(source="/p.star")


def test_what_is_missing_or_wrong_is_said_in_words(qtbot):
    form = ParamsForm(Every)
    qtbot.addWidget(form)
    assert form.problem() == "Source: choose a file (.star)."
    form.fill({"source": Path("/p.star")})
    assert form.problem() == ""
    assert form.absent() == "Source: /p.star is not there."
    form.rows["axis"]._editor.value = "1, nothing"
    assert 'axis = "nothing"' in form.problem()
    assert "color" in next(w for w in form.findChildren(QLabel) if w.text() == "Axis").styleSheet()


def test_rows_say_unit_meaning_range_and_name_in_cryosparc():
    info = {i.name: i for i in Every.describe()}
    assert label_of(info["limit"]) == "Limit (Å)"
    text = tooltip_of(info["rate"])
    for part in ("Tiny.", "0 to 1", "In CryoSPARC: Learning rate", "--rate"):
        assert part in text


def test_advanced_rows_are_folded_away(qtbot):
    form = ParamsForm(Every)
    qtbot.addWidget(form)
    form.show()
    fold = form.findChild(QCollapsible)
    assert fold.isAncestorOf(form.rows["seed"])
    assert not fold.isAncestorOf(form.rows["rate"])
    assert not fold.isExpanded()


def test_jobs_are_offered_and_a_new_one_does_not_change_the_choice(qtbot):
    jobs = [Path("/p/J1-prep")]
    form = ParamsForm(Every, lambda name: jobs if name == "job" else ())
    qtbot.addWidget(form)
    row = form.rows["job"]
    form.fill({"job": jobs[0]})
    jobs.insert(0, Path("/p/J2-prep"))
    form.refresh()
    assert row.value == Path("/p/J1-prep")
    box = row._editor._box
    assert {box.itemData(i) for i in range(box.count())} == {None, *jobs}  # there may be none
