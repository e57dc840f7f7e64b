"""Training on a small made set: two domains about a hinge, box 32."""

import shutil
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from napari_flex3d import room, stages
from napari_flex3d.fit import at_rest, begin, set_up
from napari_flex3d.fit.levels import LARGEST_ERROR, level_at, noise_amplitude
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.motion import read_motion
from napari_flex3d.io.mrc import read_map
from napari_flex3d.io.star import read_star
from napari_flex3d.jobs import read_job
from napari_flex3d.latents import Scene
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.model import load_model
from napari_flex3d.motions import in_image_units, train_mask
from napari_flex3d.ops.fourier import cropped, radii
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.synthetic import displacement_error, share_within, write_sample
from napari_flex3d.train import TrainParams

BOX = 32


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hinge")
    return write_sample(folder / "sample", particles=400, box=BOX, pixel_size=6.0, snr=0.4, seed=1, extent=20)


@pytest.fixture(scope="module")
def mesh_job(sample):
    root = sample.particles.parents[1]
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=10), root / "mesh")
    return root / "mesh"


def params(mesh_job: Path, **changes) -> TrainParams:
    return TrainParams(mesh=mesh_job, **{"latent_dims": 1, "rigidity": 2.0, "epochs": 6, **changes})


@pytest.fixture(scope="module")
def trained(mesh_job):
    out = mesh_job.parent / "train"
    stages.train_model(params(mesh_job), out)
    return out


def test_the_hinge_is_found(sample, trained):
    model = load_model(trained)
    z, state = model.latents[:, 0], sample.state
    assert abs(spearmanr(z, state).statistic) > 0.95
    reference = sample.coordinates[sample.reference]
    moved = np.stack([model.move(reference, [z[state == s].mean()]) for s in range(len(sample.angles))])
    error, motion = displacement_error(moved, sample.coordinates, sample.moving)
    assert error < 0.25 * motion


def test_true_states_lie_within_two_standard_deviations(sample, trained):
    """The posterior of each latent is neither too sure nor too shy; 400 particles tell its share to 1 %."""
    model = load_model(trained)
    (share,) = share_within(model.latents, model.latent_sd, sample.state)
    assert 0.90 < share < 0.98


def test_deviations_allow_for_poses_that_are_wrong(tmp_path):
    """A hinge whose poses are off by 3 degrees and some Å: less is known of each latent, and its sd says so."""
    made = {"particles": 400, "box": BOX, "pixel_size": 6.0, "snr": 0.4, "seed": 1, "extent": 20}
    sample = write_sample(tmp_path / "sample", kind="wrong poses", **made)
    stages.prepare(
        PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), tmp_path / "prep"
    )
    stages.build_mesh(MeshParams(prep=tmp_path / "prep", cells=10), tmp_path / "mesh")
    stages.train_model(params(tmp_path / "mesh"), tmp_path / "train")
    model = load_model(tmp_path / "train")
    (share,) = share_within(model.latents, model.latent_sd, sample.state)
    assert 0.88 < share < 0.99


def test_held_out_particles_fit_better_with_the_motion(trained):
    last = load_model(trained).facts["history"][-1]
    assert last["loss_held_out"] < last["rigid_loss_held_out"] - 1


def test_a_good_training_has_no_warnings(trained):
    assert not read_job(trained).warnings
    assert read_job(trained).summary["motion_found"]
    assert (trained / "warnings.txt").read_text() == ""


def test_results_are_there(sample, trained):
    names = {p.name for p in trained.iterdir()}
    assert {
        "latents.csv",
        "latents.star",
        "latents.cs",
        "canonical.mrc",
        "motion.npz",
        "loss.png",
        "latents.png",
        "latest",
    } <= names
    motion, model = read_motion(trained), load_model(trained)
    np.testing.assert_array_equal(motion.cells, model.mesh.cells)
    np.testing.assert_allclose(motion.displacements[-1], model.displacements(model.latents[-1]), atol=1e-4)
    table = np.genfromtxt(trained / "latents.csv", delimiter=",", names=True)
    assert table.dtype.names == ("particle", "z1", "sd1", "held_out", "half")
    assert (table["particle"] == np.arange(400)).all()
    assert np.percentile(np.abs(table["z1"][table["held_out"] == 0]), 98) == pytest.approx(1.2, abs=0.02)
    with mrcfile.open(trained / "canonical.mrc") as ours, mrcfile.open(sample.map) as theirs:
        assert ours.voxel_size == theirs.voxel_size
        assert np.corrcoef(ours.data.ravel(), theirs.data.ravel())[0, 1] > 0.8


