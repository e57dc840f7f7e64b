"""Segments of a mesh: what they contain, where they are joined, and what that lets them do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.io.segments import read_segments
from napari_flex3d.mesh import elastic_modes, voxel_positions
from napari_flex3d.mesh.build import lattice, segmented
from napari_flex3d.mesh.topology import borders, cell_segments, grow, split
from napari_flex3d.ops.elasticity import shape_gradients, stiffness

N, APIX, CELLS = 32, 2.5, 10


def _box(low, high):
    """Voxels (z, y, x) with low <= index < high on every axis."""
    inside = np.zeros((N, N, N), bool)
    inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return inside


@pytest.fixture(scope="module")
def bar():
    """A bar along x, regular mesh."""
    mask = _box((10, 10, 2), (22, 22, 30))
    return mask, lattice(mask, APIX, CELLS)


def _thirds(mask):
    labels = np.full(mask.shape, -1, np.int32)
    for number, (a, b) in enumerate([(0, 12), (12, 20), (20, 32)]):
        labels[:, :, a:b] = number
    return np.where(mask, labels, -1)


def test_grown_labels_partition_the_mask_by_the_nearest_label():
    mask = _box((8, 8, 4), (24, 24, 28))
    labels = np.full(mask.shape, -1, np.int32)
    labels[16, 16, 8], labels[16, 16, 24] = 7, 3
    labels[2, 2, 2] = 5  # outside the mask: counts for nothing
    grown = grow(labels, mask)
    assert ((grown >= 0) == mask).all()
    x = np.argwhere(mask)[:, 2]
    assert (grown[mask][x < 16] == 7).all()
    assert (grown[mask][x > 16] == 3).all()


def test_labels_that_fill_the_mask_stay_as_they_are(bar):
    mask, _ = bar
    np.testing.assert_array_equal(grow(_thirds(mask), mask), _thirds(mask))


def test_nothing_painted_in_the_mask_is_refused(bar):
    mask, regular = bar
    outside = np.where(mask, -1, 0).astype(np.int32)
    for labels in (np.full(mask.shape, -1, np.int32), outside):
        with pytest.raises(InputError, match="no voxel inside the mask"):
            segmented(regular, labels)


def test_everything_painted_as_one_segment_changes_nothing(bar):
    mask, regular = bar
    for connections in ("", "none"):
        built = segmented(regular, np.full(mask.shape, 4, np.int32), connections)
        assert (built.mesh.segment == 4).all()
        np.testing.assert_array_equal(built.mesh.cells, regular.mesh.cells)
        np.testing.assert_array_equal(built.mesh.vertices, regular.mesh.vertices)


def test_one_painted_voxel_owns_no_cell_beside_a_real_segment(bar):
    mask, regular = bar
    labels = np.where(mask, 0, -1).astype(np.int32)
    labels[16, 16, 16] = 1
    built = segmented(regular, labels)
    assert (built.mesh.segment == 0).all()
    with pytest.raises(InputError, match='"0>1": segment 1 owns no cell'):
        segmented(regular, labels, "0>1")


def test_one_painted_voxel_alone_grows_over_the_mask(bar):
    mask, regular = bar
    labels = np.full(mask.shape, -1, np.int32)
    labels[16, 16, 16] = 1
    assert (segmented(regular, labels).mesh.segment == 1).all()


def test_a_cell_belongs_to_the_segment_with_most_of_its_voxels(bar):
    mask, regular = bar
    labels = _thirds(mask)
    segment = cell_segments(regular.mesh, regular.cell_index, labels)
    votes = np.zeros((len(segment), 3))
    np.add.at(votes, (regular.cell_index[mask], labels[mask]), 1)
    won = votes.max(1) == votes[np.arange(len(segment)), segment]
    assert won.mean() > 0.99  # all but cells of stray pieces
    for number in range(3):
        parts = regular.mesh.subset(segment == number).components()
        assert parts.max() == 0


def test_nothing_is_lost_when_a_mesh_is_split(bar):
    mask, regular = bar
    built = segmented(regular, _thirds(mask), "0>1")
    made, whole = built.mesh, built.whole
    np.testing.assert_array_equal(made.vertices[made.cells], whole.vertices[whole.cells])
    assert len(np.unique(made.cells)) == len(made.vertices)
    np.testing.assert_array_equal(made.segment, whole.segment)


def test_no_connections_given_joins_all_that_touch(bar):
    mask, regular = bar
    built = segmented(regular, _thirds(mask))
    np.testing.assert_array_equal(built.mesh.cells, regular.mesh.cells)
    assert built.mesh.components().max() == 0


def test_connections_join_their_pair_and_no_other(bar):
    mask, regular = bar
    labels = _thirds(mask)
    met = borders(segmented(regular, labels).whole).shared()
    assert met.keys() == {(0, 1), (1, 2)}
    for text, parts, joined in [
        ("none", 3, {}),
        ("0>1", 2, {(0, 1)}),
        ("2>1", 2, {(1, 2)}),
        ("0>1, 1>2", 1, {(0, 1), (1, 2)}),
    ]:
        made = segmented(regular, labels, text).mesh
        assert made.components().max() + 1 == parts
        assert borders(made).shared() == {pair: met[pair] for pair in joined}
    np.testing.assert_array_equal(made.vertices[made.cells], regular.mesh.vertices[regular.mesh.cells])
    assert len(made.vertices) == len(regular.mesh.vertices)


def test_copies_are_merged_through_a_third_segment():
    """Where three segments meet, two connections make one vertex of three copies."""
    mask = _box((6, 6, 10), (26, 26, 22))
    labels = np.zeros(mask.shape, np.int32)
    labels[:, 16:, :] = 1
    labels[16:, 16:, :] = 2
    built = segmented(lattice(mask, APIX, CELLS), np.where(mask, labels, -1), "0>1, 0>2")
    whole = borders(built.whole)
    all_three = whole.touches.all(1).sum()
    assert all_three > 0
    assert borders(built.mesh).touches.all(1).sum() == all_three
    assert borders(built.mesh).shared()[(1, 2)] == all_three < whole.shared()[(1, 2)]


def test_segments_that_do_not_touch_cannot_be_joined(bar):
    mask, regular = bar
    with pytest.raises(InputError, match='Connection "0>2": segments 0 and 2 do not touch'):
        segmented(regular, _thirds(mask), "0>2")


def test_a_corner_or_an_edge_is_no_border():
    corner = lattice(_box((8, 8, 8), (24, 24, 24)), APIX, CELLS)
    centre = corner.mesh.vertices[corner.mesh.cells].mean(1)
    octant = np.where((centre > 0).all(1), 1, np.where((centre < 0).all(1), 0, 2)).astype(np.int32)
    with pytest.raises(InputError, match="have 1 mesh vertices in common"):
        split(replace(corner.mesh, segment=octant), [(0, 1)])
    edge = np.where((centre[:, :2] > 0).all(1), 1, np.where((centre[:, :2] < 0).all(1), 0, 2))
    with pytest.raises(InputError, match="along one line only"):
        split(replace(corner.mesh, segment=edge.astype(np.int32)), [(0, 1)])


def _free_motions(mesh):
    """Motions that cost no energy: the null space of the stiffness."""
    rest, cells = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.cells)
    inverse, volume = shape_gradients(rest, cells)
    energy = stiffness(cells, inverse, volume / volume.mean(), len(rest)).toarray()
    value = np.linalg.eigvalsh(energy)
    return int((value < 1e-7 * value[-1]).sum())


def test_a_free_segment_has_six_free_motions_of_its_own_and_a_joined_one_none():
    """Also where the border is flat, as that of half a box is: four coplanar vertices hold a segment."""
    mask = _box((10, 10, 8), (22, 22, 24))
    labels = np.where(np.arange(N) < 16, 0, 1)[None, None] * np.ones((N, N, 1), np.int32)
    regular = lattice(mask, APIX, 8)
    joined = segmented(regular, labels, "0>1")
    common = joined.whole.vertices[borders(joined.whole).between((0, 1))]
    assert np.ptp(common[:, 0]) == 0  # flat indeed
    assert _free_motions(joined.mesh) == 6
    assert _free_motions(segmented(regular, labels, "none").mesh) == 12


def test_elastic_modes_hold_the_free_motions_of_every_part(bar):
    mask, regular = bar
    made = segmented(regular, _thirds(mask), "none").mesh
    modes = elastic_modes(made, torch.ones(len(made.vertices)), 30)
    assert torch.isfinite(modes).all()
    modes = modes.numpy().reshape(len(modes), -1)
    for segment in range(3):
        for axis in range(3):
            slide = np.zeros((len(made.vertices), 3))
            slide[np.unique(made.cells[made.segment == segment]), axis] = 1
            left = slide.ravel() - modes.T @ np.linalg.lstsq(modes.T, slide.ravel(), rcond=None)[0]
            assert np.linalg.norm(left) < 1e-3 * np.linalg.norm(slide)


def test_voxels_find_the_same_cells_by_place_as_by_the_lattice(bar):
    mask, regular = bar
    made = segmented(regular, _thirds(mask), "none").mesh
    cell, weights = made.locate(voxel_positions(np.argwhere(mask), N, APIX))
    np.testing.assert_array_equal(cell, regular.cell_index[mask])
    assert weights.min() > -1e-4


def test_points_outside_a_split_mesh_follow_one_segment_rigidly(bar):
    """Beside a split border, too, a point moves with one side and not with a mixture of both."""
    mask, regular = bar
    made = segmented(regular, _thirds(mask), "none").mesh
    shift = np.zeros((len(made.vertices), 3))
    for segment in range(3):
        shift[np.unique(made.cells[made.segment == segment])] = (0, 10 * segment, 0)
    points = np.random.default_rng(0).uniform(-39, 39, (3000, 3))
    cell, weights = made.locate(points)
    moved = np.einsum("na,nac->nc", weights, shift[made.cells[cell]])
    np.testing.assert_allclose(moved[:, 1], 10 * made.segment[cell], atol=2e-3)
    assert np.abs(moved[:, [0, 2]]).max() < 2e-3


@pytest.mark.parametrize("connections", ["", "none"])
def test_segment_volumes_of_emd_1832_agree_with_its_labels(fixtures, connections):
    """Within one layer of voxels along every border, which is less than the lattice cell that is asked for."""
    density = read_map(fixtures / "map" / "emd_1832.map")
    read = read_segments(fixtures / "seg" / "emd_1832.seg", density)
    mask = read.labels >= 0
    built = segmented(lattice(mask, density.pixel_size, 20), read.labels, connections)
    found = np.where(mask, built.mesh.segment[built.cell_index], -1)
    assert set(np.unique(found[mask])) == {85, 93, 97, 101, 103, 104}
    for segment in read.ids:
        own = built.labels == segment
        faces = sum(
            int((np.roll(own, step, axis) & mask & ~own).sum()) for axis in range(3) for step in (1, -1)
        )
        assert abs(int((found == segment).sum()) - int(own.sum())) <= faces
        assert (found[own] == segment).mean() > 0.9
