"""Parts that a training proposes: made motions of known parts, and the way through the stage."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.motion import NAME, Motion, read_motion, write_motion
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.mesh import MeshParams, mesh, regular_mesh
from napari_flex3d.mesh.comovement import comoving_parts

N, APIX, STATES = 32, 3.0, 40


@pytest.fixture(scope="module")
def bar():
    mask = np.zeros((N, N, N), bool)
    mask[10:22, 10:22, 2:30] = True
    return mask, regular_mesh(mask, APIX, 10)[0]


def motion_of(made, *hinges, noise=0.2, seed=0):
    """Everything beyond each hinge (x, axis) turns about it, by another angle in every state."""
    random = np.random.default_rng(seed)
    x = made.vertices[:, 0]
    moved = np.zeros((STATES, *made.vertices.shape))
    for at, axis in hinges:
        beyond = x > at if at >= 0 else x < at
        for state in range(STATES):
            turn = Rotation.from_rotvec(0.15 * random.normal() * np.eye(3)[axis]).as_matrix()
            arm = made.vertices[beyond] - (at, 0, 0)
            moved[state, beyond] = arm @ turn.T - arm
    moved += noise * random.normal(size=moved.shape)
    return Motion(made.vertices, made.cells, moved.astype(np.float32))


def test_two_and_three_bodies_are_told_apart_and_counted(bar):
    _, made = bar
    x = made.vertices[made.cells].mean(1)[:, 0]
    for hinges, count in ((((0, 2),), 2), (((14, 2), (-14, 1)), 3)):
        found = comoving_parts(motion_of(made, *hinges))
        places = sorted(at for at, _ in hinges)
        truth = np.digitize(x, places)
        clear = (np.abs(x[:, None] - places) > 7).all(1)  # a cell at a hinge belongs to both
        assert found.count == count
        assert len({(a, b) for a, b in zip(found.part[clear], truth[clear], strict=True)}) == count
        assert found.stability[count] > 0.9
        assert found.unexplained[count] < 0.5
        volume = np.bincount(found.part, made.volumes())
        assert (np.diff(volume) <= 0).all()  # the largest is number 0


def test_one_rigid_motion_has_no_parts(bar):
    _, made = bar
    turns = [Rotation.from_rotvec([0, 0, a]).as_matrix() for a in np.linspace(-0.4, 0.4, STATES)]
    whole = np.stack([made.vertices @ turn.T - made.vertices for turn in turns])
    with pytest.raises(InputError, match=r"inside the particle it moves 0\.00 Å"):
        comoving_parts(Motion(made.vertices, made.cells, whole.astype(np.float32)))


def test_a_number_that_is_asked_for_is_given(bar):
    _, made = bar
    assert comoving_parts(motion_of(made, (14, 2), (-14, 1)), count=2).count == 2


def test_the_stage_makes_segments_of_them(bar, tmp_path):
    mask, made = bar
    write_map(tmp_path / "map.mrc", mask.astype(np.float32), pixel_size=APIX)
    write_map(tmp_path / "mask.mrc", mask.astype(np.float32), pixel_size=APIX)
    train = tmp_path / "train"
    train.mkdir()
    write_motion(train / NAME, motion_of(made, (0, 2)))
    out = tmp_path / "mesh"
    out.mkdir()
    params = MeshParams(prep=tmp_path, cells=10, propose="comovement", train=train, connections="none")
    said = [step.message for step in mesh(params, out)]
    assert any(text.startswith("2 parts move together") for text in said)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["comovement"]["parts"] == 2
    assert summary["components"] == 2
    labels = read_map(out / "labels.mrc").data
    x = np.argwhere(mask)[:, 2] - N // 2
    sides = [np.unique(labels[mask][side]) for side in (x < -3, x > 3)]
    assert [len(side) for side in sides] == [1, 1]
    assert sides[0] != sides[1]


def test_what_is_missing_is_said(bar, tmp_path):
    mask, _ = bar
    for name in ("map", "mask"):
        write_map(tmp_path / f"{name}.mrc", mask.astype(np.float32), pixel_size=APIX)
    with pytest.raises(InputError, match="give --train"):
        list(mesh(MeshParams(prep=tmp_path, propose="comovement"), tmp_path))
    with pytest.raises(InputError, match=r"has no motion\.npz: the training is not finished"):
        list(mesh(MeshParams(prep=tmp_path, propose="comovement", train=tmp_path), tmp_path))
    (tmp_path / NAME).write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="cannot be read"):
        read_motion(tmp_path)
    np.savez(
        tmp_path / NAME,
        vertices=np.zeros((4, 3)),
        cells=np.array([[0, 1, 2, 9]]),
        displacements=np.zeros((2, 4, 3)),
    )
    with pytest.raises(InputError, match="do not fit"):
        read_motion(tmp_path)
