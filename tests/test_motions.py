"""Motions before any training: the numbers behind them, and what is found in small made sets."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, spearmanr

from napari_flex3d import stages
from napari_flex3d.fit import at_rest, begin, set_up
from napari_flex3d.fit.covariance import expectation_maximisation, log_likelihood
from napari_flex3d.fit.levels import FIRST_LIMIT, held_level
from napari_flex3d.fit.motions import _gains, _normal_equations, coefficient_basis, find_motions, follow
from napari_flex3d.fit.rigidity import STRENGTHS
from napari_flex3d.fit.start import start
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.model import load_model
from napari_flex3d.motions import MotionsParams, in_image_units, open_particles
from napari_flex3d.ops.surfaces import interpolate
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams


def linear_problem(covariance, count=2000, rows=12):
    """Observations y = J c + noise with coefficients of a known covariance, and their normal equations."""
    random = np.random.default_rng(0)
    r = len(covariance)
    jacobian = random.normal(size=(count, rows, r))
    c = random.multivariate_normal(np.zeros(r), covariance, size=count)
    seen = np.einsum("nij,nj->ni", jacobian, c) + random.normal(size=(count, rows))
    precision, pull = np.einsum("nki,nkj->nij", jacobian, jacobian), np.einsum("nki,nk->ni", jacobian, seen)
    return jacobian, seen, torch.from_numpy(precision), torch.from_numpy(pull)


def test_the_covariance_of_the_coefficients_is_found():
    covariance = np.diag([0.0, 0.0, 0.0, 0.0])
    covariance[1:3, 1:3] = [[0.8, 0.5], [0.5, 0.6]]
    *_, precision, pull = linear_problem(covariance)
    mean, found, posterior = expectation_maximisation(precision, pull, 0.01, 100)
    assert mean.abs().max() < 0.05
    np.testing.assert_allclose(found, covariance, atol=0.05)
    assert posterior[:, 0].std() < 0.1 < posterior[:, 1].std()


def test_log_likelihood_is_that_of_the_normal_distribution():
    covariance = np.diag([0.5, 0.0, 0.2])
    jacobian, seen, precision, pull = linear_problem(covariance, count=5)
    found = log_likelihood(precision, pull, torch.from_numpy(covariance))
    eye = np.eye(seen.shape[1])
    expected = [
        multivariate_normal(cov=eye + j @ covariance @ j.T).logpdf(y) - multivariate_normal(cov=eye).logpdf(y)
        for j, y in zip(jacobian, seen, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Mesh job and sample of a kind of made set."""
    made = {}

    def of(kind):
        if kind not in made:
            root = tmp_path_factory.mktemp(kind.replace(" ", "_"))
            sample = write_sample(
                root / "sample", kind=kind, particles=400, box=32, pixel_size=6.0, snr=0.4, seed=1
            )
            prep = PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask)
            stages.prepare(prep, root / "prep")
            stages.build_mesh(MeshParams(prep=root / "prep", cells=10), root / "mesh")
            made[kind] = root / "mesh", sample
        return made[kind]

    return of


def opened(mesh_job, **changes):
    params = TrainParams(mesh=mesh_job, **changes)
    particles, density, mask = open_particles(mesh_job)
    setup = set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, params.held_out / 100, params)
    return setup, in_image_units(density, mask, particles)


def found_in(mesh_job):
    setup, density = opened(mesh_job)
    return last(find_motions(setup, at_rest(setup, density)))


