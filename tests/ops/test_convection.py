"""Convection: nothing is lost, nothing is blurred, and what stays is what it was."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.ndimage import convolve1d

from napari_flex3d.ops.convection import CarriedVoxels, convect

BOX, PIXEL = 20, 1.7


def voxels(box=BOX, pixel=PIXEL):
    z, y, x = torch.meshgrid(*[torch.arange(box) - box // 2] * 3, indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3) * pixel


@pytest.fixture
def density():
    return torch.randn((BOX,) * 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("box", [20, 21])
def test_identity_gives_the_map_back_up_to_the_border(order, box):
    density = torch.randn((box,) * 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(convect(density.flatten(), voxels(box), box, PIXEL, order), density, atol=3e-5)


@pytest.mark.parametrize("order", [1, 3])
def test_whole_voxel_shifts_are_exact_and_axes_are_x_y_z(density, order):
    shift = torch.tensor([2.0, -3.0, 1.0])
    moved = convect(density.flatten(), voxels() + shift * PIXEL, BOX, PIXEL, order)
    assert torch.allclose(moved[1:, :-3, 2:], density[:-1, 3:, :-2], atol=3e-5)
    assert moved[0].abs().max() < 3e-5
    assert moved[:, -3:].abs().max() < 3e-5


@pytest.mark.parametrize("order", [1, 3])
def test_mass_is_conserved_under_any_flow(order):
    generator = torch.Generator().manual_seed(2)
    values = torch.rand(3000, generator=generator)
    positions = (torch.rand((3000, 3), generator=generator) - 0.5) * 8 * PIXEL
    grid = convect(values, positions, 32, PIXEL, order)
    assert float(grid.double().sum() / values.double().sum()) == pytest.approx(1, abs=1e-5)
    axis = (torch.arange(32.0) - 16) * PIXEL
    for dim, drop in ((0, (0, 1)), (1, (0, 2)), (2, (1, 2))):  # x, y, z and the axes to sum over
        centre = (grid.sum(drop) * axis).sum() / grid.sum()
        assert float(centre) == pytest.approx(
            float((values * positions[:, dim]).sum() / values.sum()), abs=1e-3
        )


@pytest.mark.parametrize("order", [1, 3])
def test_what_leaves_the_box_is_dropped(order):
    limit = BOX / 2 * PIXEL
    far = [
        [torch.nan, 0, 0],
        [0, 0, 3 * limit],
        [-9 * limit, 0, 0],
        [0, 1e9, 0],
        [torch.inf, 0, 0],
        [0, 0, 0],
    ]
    grid = convect(torch.ones(6), torch.tensor(far), BOX, PIXEL, order)
    assert float(grid.sum()) == pytest.approx(1, abs=1e-5)
    edge = torch.linspace(-1.2, 1.2, 4001)[:, None] * limit * torch.ones(3)
    assert torch.isfinite(convect(torch.ones(4001), edge, BOX, PIXEL, order)).all()


def test_tricubic_is_sharper_than_trilinear_and_close_to_the_true_shift():
    axis = torch.arange(32.0) - 16
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")

    def blob(dx, dy, dz):
        return torch.exp(-((x - dx) ** 2 + (y - dy) ** 2 + (z - dz) ** 2) / (2 * 1.5**2))

    moved = voxels(32, 1.0) + torch.tensor([0.5, 0.4, -0.3])
    true = blob(0.5, 0.4, -0.3)
    errors = {
        o: float((convect(blob(0, 0, 0).flatten(), moved, 32, 1.0, o) - true).norm() / true.norm())
        for o in (1, 3)
    }
    assert errors[3] < 0.01
    assert errors[1] > 5 * errors[3]


def test_linear_in_the_values(density):
    positions = voxels() * 1.03 + 0.4
    twice = convect(2 * density.flatten(), positions, BOX, PIXEL)
    assert torch.allclose(twice, 2 * convect(density.flatten(), positions, BOX, PIXEL), atol=1e-5)


@pytest.mark.parametrize("order", [1, 3])
def test_the_result_does_not_depend_on_the_number_of_threads(density, order):
    positions = voxels() + torch.randn((BOX**3, 3), generator=torch.Generator().manual_seed(3))
    before = torch.get_num_threads()
    grids = []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            grids.append(convect(density.flatten(), positions, BOX, PIXEL, order).numpy())
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(grids[0], grids[1])
    assert np.array_equal(grids[0], grids[2])


def test_tricubic_samples_are_those_of_the_spline_that_carries_the_masses():
    """Also far outside, where the spline's inverse is no longer carried on."""
    random = np.random.default_rng(4)
    values, positions = random.normal(size=200), random.normal(size=(200, 3)) * 2
    found = convect(torch.from_numpy(values), torch.from_numpy(positions), 64, 1.0).numpy().astype(float)
    for axis in range(3):
        found = convolve1d(found, np.array([1, 4, 1]) / 6, axis=axis, mode="constant")
    spline = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)
    x, y, z = (np.nan_to_num(spline(np.arange(64)[:, None] - 32 - p)) for p in positions.T)
    exact = np.einsum("n,zn,yn,xn->zyx", values, z, y, x)
    assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.fixture
def carried(density):
    """A mask of one cell, some of it outside the cell, and what the mesh's corners do."""
    mask = np.random.default_rng(5).random((BOX,) * 3) < 0.6
    vertices = np.array([[-30, -30, -30], [40, 0, 0], [0, 40, 0], [0, 0, 40]], float)
    points = voxels().numpy()[mask.reshape(-1)]
    inner = np.linalg.solve((vertices[1:] - vertices[0]).T, (points - vertices[0]).T).T
    weights = np.concatenate([1 - inner.sum(1, keepdims=True), inner], 1)
    cells, cell = np.array([[0, 1, 2, 3]]), np.zeros(len(points), int)
    made = CarriedVoxels.of(mask, PIXEL, vertices, cells, cell, weights)
    return made, mask, points, weights, np.random.default_rng(6).normal(size=(4, 3)) * 5


@pytest.mark.parametrize("order", [1, 3])
def test_voxels_of_a_mesh_go_where_its_corners_take_them(density, carried, order):
    made, mask, points, weights, displacements = carried
    moved = torch.from_numpy(points + weights @ displacements)
    expected = convect(density[torch.from_numpy(mask)], moved, BOX, PIXEL, order).numpy()
    np.testing.assert_allclose(made.pushed(density.numpy(), displacements, order), expected, atol=3e-5)


@pytest.mark.parametrize("order", [1, 3])
def test_voxels_of_a_mesh_come_out_the_same_on_any_number_of_threads(density, carried, order):
    before = torch.get_num_threads()
    grids = []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            grids.append(carried[0].pushed(density.numpy(), carried[4], order))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(grids[0], grids[1])
    assert np.array_equal(grids[0], grids[2])


@pytest.mark.parametrize("order", [1, 3])
def test_nothing_is_left_of_what_is_nowhere(order):
    assert float(convect(torch.ones(3), torch.full((3, 3), torch.nan), 8, 1.0, order).abs().max()) == 0


@pytest.mark.parametrize("order", [1, 3])
def test_no_voxels_make_an_empty_map(order):
    grid = convect(torch.ones(0), torch.zeros(0, 3), 8, 1.0, order)
    assert float(grid.abs().max()) == 0


def test_other_orders_are_refused():
    with pytest.raises(ValueError, match="order = 2: must be 1"):
        convect(torch.ones(1), torch.zeros(1, 3), 8, 1.0, 2)
