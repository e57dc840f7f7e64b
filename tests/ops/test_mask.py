import numpy as np
from numpy.testing import assert_allclose

from napari_flex3d.ops.mask import automatic_mask, radius_of


def ball(n, radius, centre=(0, 0, 0)):
    axis = np.arange(n) - n // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 <= radius**2).astype(
        np.float32
    )


def test_the_largest_piece_is_masked_with_its_margin_and_nothing_else():
    density = ball(48, 9) + ball(48, 2, (18, 0, 0)) + np.random.default_rng(0).normal(0, 0.02, (48,) * 3)
    mask = automatic_mask(
        density.astype(np.float32), 2.0, lowpass=10.0, threshold="auto", dilate=4.0, pad=6.0
    )
    assert mask[ball(48, 9) > 0].min() == 1
    assert mask[:, :, 24 + 17 :].max() == 0
    assert 18 + 4 - 2 <= radius_of(mask, 2.0) <= 18 + 4 + 3 + 4  # ball, margin, half the edge, blur
    assert ((mask > 0) & (mask < 1)).any()


def test_radius_is_measured_from_the_box_centre():
    assert_allclose(radius_of(ball(32, 3, (10, 0, 0)), 1.5), 13 * 1.5)


def test_no_density_gives_an_empty_mask():
    empty = automatic_mask(
        np.zeros((16,) * 3, np.float32), 2.0, lowpass=10.0, threshold=0.5, dilate=2.0, pad=5.0
    )
    assert empty.max() == 0
