import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_flex3d import stages
from napari_flex3d.io.errors import InputError
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.progress import Progress
from napari_flex3d.stages import STAGES, Stage, run, run_to_end, stage_named


@dataclass(frozen=True, kw_only=True)
class FirstParams(Params):
    number: int = param(1, "A number.")


@dataclass(frozen=True, kw_only=True)
class SecondParams(Params):
    first: Path = param(REQUIRED, "The first job.", positional=True, path="job")


def first(params, out):
    (out / "number.txt").write_text(str(params.number))
    yield Progress(1, 1, "Written")
    return {"number": params.number}


def second(params, out):
    yield Progress(1, 1)
    return {"doubled": 2 * int((params.first / "number.txt").read_text())}


@dataclass(frozen=True)
class Toy(Stage):
    params: type[Params] = FirstParams
    function: object = first


FIRST = Toy("first", "Toy.")
SECOND = Toy("second", "Toy.", params=SecondParams, function=second)


def test_a_stage_runs_in_a_job_and_the_next_one_reads_it(tmp_path):
    one = run_to_end(FIRST, FirstParams(number=21), tmp_path / "one")
    two = run_to_end(SECOND, SecondParams(first=one.folder), tmp_path / "two")
    assert two.summary == {"doubled": 42}
    assert two.state == "done"


def test_step_by_step_gives_the_reports_and_the_summary(tmp_path):
    steps = run(FIRST, FirstParams(), tmp_path / "one")
    assert next(steps).message == "Written"
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == {"number": 1}


def test_a_stage_refuses_the_wrong_job_before_it_makes_its_folder(tmp_path):
    run_to_end(FIRST, FirstParams(), tmp_path / "one")
    run_to_end(SECOND, SecondParams(first=tmp_path / "one"), tmp_path / "two")
    with pytest.raises(
        InputError, match=r"two is a second job; second needs a first job\. Run flex3d first first"
    ):
        run_to_end(SECOND, SecondParams(first=tmp_path / "two"), tmp_path / "three")
    assert not (tmp_path / "three").exists()


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_stage_has_params_that_round_trip_and_a_call_of_its_name(stage):
    described = list(stage.params.describe())
    given = {info.name: info.name for info in described if info.required}
    params = stage.params(**given)
    assert stage.params.from_record(params.to_record()) == params
    assert all(info.meaning.endswith(".") for info in described)
    assert all(info.name in {s.name for s in STAGES} for info in described if info.path == "job")
    assert callable(stage.function)
    assert callable(getattr(stages, stage.name))


def test_listing_the_stages_imports_none_of_them():
    code = (
        "import sys, napari_flex3d.stages; print([m for m in sys.modules if m in ('torch', 'numpy', 'qtpy')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_names():
    assert [stage.name for stage in STAGES] == ["prep", "mesh", "motions", "train", "generate", "reconstruct"]
    assert stage_named("train").resumable
