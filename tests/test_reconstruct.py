"""Reconstruction: the solver against its definition, and half-maps of a made set with the motion known."""

import json
import shutil
from itertools import pairwise

import mrcfile
import numpy as np
import pytest
import torch

from napari_flex3d import stages
from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh import MeshParams, voxel_positions
from napari_flex3d.model import load_model
from napari_flex3d.ops.fourier import low_pass
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.ops.projection import rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import ReconstructParams
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.shared import SharedOperator, share
from napari_flex3d.reconstruct.solvers import method_named, solve
from napari_flex3d.reconstruct.validation import curves_of, density_cut, segment_parts, sentences
from napari_flex3d.synthetic import atoms_to_map, write_sample
from napari_flex3d.train import TrainParams
from tests.conftest import write_mrc

BOX, PIXEL = 32, 6.0


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    root = tmp_path_factory.mktemp("hinge")
    sample = write_sample(
        root / "sample", particles=600, box=BOX, pixel_size=PIXEL, snr=1.0, seed=2, extent=25
    )
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=10), root / "mesh")
    stages.train_model(TrainParams(mesh=root / "mesh", latent_dims=1, rigidity=2.0, epochs=6), root / "train")
    stages.reconstruct_maps(ReconstructParams(train=root / "train", max_iterations=8), root / "reconstruct")
    return root


def ended(generator):
    reports = []
    while True:
        try:
            reports.append(next(generator))
        except StopIteration as end:
            return reports, end.value


@pytest.fixture(scope="module", params=["flex", "rigid"])
def problem(jobs, request):
    """The first half-set, at its full box."""
    particles = Particles.open(jobs / "prep", "full")
    mask = mrcfile.read(jobs / "prep" / "mask.mrc") > 0.5
    points = torch.from_numpy(voxel_positions(np.argwhere(mask), BOX, PIXEL)).float()
    model = load_model(jobs / "train")
    body = model.mesh.bind(points.numpy()) if request.param == "flex" else rigid_body(points)
    rows = np.flatnonzero(particles.half == 0)
    return Problem(particles, rows, body, model if request.param == "flex" else None, noise_weight(particles))


@pytest.mark.parametrize("name", ["cg", "lbfgs"])
def test_objective_falls_and_is_that_of_the_map(problem, name):
    reports, values = ended(solve(problem, method_named(name, problem, 1.0), 5))
    objective = [r.descent.objective for r in reports if r.descent is not None]
    assert all(after < before for before, after in pairwise(objective))
    _, (_, exact) = ended(problem.gradient(values, against_images=True))
    assert objective[-1] == pytest.approx(exact, rel=1e-4)


def test_both_solvers_come_to_the_same_map(problem):
    _, by_cg = ended(solve(problem, method_named("cg", problem, 1.0), 40))
    _, by_lbfgs = ended(solve(problem, method_named("lbfgs", problem, 1.0), 60))
    _, (_, cg) = ended(problem.gradient(by_cg, against_images=True))
    _, (_, lbfgs) = ended(problem.gradient(by_lbfgs, against_images=True))
    _, (_, start) = ended(problem.gradient(None, against_images=True))
    assert cg == pytest.approx(lbfgs, abs=0.01 * (start - cg))


def test_conjugate_gradients_need_a_third_of_the_passes(problem):
    """Passes over the particles until the objective of 20 iterations of L-BFGS is reached."""
    reports, _ = ended(solve(problem, method_named("lbfgs", problem, 1.0), 20, enough=0))
    slow = [r.descent for r in reports if r.descent is not None]
    reports, _ = ended(solve(problem, method_named("cg", problem, 1.0), 6, enough=0))
    quick = [r.descent for r in reports if r.descent is not None]
    reached = next(d.iteration for d in quick if d.objective <= slow[-1].objective)
    assert 3 * (1 + reached) <= 1 + slow[-1].iteration


def test_a_shared_deformation_is_nearly_each_ones_own(problem):
    """The operator of 8 groups against that of every particle with its own deformation."""
    _, (gradient, _) = ended(problem.gradient(None, against_images=True))
    _, (exact, _) = ended(problem.gradient(gradient, against_images=False))
    shared = SharedOperator(problem, share(problem, 0.1, 8))(gradient)
    assert float((shared - exact).norm()) < 0.05 * float(exact.norm())


def test_groups_hold_every_particle_once_and_get_finer_with_the_tolerance(problem):
    coarse, fine = (share(problem, tolerance, 32) for tolerance in (1e3, 0.2))
    assert len(coarse) == 1
    assert len(fine) >= (1 if problem.model is None else 4)
    assert sorted(np.concatenate(fine).tolist()) == problem.rows.tolist()


