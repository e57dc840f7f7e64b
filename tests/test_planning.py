"""What the next stages will need, measured on their own particles. How well it holds is for `benchmarks/plan.py`."""

import json
import math

import pytest

import napari_flex3d
from napari_flex3d import planning, stages
from napari_flex3d.cli import main
from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh import MeshParams
from napari_flex3d.prep import PrepParams
from napari_flex3d.synthetic import write_sample


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    made = write_sample(folder / "sample", particles=60, box=32, pixel_size=6.0, snr=0.4, seed=1, extent=20)
    prep = PrepParams(particles=made.particles, map=made.map, mask=made.mask)
    stages.prepare(prep, folder / "prep")
    stages.build_mesh(MeshParams(prep=folder / "prep", cells=8), folder / "mesh")
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(planning.pace, "SECONDS", 0.01)


def test_every_next_stage_is_planned(jobs):
    from_mesh = napari_flex3d.plan(jobs / "mesh", latent_dims=1, epochs=3)
    assert [s.stage for s in from_mesh.stages] == ["train", "generate", "reconstruct"]
    from_prep = napari_flex3d.plan(jobs / "prep", latent_dims=1, epochs=3)
    assert [s.stage for s in from_prep.stages] == ["mesh", "train", "generate", "reconstruct"]
    for stage in (*from_mesh.stages, *from_prep.stages):
        assert 0 < stage.seconds < math.inf
        assert stage.memory > 0
        assert not stage.refusal


def test_more_epochs_take_longer(jobs):
    short, long = (napari_flex3d.plan(jobs / "mesh", latent_dims=1, epochs=n).stages[0] for n in (3, 600))
    assert long.seconds > short.seconds
    assert long.disk > 100 * short.disk


def test_what_does_not_fit_is_not_even_measured(jobs, monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda: 1_000_000)
    train = napari_flex3d.plan(jobs / "mesh").stages[0]
    assert math.isnan(train.seconds)
    assert train.refusal.startswith("needs 0.7 GB of memory, 1 MB are free. Lower train_box of prep (now 32)")


def test_the_command_prints_a_table_or_json(jobs, capsys):
    assert main(["plan", str(jobs / "mesh"), "--latent-dims", "1", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [s["stage"] for s in record["stages"]] == ["train", "generate", "reconstruct"]
    assert record["stages"][0]["disk"] > 0


def test_a_job_with_nothing_after_it_is_refused(jobs):
    with pytest.raises(InputError, match="has no job"):
        napari_flex3d.plan(jobs)
