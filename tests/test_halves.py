"""Two motions, each from one half-set alone; and trainings that go on from others."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from napari_flex3d import stages
from napari_flex3d.fit.density import in_halves
from napari_flex3d.fit.halves import half_of
from napari_flex3d.fit.state import set_up
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import read_job, read_metrics
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.model import load_model
from napari_flex3d.motions import train_mask
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import _flow_of
from napari_flex3d.report import report
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams

pytestmark = pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")


@pytest.fixture(scope="module")
def mesh_job(tmp_path_factory):
    root = tmp_path_factory.mktemp("halves")
    sample = write_sample(root / "sample", particles=240, box=32, pixel_size=6.0, snr=0.5, seed=1, extent=20)
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=8), root / "mesh")
    return root / "mesh"


def params(mesh_job, **changes):
    return TrainParams(mesh=mesh_job, **{"latent_dims": 1, "rigidity": 2.0, "epochs": 4} | changes)


@pytest.fixture(scope="module")
def trained(mesh_job):
    """With halves, stopped within the second half and resumed."""
    out = mesh_job.parent / "train"
    run = stages.train(params(mesh_job, independent_halves=True), out)
    while not (out / "half2" / "latest").is_file():
        next(run)
    run.close()
    stages.train_model(params(mesh_job, independent_halves=True), out, resume=True)
    return out


def test_halves_of_a_real_motion_agree(trained):
    facts = read_job(trained).summary["halves"]
    assert facts["compared"] == 240
    assert facts["motion_rms_A"] > 2
    assert facts["difference_rms_A"] < 0.5 * facts["motion_rms_A"]
    assert "The motion is the same in both halves" in (trained / "agreement.txt").read_text()
    with (trained / "agreement.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    mask = read_map(trained / "motion.mrc").data > 0
    assert sum(row["count"] for row in rows) == pytest.approx(240 * mask.sum(), rel=0.01)
    squares = np.average(
        [row["difference_rms_A"] ** 2 for row in rows], weights=[row["count"] for row in rows]
    )
    difference = read_map(trained / "agreement.mrc").data
    assert_allclose((difference[mask] ** 2).mean(), squares, rtol=0.02)


def test_the_motion_map_is_where_the_motion_is(trained, mesh_job):
    """The map of motion is the rms of what the model of all particles does."""
    model = load_model(trained)
    ours = read_map(trained / "motion.mrc").data[model.mask]
    index = np.argwhere(model.mask)[:, ::-1]
    points = (index - 16) * model.pixel_size
    some = np.linspace(0, 239, 40).astype(int)
    moved = np.stack([model.move(points, model.latents[i]) - points for i in some])
    theirs = np.sqrt((moved**2).sum(-1).mean(0))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9


def test_a_half_never_sees_the_other(mesh_job):
    """Rows, images and held-out particles are its own."""
    particles = Particles.open(mesh_job.parent / "prep")
    mask = train_mask(mesh_job, read_map(mesh_job.parent / "prep" / "map_train.mrc"))
    setup = set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, 0.1, params(mesh_job))
    for half in (0, 1):
        own = half_of(setup, half)
        rows = np.flatnonzero(particles.half == half)
        assert len(own.particles) == len(rows)
        assert torch.equal(own.particles.read(np.arange(len(rows))), particles.read(rows))
        assert_array_equal(own.held_out, setup.held_out[rows])
        assert own.params.seed != setup.params.seed


def test_half_maps_are_made_with_the_motion_of_their_own_half(trained):
    model = load_model(trained)
    for half in (0, 1):
        own, flow = load_model(trained / f"half{half + 1}"), _flow_of(trained, model, half)
        assert_array_equal(flow.standard[model.half == half], own.standard)
        z = np.array([[0.7]], dtype=np.float32)
        assert_array_equal(flow.displacements(z), own.displacements(z))
    assert not np.allclose(flow.displacements(z), model.displacements(z), atol=0.01)
    assert _flow_of(trained / "half1", model, 0) is model  # no halves there


def test_the_report_says_how_well_halves_agree(trained, tmp_path):
    report(trained, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "Two motions, each learned from one half of the particles, differ by" in text


def test_a_finished_training_goes_on_with_other_parameters(trained, mesh_job, tmp_path):
    """Flow, map and latents are those of the first; epochs count on; the rigidity is the new one."""
    first, out = load_model(trained), tmp_path / "more"
    changed = {"rigidity": 1e6, "flow_lr_final": 1.5e-3, "freeze_latents": True}
    stages.train_model(params(mesh_job, continue_from=trained, extra_epochs=2, **changed), out)
    second = load_model(out)
    assert read_metrics(out)["epoch"] == [5, 6]
    assert [row["epoch"] for row in second.facts["history"]] == [1, 2, 3, 4, 5, 6]
    assert_array_equal(first.standard, second.standard)
    assert_array_equal(second.held_out, first.held_out)
    energy = [row["rigidity_energy"] for row in second.facts["history"]]
    assert energy[5] < energy[3]
    assert load_model(trained).facts["epoch"] == 4


def test_extra_epochs_are_at_the_final_rate(mesh_job, tmp_path):
    """Nothing changes before them: a run with extra epochs passes through the state of one without."""
    stages.train_model(params(mesh_job, epochs=3, extra_epochs=1), tmp_path / "more")
    folder = tmp_path / "more"
    assert (folder / "latest").read_text().strip() == "checkpoint-004"
    stages.train_model(params(mesh_job, epochs=3), tmp_path / "plain")
    one, other = (
        load_model(folder / "checkpoint-001"),
        load_model(tmp_path / "plain" / "checkpoint-001"),
    )
    assert_array_equal(one.standard, other.standard)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "has done 4 epochs, all that are asked for: give --extra-epochs"),
        ({"latent_dims": 2, "extra_epochs": 1}, "has latent_dims = 1, not 2: give --latent-dims 1"),
        ({"hidden_units": 8, "extra_epochs": 1}, "has hidden_units = 64, not 8: give --hidden-units 64"),
    ],
)
def test_trainings_that_cannot_go_on_are_refused(trained, mesh_job, tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        stages.train_model(params(mesh_job, continue_from=trained, **changes), tmp_path / "train")


def test_a_training_of_another_mesh_cannot_go_on(trained, mesh_job, tmp_path):
    stages.build_mesh(MeshParams(prep=mesh_job.parent / "prep", cells=6), tmp_path / "mesh")
    other = replace(params(tmp_path / "mesh"), continue_from=trained, extra_epochs=1)
    with pytest.raises(InputError, match="trained on other particles or another mesh"):
        stages.train_model(other, tmp_path / "train")


def test_halves_for_the_prior_are_as_large_whatever_rows_are_taken():
    """Every second particle of a large set has even numbers only; copies of a particle stay together."""
    assert np.bincount(in_halves(np.arange(0, 400, 2))).tolist() == [100, 100]
    assert in_halves(np.array([4, 4, 8, 8, 6])).tolist() == [0, 0, 0, 0, 1]