def test_gradient_vanishes_at_the_solution(problem):
    _, values = ended(solve(problem, method_named("cg", problem, 1.0), 60, enough=1e-6))
    _, (start, _) = ended(problem.gradient(None, against_images=True))
    _, (end, _) = ended(problem.gradient(values, against_images=True))
    assert float(end.norm()) < 0.02 * float(start.norm())


def test_half_maps_and_what_is_said_of_them(jobs):
    folder = jobs / "reconstruct"
    table = np.genfromtxt(folder / "fsc.csv", delimiter=",", names=True)
    for kind in ("flex", "rigid"):
        first, second, mean = (
            torch.from_numpy(mrcfile.read(folder / f"{kind}{end}.mrc").copy())
            for end in ("_half1", "_half2", "")
        )
        agreed = table[f"{kind}_corrected"]
        good = 1 + np.flatnonzero(agreed > 0.5)
        assert (
            float(fsc((first + second) / 2, mean)[good].min()) > 0.9
        )  # their mean, weighted shell by shell, ...
        assert (
            0.5 < float(mean.square().sum() / ((first + second) / 2).square().sum()) < 1
        )  # ... by 1 at most
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["flex"]["fsc05_A"] <= summary["rigid"]["fsc05_A"]
    for kind in ("flex", "rigid"):
        assert summary[kind]["masked"]["fsc05_A"] < 1.005 * summary[kind]["unmasked"]["fsc05_A"]
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


def test_a_stopped_run_goes_on_after_its_last_iteration(jobs, tmp_path):
    """Stopped in the second half-map, then resumed: every half-map is bit for bit that of an unbroken run."""
    params = ReconstructParams(train=jobs / "train", max_iterations=3)
    stages.reconstruct_maps(params, tmp_path / "whole")
    steps = stages.reconstruct(params, tmp_path / "broken")
    while "flex half-map 2, iteration 1" not in next(steps).message:
        pass
    steps.close()
    kept = sorted(p.name for p in (tmp_path / "broken").glob("descent-*"))
    assert kept == ["descent-flex-1.safetensors", "descent-flex-2.safetensors"]
    messages = [p.message for p in stages.reconstruct(params, tmp_path / "broken", resume=True)]
    assert "flex half-map 2: going on after iteration 1" in messages
    assert not any("flex half-map 1, iteration" in m for m in messages)
    assert not list((tmp_path / "broken").glob("descent-*"))
    for name in ("flex_half1", "flex_half2", "rigid_half1", "rigid_half2"):
        whole, broken = (mrcfile.read(tmp_path / r / f"{name}.mrc") for r in ("whole", "broken"))
        np.testing.assert_array_equal(whole, broken)


def test_what_a_stopped_run_left_is_not_lost_unasked(jobs, tmp_path):
    params = ReconstructParams(train=jobs / "train", max_iterations=2, rigid_twin=False)
    steps = stages.reconstruct(params, tmp_path / "job")
    while "iteration 1" not in next(steps).message:
        pass
    steps.close()
    with pytest.raises(InputError, match="--resume"):
        next(stages.reconstruct(params, tmp_path / "job"))


