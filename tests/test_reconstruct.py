"""Reconstruction: the solver against its definition, and half-maps of a made set with the motion known."""

import json
import shutil
from itertools import pairwise

import mrcfile
import numpy as np
import pytest
import torch

from napari_flex3d import stages
from napari_flex3d.mesh import MeshParams, voxel_positions
from napari_flex3d.ops.fourier import low_pass
from napari_flex3d.ops.projection import rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import Problem, ReconstructParams, _weight, solve
from napari_flex3d.synthetic import atoms_to_map, write_sample
from napari_flex3d.train import TrainParams

BOX, PIXEL = 32, 6.0


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    root = tmp_path_factory.mktemp("hinge")
    sample = write_sample(
        root / "sample", particles=600, box=BOX, pixel_size=PIXEL, snr=1.0, seed=2, extent=25
    )
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=10), root / "mesh")
    stages.train_model(TrainParams(mesh=root / "mesh", latent_dims=1, epochs=6), root / "train")
    stages.reconstruct_maps(ReconstructParams(train=root / "train", max_iterations=8), root / "reconstruct")
    return root


def ended(generator):
    reports = []
    while True:
        try:
            reports.append(next(generator))
        except StopIteration as end:
            return reports, end.value


@pytest.fixture(scope="module")
def problem(jobs):
    particles = Particles.open(jobs / "prep", "full")
    mask = mrcfile.read(jobs / "prep" / "mask.mrc") > 0.5
    points = torch.from_numpy(voxel_positions(np.argwhere(mask), BOX, PIXEL)).float()
    body = rigid_body(points)
    return Problem(particles, np.arange(64), body, None, _weight(particles)), torch.from_numpy(mask)


def test_objective_falls_and_is_that_of_the_map(problem):
    least, mask = problem
    reports, values = ended(solve(least, mask, 6))
    objective = [r.objective for r in reports if r.objective is not None]
    assert all(after < before for before, after in pairwise(objective))
    _, (_, exact) = ended(least.gradient(values, against_images=True))
    assert objective[-1] == pytest.approx(exact, rel=1e-4)


def test_gradient_vanishes_at_the_solution(problem):
    least, mask = problem
    _, values = ended(solve(least, mask, 60))
    _, (start, _) = ended(least.gradient(None, against_images=True))
    _, (end, _) = ended(least.gradient(values, against_images=True))
    assert float(end.norm()) < 0.02 * float(start.norm())


def test_half_maps_and_what_is_said_of_them(jobs):
    folder = jobs / "reconstruct"
    for kind in ("flex", "rigid"):
        first, second = (mrcfile.read(folder / f"{kind}_half{h}.mrc") for h in (1, 2))
        np.testing.assert_allclose(mrcfile.read(folder / f"{kind}.mrc"), (first + second) / 2, atol=1e-6)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["flex"]["fsc05_A"] <= summary["rigid"]["fsc05_A"]
    table = np.genfromtxt(folder / "fsc.csv", delimiter=",", names=True)
    assert table["shell"][-1] == BOX // 2 - 1
    assert table["flex_corrected"][:3].min() > 0.9


def test_the_moving_part_is_better_with_the_motion(jobs):
    """Correlation with the true reference state around the moving domain, at 3 pixels."""
    truth = np.load(jobs / "sample" / "truth.npz")
    reference = truth["ca_coords_A"][int(truth["ref"])]
    true = low_pass(atoms_to_map(reference, BOX, PIXEL).float(), 1 / 3)
    near = atoms_to_map(reference[truth["ca_moving"]], BOX, PIXEL).float()
    near = low_pass(near, 0.15) > 0.2 * float(low_pass(near, 0.15).max())

    def agreement(name):
        volume = low_pass(torch.from_numpy(mrcfile.read(jobs / "reconstruct" / name).copy()), 1 / 3)
        return float(torch.corrcoef(torch.stack([volume[near], true[near]]))[0, 1])

    assert agreement("flex.mrc") > agreement("rigid.mrc") + 0.02
    assert agreement("flex.mrc") > 0.8


def test_noise_in_one_half_leaves_the_other_alone(jobs, tmp_path):
    for name in ("sample", "prep", "mesh", "train"):
        shutil.copytree(jobs / name, tmp_path / name)
    half = Particles.open(tmp_path / "prep", "full").half
    with mrcfile.mmap(tmp_path / "prep" / "particles.mrcs", mode="r+", permissive=True) as stack:
        noise = np.random.default_rng(0).normal(size=((half == 1).sum(), BOX, BOX))
        stack.data[half == 1] = noise.astype(np.float16)
    params = ReconstructParams(train=tmp_path / "train", max_iterations=8, rigid_twin=False)
    stages.reconstruct_maps(params, tmp_path / "reconstruct")
    for h, same in ((1, True), (2, False)):
        before, after = (mrcfile.read(r / "reconstruct" / f"flex_half{h}.mrc") for r in (jobs, tmp_path))
        assert np.array_equal(before, after) == same
    assert not (tmp_path / "reconstruct" / "rigid.mrc").exists()
