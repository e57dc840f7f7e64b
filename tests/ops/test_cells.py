import numpy as np

from napari_flex3d.mesh.regular import regular_mesh
from napari_flex3d.ops.cells import FARTHEST, barycentric, walk


def meshed(mask):
    mesh, _ = regular_mesh(mask, 2.0, 8)
    return mesh, (*mesh._corner_and_inverse, mesh._across)


def inside(mesh, cells: np.ndarray, random) -> np.ndarray:
    weights = random.dirichlet(np.ones(4), len(cells))
    return np.einsum("na,nac->nc", weights, mesh.vertices[mesh.cells[cells]]).astype(float)


def test_a_walk_ends_in_the_cell_that_the_point_is_in_wherever_it_begins():
    mask = np.zeros((24, 24, 24), bool)
    mask[4:20, 4:20, 4:20] = True
    mesh, shape = meshed(mask)
    random = np.random.default_rng(0)
    cells = random.integers(0, len(mesh.cells), 3000)
    points = inside(mesh, cells, random)
    found = walk(points, *shape)
    arrived = found >= 0
    assert arrived.mean() > 0.7  # others cut through a dent of the border
    np.testing.assert_array_equal(found[arrived], cells[arrived])
    weights = barycentric(points, cells, *shape[:2])
    np.testing.assert_allclose(
        np.einsum("na,nac->nc", weights, mesh.vertices[mesh.cells[cells]]), points, atol=1e-3
    )


def test_who_walks_out_of_the_mesh_is_not_said_to_be_anywhere():
    mask = np.zeros((24, 24, 24), bool)
    mask[2:8, 4:20, 4:20] = mask[16:22, 4:20, 4:20] = True  # two slabs
    mesh, shape = meshed(mask)
    slab = mesh.components()
    one, other = (int(np.flatnonzero(slab == part)[0]) for part in (0, 1))
    points = inside(mesh, np.array([one, other]), np.random.default_rng(1))
    assert set(walk(points, *shape).tolist()) <= {one, other, -1}
    np.testing.assert_array_equal(mesh.locate(points)[0], [one, other])  # though no walk leads across the gap
    assert (walk(points + 1000, *shape) == -1).all()


def test_cells_across_a_face_know_each_other():
    mesh, (_, _, across) = meshed(np.ones((16, 16, 16), bool))
    cell, corner = np.nonzero(across >= 0)
    assert len(cell) == 2 * len(mesh.neighbours())
    for at, k in zip(cell[::17], corner[::17], strict=True):
        shared = set(mesh.cells[at]) - {mesh.cells[at, k]}
        assert shared <= set(mesh.cells[across[at, k]])
    assert across.shape[0] > FARTHEST  # the walks above were not cut short by luck