def test_the_rigid_twin_is_the_fourier_inversion(jobs, tmp_path):
    """An independent way to the same map, within the same mask: FSC over 0.99 up to the resolution.

    Here that is Nyquist's, so up to where the images' weights begin to fall off.
    """
    params = ReconstructParams(train=jobs / "train", max_iterations=8, inversion=True)
    stages.reconstruct_maps(params, tmp_path / "job")
    summary = json.loads((tmp_path / "job" / "summary.json").read_text())
    assert summary["rigid"]["least_fsc_with_inversion"] > 0.99
    last = min(int(BOX * PIXEL / summary["rigid"]["fsc143_A"]), BOX // 2 - 3)
    for half in (1, 2):
        twin, other = (
            torch.from_numpy(mrcfile.read(tmp_path / "job" / f"{kind}_half{half}.mrc").copy())
            for kind in ("rigid", "inverted")
        )
        assert float(fsc(twin, other)[1 : last + 1].min()) > 0.99
        assert float((twin * other).sum() / other.square().sum()) == pytest.approx(1, abs=0.1)


def test_options_symmetry_and_sharpening(jobs, tmp_path):
    """C2 maps are their own half turn, half-maps apart; sharpened maps have more of the fine detail."""
    params = ReconstructParams(
        train=jobs / "train", max_iterations=2, symmetry="c2", sharpened=True, bfactor=-2000.0
    )
    stages.reconstruct_maps(params, tmp_path / "job")
    for name in ("flex_half1", "rigid_half2"):
        volume = mrcfile.read(tmp_path / "job" / f"{name}.mrc")
        turned = volume[:, 1:, 1:][:, ::-1, ::-1]
        np.testing.assert_allclose(volume[:, 1:, 1:], turned, atol=1e-4 * np.abs(volume).max())
    first, second = (mrcfile.read(tmp_path / "job" / f"flex_half{h}.mrc") for h in (1, 2))
    assert not np.allclose(first, second)
    plain, sharp = (
        torch.from_numpy(mrcfile.read(tmp_path / "job" / f"{name}.mrc").copy())
        for name in ("flex", "flex_sharpened")
    )
    fine = [float((v - low_pass(v, 0.15)).norm() / v.norm()) for v in (plain, sharp)]
    assert fine[1] > 1.2 * fine[0]
    with pytest.raises(ValueError, match="Cn or Dn"):
        ReconstructParams(train=jobs / "train", symmetry="octahedral")


def test_parts_are_judged_on_their_own(jobs):
    """The moving half of the hinge and the rest; the motion helps the moving part more."""
    summary = json.loads((jobs / "reconstruct" / "summary.json").read_text())
    parts = {kind: summary[kind]["parts"] for kind in ("flex", "rigid")}
    assert set(parts["flex"]) == {"moving", "still"}
    gain = {p: parts["rigid"][p]["fsc05_A"] / parts["flex"][p]["fsc05_A"] for p in ("moving", "still")}
    assert gain["moving"] > gain["still"]
    table = np.genfromtxt(jobs / "reconstruct" / "fsc.csv", delimiter=",", names=True)
    assert "flex_part_moving" in table.dtype.names
    for name in ("local_resolution", "local_resolution_rigid", "local_resolution_gain"):
        assert mrcfile.read(jobs / "reconstruct" / f"{name}.mrc").shape == (BOX,) * 3


def straight(level, count=65):
    """Curves of half-maps that agree perfectly up to a shell, and not beyond."""
    curve = (torch.arange(count) < level).float()
    return {"unmasked": curve, "masked": curve, "corrected": curve}


def told(flex, rigid, **facts):
    known = {"unfinished": [], "particles": 10_000, "cut": 0.0} | facts
    curves = {"flex": straight(flex), "rigid": straight(rigid)}
    return " ".join(sentences(curves, 128, 2.0, **known))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (told(64, 64), "does not fall to zero"),
        (told(30, 40), "worse than the rigid one"),
        (told(40, 30, unfinished=["flex half-map 2"]), "flex half-map 2: still improving"),
        (told(40, 30, particles=100), "100 particles. Even without noise a box of 128 px needs 201"),
        (told(40, 30, cut=0.4), "40% of that inside: the mask cuts"),
    ],
)
def test_bad_ends_are_said_in_words(said, words):
    assert words in said


def test_a_good_end_needs_no_words():
    assert told(40, 30) == ""


def test_a_mask_that_cuts_density_is_seen():
    axis = torch.arange(48.0) - 24
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    ball = (radius < 14).float()
    assert density_cut(ball, (radius < 20).float()) < 0.1
    assert density_cut(ball, (radius < 10).float()) > 0.5


def test_segments_of_the_mesh_are_the_parts(tmp_path):
    """Half-maps that agree in one segment and not in the other; a map of one segment has no parts."""
    side = np.arange(BOX) < BOX // 2
    labels = np.where(side, 0, 1) * np.ones((BOX,) * 3)
    labels[:4] = -1
    write_mrc(tmp_path / "segments.mrc", labels.astype(np.float32), PIXEL)
    parts = segment_parts(tmp_path / "segments.mrc")
    assert list(parts) == ["segment 0", "segment 1"]
    np.testing.assert_array_equal(parts["segment 1"], labels == 1)
    noise = torch.randn((3, BOX, BOX, BOX), generator=torch.Generator().manual_seed(0))
    left = torch.from_numpy(side)
    pair = [torch.where(left, noise[0], noise[k]) for k in (1, 2)]
    curves = curves_of(pair, torch.ones((BOX,) * 3), parts)
    assert float(curves["part segment 0"][3:].min()) > 0.8
    assert float(curves["part segment 1"][3:].max()) < 0.3
    write_mrc(tmp_path / "one.mrc", np.zeros((BOX,) * 3, np.float32), PIXEL)
    assert segment_parts(tmp_path / "one.mrc") == {}