def test_latents_star_keeps_the_input(sample, trained):
    before, after = read_star(sample.particles), read_star(trained / "latents.star")
    assert after["optics"] == before["optics"]
    for label, values in before["particles"].items():
        assert after["particles"][label] == values
    assert set(after["particles"]) - set(before["particles"]) == {"flex3dLatent1", "flex3dLatentSd1"}


def test_a_broken_run_resumes_to_the_same_model(mesh_job, tmp_path):
    stages.train_model(params(mesh_job, epochs=3), tmp_path / "whole")
    run = stages.train(params(mesh_job, epochs=3), tmp_path / "broken")
    epochs = 0
    while epochs < 1:
        epochs += bool(next(run).metrics)
    for _ in range(7):  # some way into the second epoch
        next(run)
    run.close()
    assert read_job(tmp_path / "broken").state == "stopped"
    stages.train_model(params(mesh_job, epochs=3), tmp_path / "broken", resume=True)
    whole, resumed = load_model(tmp_path / "whole"), load_model(tmp_path / "broken")
    np.testing.assert_array_equal(resumed.canonical, whole.canonical)
    np.testing.assert_array_equal(resumed.standard, whole.standard)
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(resumed.generator.state_dict()[name], tensor)


def changed_copy(mesh_job, folder, change):
    """The same jobs with the training stack changed by ``change(images)``."""
    for name in ("sample", "prep", "mesh"):
        shutil.copytree(mesh_job.parent / name, folder / name)
    with mrcfile.mmap(folder / "prep" / "particles_train.mrcs", mode="r+", permissive=True) as stack:
        stack.data[:] = change(stack.data.astype(np.float32)).astype(np.float16)
    return folder / "mesh"


def test_held_out_particles_touch_neither_flow_nor_map(mesh_job, tmp_path):
    out = tmp_path / "first"
    stages.train_model(params(mesh_job, epochs=2), out)
    first = load_model(out)

    def disturb(images):
        images[first.held_out] = np.random.default_rng(5).normal(size=(first.held_out.sum(), BOX, BOX))
        return images

    stages.train_model(
        params(changed_copy(mesh_job, tmp_path / "copy", disturb), epochs=2), tmp_path / "second"
    )
    second = load_model(tmp_path / "second")
    np.testing.assert_array_equal(second.canonical, first.canonical)
    np.testing.assert_array_equal(second.standard[~first.held_out], first.standard[~first.held_out])
    assert not np.array_equal(second.standard[first.held_out], first.standard[first.held_out])


def test_nothing_beyond_the_training_limit_is_read(mesh_job, tmp_path, monkeypatch):
    """Other coefficients beyond 80 % of the Nyquist frequency give the same model bit for bit."""
    stages.train_model(params(mesh_job, epochs=2), tmp_path / "first")
    batch = Particles.batch

    def disturbed(self, rows, *args, **kwargs):
        images = batch(self, rows, *args, **kwargs)
        box = images.transform.shape[-2]
        beyond = radii(box) * box / BOX > 0.4
        random = torch.Generator().manual_seed(int(rows[0]))
        other = torch.randn(images.transform.shape, generator=random, dtype=torch.complex64) * BOX
        return replace(images, transform=torch.where(beyond, other, images.transform))

    monkeypatch.setattr(Particles, "batch", disturbed)
    stages.train_model(params(mesh_job, epochs=2), tmp_path / "second")
    first, second = load_model(tmp_path / "first"), load_model(tmp_path / "second")
    np.testing.assert_array_equal(second.standard, first.standard)
    np.testing.assert_array_equal(second.canonical, first.canonical)