def last(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_coefficients_are_perpendicular_by_density_and_begin_with_the_rigid_motions(job):
    setup, density = opened(job("hinge")[0])
    rest = at_rest(setup, density)
    vertices = setup.body.vertices
    basis = coefficient_basis(rest, vertices, 20)
    assert len(basis) == 6 + 20
    gram = torch.einsum("apc,bpc,p->ab", basis, basis, rest.mass / rest.mass.sum())
    torch.testing.assert_close(gram, torch.eye(len(basis)), atol=1e-4, rtol=0)
    turn = torch.linalg.cross(torch.tensor([0.3, -0.2, 0.5]).expand_as(vertices), vertices) + 1.0
    kept = torch.einsum("apc,pc,p->a", basis[:6], turn, rest.mass / rest.mass.sum())
    torch.testing.assert_close(torch.einsum("a,apc->pc", kept, basis[:6]), turn, atol=1e-2, rtol=1e-4)


def test_copies_of_a_particle_have_its_signs_in_the_null(job):
    """Their noise is the same, so that what it adds up to is, too; other particles have signs of their own."""
    setup, density = opened(job("hinge")[0])
    rest = at_rest(setup, density)
    level = held_level(setup, rest.values, FIRST_LIMIT)
    basis = coefficient_basis(rest, level.body.vertices, 4)
    twice = np.repeat(np.arange(20), 2)
    table = setup.particles.table.take(twice)
    nulls = []
    for copies in (twice, np.arange(40)):
        given = setup.particles
        particles = Particles(
            given.images,
            replace(table, source_particle=copies),
            given.pixel_size,
            given.noise,
            given.map_scale,
        )
        one = replace(setup, particles=particles)
        steps = _normal_equations(one, level, basis, torch.arange(40), torch.Generator().manual_seed(0))
        nulls.append(last(steps)[2])
    torch.testing.assert_close(nulls[0][:, ::2], nulls[0][:, 1::2])
    assert not torch.isclose(nulls[0][:, :-2:2], nulls[0][:, 2::2]).any()
    assert not torch.isclose(nulls[1][:, ::2], nulls[1][:, 1::2]).any()


def test_copies_gain_nothing_from_each_other():
    """A set in which each particle occurs twice says as much as one in which it occurs once."""
    *_, precision, pull = linear_problem(np.diag([0.0] * 6 + [0.8, 0.3]), count=300)
    number = np.arange(300)
    once = _gains(precision, pull, number, 0.01, torch.Generator().manual_seed(0))
    both = (x.repeat_interleave(2, 0) for x in (precision, pull))
    twice = _gains(*both, number.repeat(2), 0.01, torch.Generator().manual_seed(0))
    torch.testing.assert_close(twice, once)


def test_one_hinge_is_one_motion(job):
    mesh_job, sample = job("hinge")
    motions = found_in(mesh_job)
    assert motions.supported == 1
    assert abs(spearmanr(motions.latents[:, 0], sample.state[motions.rows]).statistic) > 0.9
    mesh = TetMesh.load(mesh_job / "mesh.npz")
    atoms = sample.coordinates[sample.reference]
    cell, weights = mesh.locate(atoms.astype(np.float32))
    moved = interpolate(motions.fields[0].numpy(), mesh.cells[cell], weights)
    angle = np.ravel(sample.angles)
    true = np.tensordot(angle - angle.mean(), sample.coordinates, axes=1)
    cosine = (moved * true).sum() / np.linalg.norm(moved) / np.linalg.norm(true)
    assert abs(cosine) > 0.9


def test_two_motions_are_two(job):
    mesh_job, _ = job("two motions")
    assert found_in(mesh_job).supported == 2


def test_nothing_moves_in_the_rigid_control(job):
    motions = found_in(job("rigid")[0])
    assert motions.supported == 0
    assert motions.internal[0] < 1.3 * motions.null


def test_a_flow_that_follows_is_linear_in_the_latent(job):
    setup, density = opened(job("hinge")[0], latent_dims=2)
    rest = at_rest(setup, density)
    state = begin(setup, rest, 2, 8)
    motions = last(find_motions(setup, rest))
    follow(state, motions, [1, 0])
    with torch.no_grad():
        state.generator.weight[2:] = 0  # what the hidden layers add
    latents = torch.tensor([[1.0, 0.0], [-0.5, 2.0]])
    expected = torch.einsum("bk,kpc->bpc", latents, motions.fields[[1, 0]])
    torch.testing.assert_close(state.generator(latents), expected, atol=1e-3, rtol=1e-3)


def test_a_start_decides_what_was_left_open(job):
    setup, density = opened(job("two motions")[0], latent_dims="auto", rigidity="auto")
    begun = last(start(setup, density, None))
    assert begun.setup.params.latent_dims == begun.state.latents.shape[1] == 2
    assert [trial.rigidity for trial in begun.trials] == list(STRENGTHS)
    assert begun.setup.params.rigidity == next(t.rigidity for t in begun.trials if t.chosen)
    assert begun.state.latents[begun.motions.rows].std(0).min() > 0.9
    assert begun.setup.held_out.any()
    assert (begun.state.latents[begun.setup.held_out] == 0).all()


def test_no_rigidity_is_scanned_for_where_nothing_moves(job):
    setup, density = opened(job("rigid")[0])
    begun = last(start(setup, density, None))
    assert begun.trials == ()
    assert begun.setup.params.latent_dims == 1
    assert begun.setup.params.rigidity == 2.0


def test_a_rigidity_that_freezes_the_motion_gains_least(job):
    setup, density = opened(job("hinge")[0], rigidity="auto")
    trials = last(start(setup, density, None)).trials
    assert min(trials, key=lambda t: t.gain).rigidity == max(STRENGTHS)
    assert max(trials, key=lambda t: t.gain).gain > 0


def test_the_stage_writes_what_it_found(job, tmp_path):
    mesh_job, _ = job("hinge")
    done = stages.run_to_end(
        stages.stage_named("motions"), MotionsParams(mesh=mesh_job), tmp_path / "motions"
    )
    with (tmp_path / "motions" / "motions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["supported"] for row in rows] == ["1"] + ["0"] * (len(rows) - 1)
    assert done.summary["supported"] == 1
    with np.load(tmp_path / "motions" / "motions.npz") as file:
        assert file["fields"].shape == (len(rows), *file["vertices"].shape)
    assert (tmp_path / "motions" / "motions.png").stat().st_size > 1000


def test_held_out_particles_decide_nothing(job, tmp_path, monkeypatch):
    """With every choice left to the data: noise in place of the held-out images gives the same model bit for bit."""
    mesh_job, _ = job("hinge")
    params = TrainParams(mesh=mesh_job, epochs=2, layers=1, hidden_units=8)
    stages.train_model(params, tmp_path / "first")
    held_out = load_model(tmp_path / "first").held_out
    read = Particles.read

    def disturbed(self, rows):
        images = read(self, rows)
        if len(self) == len(
            held_out
        ):  # the scan of the rigidity looks at some of the particles, none held out
            hit = torch.from_numpy(held_out[rows])
            images[hit] = torch.randn(images[hit].shape, generator=torch.Generator().manual_seed(5))
        return images

    monkeypatch.setattr(Particles, "read", disturbed)
    stages.train_model(params, tmp_path / "second")
    first, second = load_model(tmp_path / "first"), load_model(tmp_path / "second")
    for name, tensor in first.generator.state_dict().items():
        assert torch.equal(tensor, second.generator.state_dict()[name]), name
    np.testing.assert_array_equal(first.canonical, second.canonical)
    np.testing.assert_array_equal(first.standard[~held_out], second.standard[~held_out])
    assert not np.array_equal(first.standard[held_out], second.standard[held_out])
