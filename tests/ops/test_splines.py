"""The spline's inverse: along all axes, up to the border, in any part of a grid."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d

from napari_flex3d.ops.splines import sharpen


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (9, 17, 33), (50, 4, 71)])
def test_sharpening_is_undone_by_the_samples_of_the_spline(shape):
    given = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = given.copy()
    sharpen(found, np.zeros(3, int), np.array(shape))
    found = found.astype(float)
    for axis in range(3):
        found = convolve1d(found, np.array([1, 4, 1]) / 6, axis=axis, mode="constant")
    np.testing.assert_allclose(found, given, atol=1e-5)


def test_a_part_of_a_grid_reaches_16_voxels_beyond_it():
    part, whole = np.zeros((2, 60, 60, 60), np.float32)
    part[25:30, 30:33, 20:40] = whole[25:30, 30:33, 20:40] = 1
    sharpen(part, np.array([25, 30, 20]), np.array([30, 33, 40]))
    sharpen(whole, np.zeros(3, int), np.array(whole.shape))
    np.testing.assert_allclose(part, whole, atol=1e-7)
    for beyond in (part[:9], part[:, :14], part[:, :, 56:]):
        assert not beyond.any()


def test_nothing_stays_nothing():
    grid = np.zeros((8, 8, 8), np.float32)
    sharpen(grid, np.full(3, 8), np.zeros(3, int))
    assert not grid.any()
