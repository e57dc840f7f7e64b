"""Spreading into a 3-D grid and gathering from it."""

import numpy as np
import torch

from napari_flex3d.ops.gridding import gather3, spread3
from napari_flex3d.ops.projection import rigid_body

GRID = 16


def body_and_vertices(count=200, seed=0):
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-9, 9, (count, 3))).float()
    body = rigid_body(points)
    return body, body.vertices, points


def test_gather_is_the_adjoint_of_spread():
    body, vertices, points = body_and_vertices()
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(len(points), generator=generator)
    field = torch.randn(GRID, GRID, GRID, generator=generator)
    forward = float((spread3(values, vertices, body, GRID).double() * field).sum())
    backward = float((values.double() * gather3(field, vertices, body)).sum())
    np.testing.assert_allclose(forward, backward, rtol=1e-5)


def test_the_sum_is_kept_also_beyond_the_border():
    body, vertices, points = body_and_vertices()
    values = torch.rand(len(points))
    total = float(spread3(values, vertices, body, GRID).double().sum())
    np.testing.assert_allclose(total, float(values.sum()), rtol=1e-5)


def test_the_transform_of_a_grid_is_that_of_the_points():
    """Low frequencies of the spread grid over the spline's transform, against the direct sum."""
    body, vertices, points = body_and_vertices(50)
    values = torch.rand(len(points))
    transform = torch.fft.fftn(spread3(values, vertices, body, GRID).double())
    for k in ((0, 0, 1), (1, -2, 0), (2, 1, -1)):
        phase = points.double() @ torch.tensor(k, dtype=torch.float64) * (2 * np.pi / GRID)  # k is x y z
        direct = (values.double()[body.order] * torch.exp(-1j * phase[body.order])).sum()
        spline = np.prod([np.sinc(f / GRID) ** 4 for f in k])
        np.testing.assert_allclose(complex(transform[k[2], k[1], k[0]]) / spline, complex(direct), rtol=2e-2)


def test_a_field_is_gathered_where_the_points_are():
    """Cubic B-splines reproduce a linear function, away from the border."""
    body, vertices, points = body_and_vertices()
    vertices = vertices / 3 + GRID / 2
    z, y, x = torch.meshgrid(*[torch.arange(float(GRID))] * 3, indexing="ij")
    found = gather3(x + 2 * y - z, vertices, body)
    at = (points / 3 + GRID / 2)[body.order]
    torch.testing.assert_close(found, at[:, 0] + 2 * at[:, 1] - at[:, 2], rtol=0, atol=1e-4)
