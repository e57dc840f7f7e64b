import numpy as np
import pytest
import torch

from napari_flex3d.mesh import TetMesh, regular_mesh, rigidity_weights, voxel_positions


@pytest.fixture(scope="module")
def ball():
    axis = np.arange(32) - 16
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return x**2 + (y / 1.2) ** 2 + z**2 < 10**2


@pytest.fixture(scope="module")
def built(ball):
    return regular_mesh(ball, 2.5, 10)


def test_every_mask_voxel_lies_in_its_cell(ball, built):
    mesh, cell_index = built
    assert ((cell_index >= 0) == ball).all()
    points = voxel_positions(np.argwhere(ball), 32, 2.5)
    corner, inverse = mesh._corner_and_inverse
    cell = cell_index[ball]
    inner = np.einsum("nij,nj->ni", inverse[cell], points - corner[cell])
    assert inner.min() > -1e-6
    assert inner.sum(1).max() < 1 + 1e-6


def test_cells_are_sixths_of_the_lattice_cubes(built):
    mesh, _ = built
    np.testing.assert_allclose(mesh.volumes(), (32 * 2.5 / 10) ** 3 / 6, rtol=1e-5)
    assert mesh.components().max() == 0


def test_a_crumb_that_touches_in_a_corner_only_is_left_out(ball):
    mask = ball.copy()
    mask[2:4, 2:4, 2:4] = True  # eight voxels of several thousand, far off
    mesh, cell_index = regular_mesh(mask, 2.5, 10)
    assert mesh.components().max() == 0
    assert ((cell_index >= 0) == mask).all()
    assert not (mesh.vertices < -25).all(1).any()


def test_two_bodies_are_two_parts(ball):
    mask = np.zeros((32, 32, 32), bool)
    mask[4:12, 8:24, 8:24] = mask[20:28, 8:24, 8:24] = True
    mesh, _ = regular_mesh(mask, 2.5, 16)
    assert mesh.components().max() == 1


def test_locate_is_exact_anywhere_in_the_mesh(built):
    mesh, _ = built
    random = np.random.default_rng(0)
    cell = random.integers(0, len(mesh.cells), 2000)
    weights = random.dirichlet(np.ones(4), 2000)
    points = np.einsum("na,nac->nc", weights, mesh.vertices[mesh.cells[cell]])
    _, found = mesh.locate(points)
    assert found.min() > -1e-4
    cells, weights = mesh.locate(points)
    np.testing.assert_allclose(
        np.einsum("na,nac->nc", weights, mesh.vertices[mesh.cells[cells]]), points, atol=1e-3
    )


def test_affine_motion_is_reproduced_also_outside_the_mesh(built):
    mesh, _ = built
    matrix, shift = np.array([[1.1, 0.2, 0], [0, 0.9, 0.1], [0.05, 0, 1]]), np.array([1.0, -2, 3])
    points = np.random.default_rng(1).uniform(-38, 38, (500, 3))
    cell, weights = mesh.locate(points)
    moved = np.einsum("na,nac->nc", weights, (mesh.vertices @ matrix.T + shift)[mesh.cells[cell]])
    np.testing.assert_allclose(moved, points @ matrix.T + shift, atol=1e-3)


def test_bind_keeps_every_point_and_sorts_by_cell(built):
    mesh, _ = built
    points = np.random.default_rng(2).uniform(-15, 15, (300, 3))
    body = mesh.bind(points)
    assert sorted(body.order.tolist()) == list(range(300))
    counts = body.offsets[1:] - body.offsets[:-1]
    corners = body.vertices[body.cells.long()[torch.repeat_interleave(torch.arange(len(counts)), counts)]]
    at = torch.einsum("na,nac->nc", body.weights, corners)
    np.testing.assert_allclose(at.numpy(), points[body.order.numpy()], atol=1e-3)


def test_boundary_is_closed(built):
    mesh, _ = built
    faces = mesh.boundary_faces()
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count % 2 == 0).all()


def test_rigidity_falls_with_the_density(ball, built):
    mesh, cell_index = built
    density = np.where(np.arange(32)[:, None, None] > 16, 1.0, 0.0) * np.ones((32, 32, 32))
    weights = rigidity_weights(density, cell_index, len(mesh.cells), 0.5, False)
    centre = mesh.vertices[mesh.cells].mean(1)[:, 2]
    assert np.allclose(weights[centre > 8], 1)
    assert np.allclose(weights[centre < -8], 0.5)


def test_save_and_load(built, tmp_path):
    mesh, _ = built
    mesh.save(tmp_path / "mesh.npz", version=1)
    again = TetMesh.load(tmp_path / "mesh.npz")
    for name in ("vertices", "cells", "rigidity", "segment"):
        np.testing.assert_array_equal(getattr(again, name), getattr(mesh, name))
