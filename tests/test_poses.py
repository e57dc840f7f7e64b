"""Poses that are a little wrong become better, in one system with the latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from napari_flex3d import stages
from napari_flex3d.fit import at_rest, begin, errors_of_poses, polish, set_up
from napari_flex3d.fit.poses import PosePrior, turned, vertices_and_motions
from napari_flex3d.io.mrc import read_map
from napari_flex3d.io.relion import read_particles
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.motions import train_mask
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import _case
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams


def test_motions_along_rotations_and_shifts_are_finite_differences():
    random = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(4, 3, 3, generator=random, dtype=torch.float64))[0]
    at = 40 * torch.randn(4, 9, 3, generator=random, dtype=torch.float64)
    jacobian = torch.randn(4, 2, 9, 3, generator=random, dtype=torch.float64)
    pose = torch.zeros(4, 5, dtype=torch.float64)
    pose[:, 3:] = torch.randn(4, 2, generator=random, dtype=torch.float64)
    _, motions = vertices_and_motions(rotation, pose, at, jacobian, 1.7)
    assert motions.shape == (4, 7, 9, 2)
    h = 1e-6
    for k in range(2):
        there = [
            vertices_and_motions(rotation, pose, at + s * h * jacobian[:, k], jacobian, 1.7)[0]
            for s in (1, -1)
        ]
        torch.testing.assert_close(motions[:, k], (there[0] - there[1]) / (2 * h), rtol=1e-6, atol=1e-7)
    for k in range(5):
        step = torch.zeros(5, dtype=torch.float64)
        step[k] = h
        there = [vertices_and_motions(rotation, pose + s * step, at, jacobian, 1.7)[0] for s in (1, -1)]
        torch.testing.assert_close(motions[:, 2 + k], (there[0] - there[1]) / (2 * h), rtol=1e-6, atol=1e-7)


def test_a_turn_is_a_rotation_of_the_image_frame():
    pose = torch.tensor([[0.1, -0.2, 0.05, 3.0, 4.0]], dtype=torch.float64)
    expected = Rotation.from_rotvec([0.1, -0.2, 0.05]).as_matrix()
    assert_allclose(turned(torch.eye(3, dtype=torch.float64)[None], pose)[0], expected, atol=1e-12)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """A particle at rest whose poses are off by 3 degrees and 2 Å about each axis; the truth; a flow that is none."""
    root = tmp_path_factory.mktemp("poses")
    sample = write_sample(
        root / "sample", particles=60, box=32, pixel_size=6.0, snr=0.5, seed=1, kind="rigid"
    )
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=6), root / "mesh")
    good = Particles.open(root / "prep")
    random = np.random.default_rng(0)
    turn = Rotation.from_rotvec(np.radians(3) * random.normal(size=(60, 3))).as_matrix()
    off = 2 * random.normal(size=(60, 2))
    table = good.table
    changed = type(table)(**{**vars(table), "rotation": turn @ table.rotation, "shift": table.shift + off})
    bad = Particles(good.images, changed, good.pixel_size, good.noise, good.map_scale)
    density = read_map(root / "prep" / "map_train.mrc")
    mask = train_mask(root / "mesh", density)
    params = TrainParams(mesh=root / "mesh", latent_dims=1, rigidity=2.0, flow_lr=1e-3, flow_lr_final=1e-4)
    setup = set_up(bad, TetMesh.load(root / "mesh" / "mesh.npz"), mask, 0.05, params)
    state = begin(setup, at_rest(setup, (density.data * mask * bad.map_scale).astype("f4")), 6, 64)
    with torch.no_grad():
        state.generator.weight.zero_()
    return good, setup, state


def corrections(setup, state, prior):
    steps = polish(setup, replace(state), prior)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def errors(good, setup, pose):
    """Degrees and Å rms that poses are off by."""
    rotation = turned(setup.particles.optics(np.arange(60))[1], pose).numpy()
    turn = rotation @ good.rotation.transpose(0, 2, 1)
    angle = Rotation.from_matrix(turn).magnitude()
    shift = setup.particles.shift - pose[:, 3:].numpy() - good.shift
    return np.degrees(np.sqrt((angle**2).mean())), np.sqrt((shift**2).sum(1).mean())


def test_poses_off_by_3_degrees_become_better(wrong):
    good, setup, state = wrong
    before = errors(good, setup, torch.zeros(60, 5))
    after = errors(good, setup, corrections(setup, state, PosePrior(np.radians(5), 4.0)))
    assert before[0] > 4
    assert before[1] > 2.4
    assert after[0] < 0.5 * before[0]
    assert after[1] < 0.5 * before[1]


def test_what_poses_are_off_by_is_found_from_the_particles(wrong):
    """3 degrees and 2 Å about each axis; and next to nothing where poses are right."""
    good, setup, state = wrong
    found = errors_of_poses(setup, state)
    assert 2 < np.degrees(found.rotation) < 4
    assert 1.4 < found.shift < 2.6
    right = errors_of_poses(replace(setup, particles=good), state)
    assert np.degrees(right.rotation) < 1
    assert right.shift < 0.5


def test_a_narrow_prior_holds_poses(wrong):
    _, setup, state = wrong
    held = corrections(setup, state, PosePrior(1e-5, 1e-3))
    assert float(held[:, :3].abs().max()) < 1e-4
    assert float(held[:, 3:].abs().max()) < 1e-2


@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
def test_polished_poses_are_given_back_and_used(wrong, tmp_path):
    """All tables have them as another program would read them; reconstruct takes them."""
    _, setup, _ = wrong
    mesh = setup.params.mesh
    params = TrainParams(mesh=mesh, latent_dims=1, rigidity=2.0, epochs=1, polish_poses=True)
    stages.train_model(params, tmp_path / "train")
    with np.load(tmp_path / "train" / "poses.npz") as off:
        expected = Particles.open(mesh.parent / "prep").posed(off["turn"], off["shift"])
        assert np.abs(off["turn"]).max() > 1e-3
    for name in ("polished.star", "latents.star"):
        star = read_particles(tmp_path / "train" / name, check=False)
        assert_allclose(star.rotation, expected.table.rotation, atol=1e-6)
        assert_allclose(star.shift, expected.table.shift, atol=1e-5)
    dataset = np.load(tmp_path / "train" / "latents.cs")
    pose = Rotation.from_rotvec(dataset["alignments3D/pose"]).inv()  # CryoSPARC's are from image to map
    assert_allclose(pose.as_matrix(), expected.table.rotation, atol=1e-6)
    shift = dataset["alignments3D/shift"] * dataset["alignments3D/psize_A"][:, None]
    assert_allclose(shift, expected.table.shift, atol=1e-5)
    table = np.genfromtxt(tmp_path / "train" / "latents.csv", delimiter=",", names=True)
    assert_allclose(table["rlnOriginYAngst"], expected.table.shift[:, 1], atol=1e-5)
    case = _case(tmp_path / "train", mesh, mesh.parent / "prep")
    assert_allclose(case.particles.rotation, expected.rotation, atol=1e-6)
    assert_allclose(case.particles.shift, expected.shift, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
def test_poses_of_a_moving_particle_become_better(tmp_path):
    """The hinge, poses off by 3 degrees and 1.5 Å: under the motion learned with them they come nearer to the truth."""
    sample = write_sample(
        tmp_path / "sample",
        particles=400,
        box=32,
        pixel_size=6.0,
        snr=0.4,
        seed=1,
        extent=20,
        kind="wrong poses",
    )
    prep, mesh, out = (tmp_path / name for name in ("prep", "mesh", "train"))
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), prep)
    stages.build_mesh(MeshParams(prep=prep, cells=10), mesh)
    stages.train_model(TrainParams(mesh=mesh, latent_dims=1, epochs=8, polish_poses=True), out)
    given, truth = Particles.open(prep), np.load(sample.truth)
    polished = read_particles(out / "latents.star", check=False)
    angles, shifts = [], []
    for table in (given.table, polished):
        turn = table.rotation @ truth["rotation"].transpose(0, 2, 1)
        angles.append(np.degrees(np.sqrt((Rotation.from_matrix(turn).magnitude() ** 2).mean())))
        shifts.append(np.sqrt(((table.shift - truth["shift"]) ** 2).sum(1).mean()))
    assert angles[1] < 0.8 * angles[0]
    assert shifts[1] < 0.6 * shifts[0]
