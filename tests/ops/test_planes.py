import numpy as np
import pytest
from matplotlib.path import Path

from napari_flex3d.ops.planes import binned, count_near, inside_polygon

RANDOM = np.random.default_rng(2)
POINTS = RANDOM.normal(size=(5000, 2)).astype(np.float32)


def test_counts_and_sums_are_those_of_numpy():
    low, high = np.array([-1.0, -1.5]), np.array([1.0, 1.0])
    values = RANDOM.normal(size=len(POINTS)).astype(np.float32)
    given = {"bins": 32, "range": [(-1, 1), (-1.5, 1)]}
    expected, _, _ = np.histogram2d(*POINTS.T.astype(float), **given)
    np.testing.assert_array_equal(binned(POINTS, low, high, 32), expected)
    summed, _, _ = np.histogram2d(*POINTS.T.astype(float), weights=values, **given)
    np.testing.assert_allclose(binned(POINTS, low, high, 32, values), summed, atol=1e-6)


def test_points_without_a_value_are_left_out():
    values = np.where(POINTS[:, 0] > 0, np.nan, 1).astype(np.float32)
    total = binned(POINTS, np.array([-9.0, -9.0]), np.array([9.0, 9.0]), 8, values)
    assert total.sum() == (POINTS[:, 0] <= 0).sum()


@pytest.mark.parametrize("corners", [3, 4, 60, 2000])
def test_an_outline_encloses_what_matplotlib_says(corners):
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = RANDOM.uniform(0.3, 1.8, size=corners)
    outline = np.stack([0.2 + radius * np.cos(angle), radius * np.sin(angle) - 0.1], 1)
    np.testing.assert_array_equal(inside_polygon(POINTS, outline), Path(outline).contains_points(POINTS))


def test_a_box_and_an_outline_that_crosses_itself():
    box = np.array([[-0.5, -1.0], [1.0, -1.0], [1.0, 0.25], [-0.5, 0.25]])
    x, y = POINTS.T
    np.testing.assert_array_equal(inside_polygon(POINTS, box), (x > -0.5) & (x < 1) & (y > -1) & (y < 0.25))
    bow = np.array([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])  # two triangles that meet at 0, 0
    np.testing.assert_array_equal(inside_polygon(POINTS, bow), (np.abs(y) < np.abs(x)) & (np.abs(x) < 1))
    assert not inside_polygon(POINTS, box[:2]).any()


def test_points_near_a_place_are_counted_in_units_of_the_spread():
    place, spread = np.array([0.3, -0.2]), np.array([0.5, 2.0])
    distance = np.sqrt(np.square((POINTS - place) / spread).mean(1))
    assert count_near(POINTS, place, spread, 0.35) == (distance < 0.35).sum()