@pytest.fixture(scope="module")
def started(mesh_job):
    """Setup and first state of a training."""
    particles = Particles.open(mesh_job.parent / "prep")
    density = read_map(mesh_job.parent / "prep" / "map_train.mrc")
    mask = train_mask(mesh_job, density)
    setup = set_up(
        particles,
        TetMesh.load(mesh_job / "mesh.npz"),
        mask,
        0.05,
        params(mesh_job, epochs=9, flow_lr=1e-3, flow_lr_final=1e-4),
    )
    return setup, begin(setup, at_rest(setup, in_image_units(density, mask, particles)), 6, 64)


def test_early_epochs_see_the_same_images_with_fewer_voxels(started):
    """The map on a smaller grid, without its empty voxels, gives the frequencies of the whole map's images."""
    setup, state = started
    early, late = level_at(setup, state, 0), level_at(setup, state, 3)
    assert early.box_size < late.box_size < BOX
    assert len(early.body.order) < len(setup.body.order) / 2
    assert 0 < early.error <= LARGEST_ERROR
    assert late.values is None
    rows = np.arange(20)
    small = setup.particles.batch(rows, box=early.box_size).times(early.amplitude)
    whole = setup.particles.batch(rows).times(noise_amplitude(setup, early.limit))
    inside = cropped(whole.transform, early.box_size)
    torch.testing.assert_close(small.transform, inside, rtol=1e-4, atol=1e-4)
    scene = Scene(early.values, early.body, early.box_size, early.pixel_size, oversampling=early.oversampling)
    full = Scene(state.values, setup.body, BOX, setup.particles.pixel_size)
    found, exact = scene.images(small, None), cropped(full.images(whole, None), early.box_size)
    error = (found - exact).abs().square().sum((-2, -1)) / exact.abs().square().sum((-2, -1))
    assert float(error.max().sqrt()) < early.error + 0.02


def test_a_training_that_does_not_fit_is_refused_before_it_starts(mesh_job, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda: 100_000_000)
    with pytest.raises(InputError, match=r"train needs about .* of memory, 0.1 GB are free"):
        stages.train_model(params(mesh_job), tmp_path / "train")


def test_batches_are_read_ahead_in_order(started):
    particles = started[0].particles
    parts = [np.array([5, 2, 390]), np.array([7]), np.array([1, 0])]
    for (rows, batch), expected in zip(particles.batches(parts, box=20), parts, strict=True):
        assert rows is expected
        alone = particles.batch(rows, box=20)
        assert torch.equal(batch.transform, alone.transform)
        assert torch.equal(batch.transfer, alone.transfer)


def test_too_few_particles_are_refused(sample, tmp_path):
    prep = PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask, max_particles=15)
    stages.prepare(prep, tmp_path / "prep")
    stages.build_mesh(MeshParams(prep=tmp_path / "prep", cells=6), tmp_path / "mesh")
    with pytest.raises(InputError, match="has 15 particles; training needs at least 20"):
        stages.train_model(params(tmp_path / "mesh"), tmp_path / "train")


def test_the_rigid_control_has_no_motion(tmp_path):
    sample = write_sample(
        tmp_path / "sample", particles=400, box=BOX, pixel_size=6.0, snr=0.4, seed=3, kind="rigid"
    )
    stages.prepare(
        PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), tmp_path / "prep"
    )
    stages.build_mesh(MeshParams(prep=tmp_path / "prep", cells=10), tmp_path / "mesh")
    out = tmp_path / "train"
    stages.train_model(params(tmp_path / "mesh"), out)
    assert any("No motion was found" in sentence for sentence in read_job(out).record["warnings"])
    last = load_model(out).facts["history"][-1]
    assert last["displacement_rms"] < 0.2 * 6.0
    gain = last["rigid_loss_held_out"] - last["loss_held_out"]
    assert abs(gain - last["gain_by_chance"]) < 3 * last["gain_error"]
