"""Every warning about a training fires on a case made for it; `test_train.py` has the good training that has none."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_flex3d import stages
from napari_flex3d.fit import at_rest, begin, set_up
from napari_flex3d.fit.levels import level_at
from napari_flex3d.fit.monitors import HeldOut, Sums, diagnose, measured, motion_found
from napari_flex3d.io.mrc import read_map
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.model import load_model
from napari_flex3d.motions import in_image_units, train_mask
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams

PIXEL = 6.0
PLAIN = {"latent_dims": 1, "rigidity": 2.0}


@pytest.fixture(scope="module")
def mesh_job(tmp_path_factory):
    """Eighty noisy images of a hinge: too few for anything."""
    root = tmp_path_factory.mktemp("noisy")
    sample = write_sample(root / "sample", particles=80, box=32, pixel_size=PIXEL, snr=0.05, seed=1)
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=10), root / "mesh")
    return root / "mesh"


def warnings_of(mesh_job, out, **params):
    job = stages.train_model(TrainParams(mesh=mesh_job, **params), out)
    assert (out / "warnings.txt").read_text().splitlines() == job.warnings
    return "\n".join(job.warnings)


def test_latents_that_collapse_are_said(mesh_job, tmp_path):
    said = warnings_of(mesh_job, tmp_path / "train", **PLAIN, epochs=4, centering=1e6)
    assert "The latents collapsed to 0" in said
    assert "Use centering = auto (now 1e+06)" in said


def test_a_map_that_overshoots_raises_the_loss_of_held_out_particles(mesh_job, tmp_path):
    said = warnings_of(mesh_job, tmp_path / "train", **PLAIN, epochs=9, held_out=40.0, density_lr=8.0)
    assert "The loss of held-out particles rose by" in said
    assert "the map fits noise. Use more particles" in said


def test_a_motion_that_fits_noise_raises_the_loss_of_held_out_particles(mesh_job, tmp_path):
    """Latents that mean nothing, held, and no rigidity: what 48 images have in common with them is noise."""
    z = np.random.default_rng(0).normal(size=(80, 4))
    rows = [f"{i}," + ",".join(f"{v}" for v in row) for i, row in enumerate(z)]
    (tmp_path / "given.csv").write_text("\n".join(["particle,z1,z2,z3,z4", *rows]))
    params = {"initial_latents": tmp_path / "given.csv", "freeze_latents": True, "freeze_density": True}
    params |= {"latent_dims": 4, "rigidity": 0.0, "latent_noise": 0.0, "flow_lr": 1e-2, "flow_lr_final": 1e-2}
    said = warnings_of(mesh_job, tmp_path / "train", **params, epochs=6, extra_epochs=8, held_out=40.0)
    assert "after its best epoch: the motion fits noise. Raise rigidity (now 0) to 1" in said


def test_too_much_rigidity_is_named_where_no_motion_was_found(mesh_job, tmp_path):
    """A hinge that is held: the flexible and the rigid model fit alike."""
    said = warnings_of(mesh_job, tmp_path / "train", latent_dims=1, rigidity=1e5, epochs=4)
    assert "No motion was found" in said
    assert "rigidity = 100000 is too high: try 25000" in said


def test_latents_that_pile_up_at_the_border_are_said(mesh_job, tmp_path):
    """Given latents with outliers, held: what is shown is cut off at the border."""
    z = np.random.default_rng(0).standard_cauchy(80)
    (tmp_path / "given.csv").write_text("particle,z1\n" + "".join(f"{i},{v}\n" for i, v in enumerate(z)))
    params = {"epochs": 2, "initial_latents": tmp_path / "given.csv", "freeze_latents": True}
    said = warnings_of(mesh_job, tmp_path / "train", **PLAIN, **params)
    assert "of the latents pile up at the border" in said
    shown = load_model(tmp_path / "train").latents
    assert (np.abs(shown) > 1.45).mean() > 0.01


def test_cells_that_are_turned_inside_out_are_said(mesh_job):
    """A flow so large that the mesh folds."""
    particles = Particles.open(mesh_job.parent / "prep")
    density = read_map(mesh_job.parent / "prep" / "map_train.mrc")
    mask = train_mask(mesh_job, density)
    params = TrainParams(mesh=mesh_job, latent_dims=1, rigidity=2.0, flow_lr=1e-3, flow_lr_final=1e-4)
    setup = set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, 0.05, params)
    state = begin(setup, at_rest(setup, in_image_units(density, mask, particles)), 6, 64)
    state.latents = torch.randn(80, 1, generator=torch.Generator().manual_seed(0))
    level, sums = level_at(setup, state, 0), Sums()
    sums.add(torch.ones(3), 1, 1)
    assert measured(setup, state, level, sums, HeldOut())["inverted_cells"] == 0
    with torch.no_grad():
        state.average.weight.mul_(100)
    folded = measured(setup, state, level, sums, HeldOut())
    assert folded["inverted_cells"] > 0
    assert any("mesh cells are turned inside out" in s for s in diagnose([folded], params, PIXEL))


def test_what_chance_gives_is_what_fits_of_noise_give():
    """Latents fitted to noise by a linear model: the mean gain is that of the formula."""
    random = np.random.default_rng(0)
    count, pixels, dims = 4000, 50, 2
    jacobian = random.normal(size=(count, pixels, dims)) * random.uniform(0, 0.4, (count, 1, dims))
    noise = random.normal(size=(count, pixels, 1))
    precision = np.einsum("npk,npl->nkl", jacobian, jacobian) + np.eye(dims)
    latents = np.linalg.solve(precision, jacobian.transpose(0, 2, 1) @ noise)
    rigid, flexible = (0.5 * (x**2).sum((1, 2)) for x in (noise, noise - jacobian @ latents))
    held = HeldOut()
    arrays = (flexible, rigid, np.linalg.inv(precision), np.ones((count, dims)))
    held.add(*map(torch.from_numpy, arrays))
    found = held.measured()
    gain = found["rigid_loss_held_out"] - found["loss_held_out"]
    assert found["gain_by_chance"] > 0.5
    assert abs(gain - found["gain_by_chance"]) < 3 * found["gain_error"]
    assert not motion_found(found | {"displacement_rms": 5.0}, 1.0)


GOOD = {
    "epoch": 6.0,
    "loss_held_out": 96.0,
    "rigid_loss_held_out": 100.0,
    "gain_error": 0.5,
    "gain_by_chance": 0.4,
    "map_by_chance": 3.0,
    "displacement_rms": 5.0,
    "border_share": 0.005,
    "inverted_cells": 0.0,
}
PARAMS = SimpleNamespace(
    rigidity=2.0, centering="auto", epochs=6, extra_epochs=0, freeze_latents=False, density_lr=0.3
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"displacement_rms": 0.3}, "No motion was found"),
        ({"loss_held_out": 99.5}, "No motion was found"),
        ({"gain_error": 2.5}, "cannot be told from so few held-out particles"),
    ],
)
def test_a_motion_must_be_large_enough_and_more_than_chance(change, words):
    assert not diagnose([GOOD], PARAMS, 5.0)
    assert words in diagnose([GOOD | change], PARAMS, 5.0)[0]
    early = GOOD | change | {"epoch": 3.0}
    assert not diagnose([early], PARAMS, 5.0)  # it may still be found


def test_losses_of_coarse_epochs_are_not_compared():
    """The first third of the epochs sees fewer frequencies, and so has smaller losses."""
    coarse = [GOOD | {"epoch": e, "loss_held_out": 48.0} for e in (1.0, 2.0)]
    assert not diagnose([*coarse, GOOD], PARAMS, 5.0)
    later = [GOOD | {"epoch": e, "loss_held_out": v} for e, v in ((3.0, 94.0), (4.0, 96.0))]
    (said,) = diagnose([*coarse, *later], PARAMS, 5.0)
    assert "rose by 2.0 after its best epoch: the motion fits noise. Raise rigidity (now 2) to 8" in said


@pytest.mark.parametrize(("rise", "said"), [(3.9, 0), (4.1, 1)])
def test_what_the_consensus_map_knew_of_held_out_particles_is_no_alarm(rise, said):
    """Both losses rise by what the particles' own noise in the map was worth; the map is to blame for more only."""
    names = ("loss_held_out", "rigid_loss_held_out")
    history = [GOOD | {"epoch": 3.0}, GOOD | {name: GOOD[name] + rise for name in names}]
    found = diagnose(history, PARAMS, 5.0)
    assert len(found) == said
    assert all("the map fits noise" in words for words in found)


@pytest.mark.slow
def test_a_good_training_of_images_by_another_program_has_no_warnings(particle_sets, tmp_path):
    """GroEL by cryoJAX, with the defaults at a training box of 64."""
    folder, prep, mesh, train = (
        particle_sets / "groel",
        *(tmp_path / name for name in ("prep", "mesh", "train")),
    )
    files = {"map": folder / "map.mrc", "mask": folder / "mask.mrc"}
    stages.prepare(PrepParams(particles=folder / "particles.star", train_box=64, **files), prep)
    stages.build_mesh(MeshParams(prep=prep), mesh)
    assert warnings_of(mesh, train) == ""
