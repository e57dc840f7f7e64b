import numpy as np
import torch

from napari_flex3d.ops.surfaces import interpolate, vertex_normals


def test_points_follow_the_vertices_of_their_cells():
    random = np.random.default_rng(0)
    corners = random.integers(0, 30, (400, 4))
    weights = random.random((400, 4))
    of_vertices = random.normal(size=(30, 3))
    expected = np.einsum("na,nac->nc", weights, of_vertices[corners])
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found = interpolate(of_vertices, corners, weights)
        torch.set_num_threads(before)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_normals_of_a_closed_surface_point_outwards_and_sum_to_nothing():
    corners = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    faces = []
    for x in (0, 1):
        for y in (2, 3):
            for z in (4, 5):
                a, b, c = corners[[x, y, z]]
                faces.append((x, y, z) if np.linalg.det([a, b, c]) > 0 else (x, z, y))
    normals = vertex_normals(corners, np.array(faces))
    np.testing.assert_allclose(normals, 4 * corners)  # of each of four faces, twice the area along an axis
    np.testing.assert_allclose(normals.sum(0), 0, atol=1e-6)
