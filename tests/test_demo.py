import json
from dataclasses import dataclass, field

import pytest

from napari_flex3d import demo as demo_module
from napari_flex3d.demo import PARAMS, SAMPLE, _stage
from napari_flex3d.jobs import read_job
from napari_flex3d.params import Params, param
from napari_flex3d.progress import Progress
from napari_flex3d.stages import Stage, stage_named


@dataclass(frozen=True, kw_only=True)
class ToyParams(Params):
    epochs: int = param(2, "Epochs.")


@dataclass(frozen=True)
class Toy(Stage):
    """Counts from where an earlier run left off, as a training does."""

    params: type[Params] = ToyParams
    resumable: bool = True
    ran: list[int] = field(default_factory=list)

    def function(self, params, out):
        start = int((out / "latest").read_text()) if (out / "latest").exists() else 0
        for epoch in range(start, params.epochs):
            self.ran.append(epoch)
            (out / "latest").write_text(str(epoch + 1))
            yield Progress(epoch + 1, params.epochs)
        return {}


@pytest.fixture
def toy():
    return Toy("train", "Toy.")


def go(toy, folder, **params):
    return [event.message for event in _stage(toy, ToyParams(**params), folder, "3 of 5, train")]


def test_a_finished_stage_is_used_again_and_the_person_is_told(toy, tmp_path):
    go(toy, tmp_path / "train")
    assert "used again" in go(toy, tmp_path / "train")[0]
    assert toy.ran == [0, 1]


def test_other_parameters_start_it_over(toy, tmp_path):
    go(toy, tmp_path / "train")
    go(toy, tmp_path / "train", epochs=3)
    assert toy.ran == [0, 1, 0, 1, 2]


def test_a_stopped_training_goes_on(toy, tmp_path):
    steps = _stage(toy, ToyParams(), tmp_path / "train", "3 of 5, train")
    next(steps)
    next(steps)
    steps.close()
    assert read_job(tmp_path / "train").state == "stopped"
    assert go(toy, tmp_path / "train")[0] == "3 of 5, train: going on"
    assert toy.ran == [0, 1]


def test_the_sample_is_made_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("napari_flex3d.synthetic.write_sample", lambda folder, **params: made.append(params))
    list(demo_module._sample(tmp_path / "sample"))
    list(demo_module._sample(tmp_path / "sample"))
    assert made == [SAMPLE]
    assert json.loads((tmp_path / "sample" / "sample.json").read_text()) == SAMPLE


def test_the_parameters_of_the_demo_are_known_to_the_stages():
    for name, params in PARAMS.items():
        known = {info.name: info for info in stage_named(name).params.describe()}
        for key, value in params.items():
            assert known[key].check(value) == value
