"""Copies of symmetric particles: stored once, kept together, and each subunit seen where the first one lies."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from napari_flex3d import stages
from napari_flex3d.fit import set_up
from napari_flex3d.io.errors import InputError, Question
from napari_flex3d.io.latents import read_latents
from napari_flex3d.io.mrc import open_stack, read_map
from napari_flex3d.io.star import read_star
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.model import load_model
from napari_flex3d.motions import train_mask
from napari_flex3d.ops.rotations import from_euler, from_rotvec, to_euler
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.select import select
from napari_flex3d.train import TrainParams

TURNS = Rotation.from_rotvec(np.radians([[0, 0, 0], [0, 0, 120], [0, 0, 240]])).as_matrix()
SUBUNIT = np.array([[32.0, 0, -8], [26, 14, 8], [12, 6, 24]])
"""Three blobs; the first is the one that moves."""
MOVED = SUBUNIT + np.array([[12.0, 0, 10], [0, 0, 0], [0, 0, 0]])


def blobs(moved):
    """A trimer whose subunit ``moved`` is in its other state; None for all at rest."""
    return np.concatenate([(MOVED if k == moved else SUBUNIT) @ turn.T for k, turn in enumerate(TURNS)])


@pytest.fixture
def trimer(sample, form_image):
    """The sample as a C3 particle: in particle i, subunit i % 3 has moved."""
    p = sample.particles
    angles = np.stack([p[f"rlnAngle{a}"] for a in ("Rot", "Tilt", "Psi")], axis=-1)
    shift = np.stack([p["rlnOriginXAngst"], p["rlnOriginYAngst"]], axis=-1)
    defocus = np.array(p["rlnDefocusU"]) - 200
    images = [
        form_image(*row, blobs=blobs(i % 3)) for i, row in enumerate(zip(angles, shift, defocus, strict=True))
    ]
    sample.images = np.stack(images) / np.std(images)
    sample.images += 0.3 * np.random.default_rng(0).normal(size=sample.images.shape)
    axis = (np.arange(32) - 16) * 5.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    sample.density = sum(
        np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * 7.0**2)) for a, b, c in blobs(None)
    )
    return sample


def prepared(sample, out, particles=None, **params):
    particles = particles or sample.write()
    given = {"expand_symmetry": "C3"} | params
    stages.prepare(PrepParams(particles=particles, map=sample.write_map(), **given), out)
    return Particles.open(out)


def test_what_one_subunit_does_is_seen_in_the_frame_of_the_first(trimer, form_image, tmp_path):
    """Of three copies exactly one has the moved subunit in the first place: the one turned by that subunit."""
    particles = prepared(trimer, tmp_path / "prep")
    table, images = particles.table, particles.read(np.arange(len(particles))).double().numpy()
    angles = np.degrees(to_euler(table.rotation))
    defocus = (table.defocus_u + table.defocus_v) / 2
    gain = []
    for row in range(len(table)):
        views = [form_image(angles[row], table.shift[row], defocus[row], blobs=blobs(m)) for m in (0, None)]
        gain.append(np.subtract(*(np.corrcoef(images[row].ravel(), view.ravel())[0, 1] for view in views)))
    gain = np.array(gain).reshape(-1, 3)
    assert (gain.argmax(1) == np.arange(60) % 3).mean() > 0.95  # one along the beam can be hard to tell
    assert (np.sort(gain, axis=1)[:, -1] > 0).mean() > 0.95


def test_images_are_stored_once_and_poses_are_those_of_the_turned_map(trimer, tmp_path):
    particles = prepared(trimer, tmp_path / "prep", max_particles=40)
    assert (len(particles), len(particles.images)) == (120, 40)
    assert len(open_stack(tmp_path / "prep" / "particles.mrcs")) == 40
    names = read_star(tmp_path / "prep" / "particles.star")["particles"]["rlnImageName"]
    assert names[:4] == ["000001@particles.mrcs"] * 3 + ["000002@particles.mrcs"]
    one, other = particles.read(np.array([4, 119])), particles.read(np.array([119, 3]))
    assert (one[0] == other[1]).all()
    assert (one[1] == other[0]).all()
    p, rows = trimer.particles, particles.source_row[::3]
    own = from_euler(np.radians(np.stack([p[f"rlnAngle{a}"] for a in ("Rot", "Tilt", "Psi")], axis=-1)))[rows]
    found = particles.table.rotation.reshape(-1, 3, 3, 3)
    assert_allclose(found, np.einsum("nij,gjk->ngik", own, TURNS), atol=1e-6)
    assert_allclose(particles.shift.reshape(-1, 3, 2), np.repeat(particles.shift[::3, None], 3, axis=1))


def test_copies_of_a_particle_are_in_one_half_and_held_out_together(trimer, tmp_path):
    particles = prepared(trimer, tmp_path / "prep")
    assert (np.ptp(particles.half.reshape(-1, 3), axis=1) == 0).all()
    assert (particles.number == np.repeat(np.arange(60), 3)).all()
    stages.build_mesh(MeshParams(prep=tmp_path / "prep", cells=6), tmp_path / "mesh")
    mesh, params = TetMesh.load(tmp_path / "mesh" / "mesh.npz"), TrainParams(mesh=tmp_path / "mesh")
    mask = train_mask(tmp_path / "mesh", read_map(tmp_path / "prep" / "map_train.mrc"))
    held = set_up(particles, mesh, mask, 0.1, params).held_out.reshape(-1, 3)
    assert held.any(1).sum() == 6
    assert (held.all(1) == held.any(1)).all()


def test_particles_that_another_program_expanded_are_stored_once_too(trimer, tmp_path):
    """Rows that repeat an image, in any order."""
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(60), 2))
    trimer.particles = {k: [v[i] for i in order] for k, v in trimer.particles.items()}
    particles = prepared(trimer, tmp_path / "prep", expand_symmetry="C1")
    assert (len(particles), len(particles.images)) == (120, 60)
    rows = np.arange(120)
    expected = trimer.images[order]
    for image, wanted in zip(particles.read(rows).numpy()[::10], expected[::10], strict=True):
        assert np.corrcoef(image.ravel(), wanted.ravel())[0, 1] > 0.999
    assert all(len(set(particles.half[order == k])) == 1 for k in range(60))


def test_a_dataset_expanded_by_cryosparc_keeps_its_particles_apart(trimer, tmp_path):
    """Copies are told by sym_expand/src_uid, and stay so in the prep job."""
    columns = {k: np.repeat(v, 2, axis=0) for k, v in trimer.cs_columns().items()}
    columns["sym_expand/src_uid"] = columns["uid"].copy()
    columns["uid"] = np.arange(1, 121).astype("u8")
    columns["alignments3D/alpha"][:] = 1
    particles = prepared(trimer, tmp_path / "prep", trimer.write_cs(columns), expand_symmetry="C1")
    assert len(particles.images) == 60
    assert (particles.number == np.repeat(np.arange(60), 2)).all()


@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
@pytest.mark.parametrize("kind", ["star", "cs"])
def test_latents_of_copies_are_given_back_and_taken_again(trimer, tmp_path, kind):
    columns = trimer.cs_columns()
    columns["alignments3D/alpha"][:] = 1
    source = trimer.write() if kind == "star" else trimer.write_cs(columns)
    prep, mesh, train = (tmp_path / name for name in ("prep", "mesh", "train"))
    particles = prepared(trimer, prep, source)
    stages.build_mesh(MeshParams(prep=prep, cells=6), mesh)
    stages.train_model(TrainParams(mesh=mesh, latent_dims=1, rigidity=2.0, epochs=1), train)
    z = load_model(train).latents
    for name in ("latents.csv", "latents.star", "latents.cs"):
        assert_allclose(read_latents(train / name, particles.table, 1), z, atol=1e-5, err_msg=name)
    lines = (train / "latents.csv").read_text().splitlines()
    (tmp_path / "shuffled.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    assert_allclose(read_latents(tmp_path / "shuffled.csv", particles.table, 1), z, atol=1e-5)
    star = read_star(train / "latents.star")["particles"]
    assert star["rlnImageName"][:4] == ["000001@stack.mrcs"] * 3 + ["000002@stack.mrcs"]
    angles = np.stack([list(map(float, star[f"rlnAngle{a}"])) for a in ("Rot", "Tilt", "Psi")], axis=-1)
    assert_allclose(from_euler(np.radians(angles)), particles.table.rotation, atol=1e-5)
    said = select(train, "copy == 1", tmp_path / f"chosen.{kind}")
    assert (said["kept"], said["of"]) == (60, 180)
    if kind == "cs":
        rows = np.load(train / "latents.cs")
        assert len(np.unique(rows["uid"])) == 180
        assert (rows["sym_expand/src_uid"] == np.repeat(columns["uid"], 3)).all()
        assert (np.load(tmp_path / "chosen.cs")["sym_expand/idx"] == 1).all()
        assert_allclose(from_rotvec(rows["alignments3D/pose"]), particles.table.rotation, atol=1e-5)


def test_a_map_without_the_symmetry_is_refused(sample, trimer, tmp_path):
    trimer.density = np.roll(trimer.density, 6, axis=2)  # the axis is beside the middle
    with pytest.raises(
        Question, match=r"does not look the same after the rotations of C3 \(correlation 0\.\d\d\)"
    ):
        prepared(trimer, tmp_path / "prep")
    with pytest.raises(InputError, match="expand_symmetry = T: Cn or Dn is needed"):
        prepared(trimer, tmp_path / "prep", expand_symmetry="T")


def test_the_check_and_the_noise_are_those_of_the_particles_themselves(trimer, tmp_path):
    """Copies bring no new noise: spectrum and scale are bit for bit those without them."""
    for name, group in (("expanded", "C3"), ("plain", "C1")):
        prepared(trimer, tmp_path / name, expand_symmetry=group)
    same = [(tmp_path / name / "noise.csv").read_text() for name in ("expanded", "plain")]
    assert same[0] == same[1]
    checks = [json.loads((tmp_path / name / "check.json").read_text()) for name in ("expanded", "plain")]
    assert checks[0]["map_scale"] == checks[1]["map_scale"]
    assert [c["summary"]["particles"] for c in checks] == [180, 60]
