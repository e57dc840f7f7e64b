"""A dragged segment: rigid motion is exact, what is not joined stays, what is joined bends."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_flex3d.io.mrc import Volume
from napari_flex3d.io.segments import Segments
from napari_flex3d.mesh.build import lattice, segmented
from napari_flex3d.mesh.draft import Ground, draft
from napari_flex3d.mesh.drag import Drag
from napari_flex3d.mesh.params import MeshParams

N, APIX = 32, 2.5
SHIFT = np.array([1.0, 9.0, -4.0])
TURN = Rotation.from_rotvec([0.2, -0.3, 0.5]).as_matrix()


def bar(connections, parts=2):
    mask = np.zeros((N, N, N), bool)
    mask[10:22, 10:22, 2:30] = True
    labels = np.where(mask, np.arange(N) * parts // N, -1).astype(np.int32)
    return segmented(lattice(mask, APIX, 10), labels, connections).mesh


def of(mesh, segment):
    return np.unique(mesh.cells[mesh.segment == segment])


def stretch(mesh, moved, cells):
    """Largest change of an edge's length in some cells, Å."""
    corners = mesh.cells[cells]
    lengths = [
        np.linalg.norm(p[corners[:, 1:]] - p[corners[:, :1]], axis=-1)
        for p in (mesh.vertices, mesh.vertices + moved)
    ]
    return np.abs(lengths[1] - lengths[0]).max()


def test_a_mesh_dragged_whole_moves_rigidly():
    mesh = bar("", parts=1)
    moved = Drag(mesh, 0).to(SHIFT, TURN)
    centre = mesh.vertices.mean(0)
    expected = (mesh.vertices - centre) @ TURN.T + centre + SHIFT
    np.testing.assert_allclose(mesh.vertices + moved, expected, atol=1e-4)


def test_a_part_that_is_joined_to_nothing_moves_alone():
    mesh = bar("none")
    moved = Drag(mesh, 1).to(SHIFT)
    np.testing.assert_allclose(moved[of(mesh, 1)], np.tile(SHIFT, (len(of(mesh, 1)), 1)), atol=1e-4)
    assert np.abs(moved[of(mesh, 0)]).max() < 1e-6


def test_what_is_joined_bends_near_the_border_and_stays_beyond():
    mesh = bar("0>1")
    moved = Drag(mesh, 1).to(SHIFT)
    np.testing.assert_allclose(moved[of(mesh, 1)], np.tile(SHIFT, (len(of(mesh, 1)), 1)), atol=1e-4)
    still = np.setdiff1d(of(mesh, 0), of(mesh, 1))
    x, size = mesh.vertices[still, 0], np.linalg.norm(moved[still], axis=1)
    layers = [size[np.isclose(x, at)].mean() for at in np.unique(x)]
    assert (np.diff(layers) > 0).all()  # the nearer to the held segment, the farther it goes
    assert layers[-1] > 0.3 * np.linalg.norm(SHIFT)
    assert layers[0] < 0.1 * np.linalg.norm(SHIFT)
    assert stretch(mesh, moved, mesh.segment == 1) < 1e-4
    assert stretch(mesh, moved, mesh.segment == 0) > 0.5


def test_a_segment_between_held_and_free_passes_the_motion_on():
    """0 is joined to 1, not to 2: when 2 is held nothing of 0 and 1 moves; when 1 is held, 0 follows and 2 stays."""
    mesh = bar("1>0", parts=3)
    moved = Drag(mesh, 2).to(SHIFT)
    assert np.abs(moved[of(mesh, 0)]).max() < 1e-6
    moved = Drag(mesh, 1).to(SHIFT)
    assert np.abs(moved[of(mesh, 2)]).max() < 1e-6
    assert np.linalg.norm(moved[of(mesh, 0)], axis=1).max() > 0.3 * np.linalg.norm(SHIFT)


def test_a_rigid_neighbour_bends_less_than_a_soft_one():
    mask = np.zeros((N, N, N), bool)
    mask[10:22, 10:22, 2:30] = True
    ground = Ground(Volume(mask.astype(np.float32), APIX), mask.astype(np.float32))
    labels = Segments(np.where(mask, np.arange(N) // 16, -1).astype(np.int32), (0, 1))
    bent = {}
    for rigid in ("", "0"):
        made = draft(ground, MeshParams(prep="x", cells=10, rigid_segments=rigid), labels).built.mesh
        bent[rigid] = stretch(made, Drag(made, 1).to(SHIFT), made.segment == 0)
    assert bent["0"] < 0.5 * bent[""]


@pytest.mark.parametrize("turn", [None, TURN])
def test_going_back_ends_at_rest(turn):
    mesh = bar("0>1")
    drag = Drag(mesh, 1)
    drag.to(SHIFT, turn)
    for _ in range(60):
        moved = drag.to(np.zeros(3))
    assert np.abs(moved).max() < 1e-2
