"""B-factors of maps with a known one."""

import math

import pytest
import torch

from napari_flex3d.ops.fourier import irfft3, radii, rfft3
from napari_flex3d.ops.sharpening import guinier_bfactor, sharpen

BOX, PIXEL = 48, 1.5


def falling(bfactor):
    noise = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    return noise, irfft3(rfft3(noise) * torch.exp(-bfactor / 4 * (radii(BOX, 3) / PIXEL).square()))


@pytest.mark.parametrize("bfactor", [20.0, 80.0])
def test_the_fall_off_is_found(bfactor):
    _, volume = falling(bfactor)
    assert guinier_bfactor(volume, PIXEL, finest=3.5) == pytest.approx(-bfactor, abs=3)


def test_too_few_shells_give_no_number():
    assert math.isnan(guinier_bfactor(falling(20.0)[1], PIXEL, finest=9.0))


def test_sharpening_undoes_it_up_to_the_resolution():
    white, volume = falling(60.0)
    back = sharpen(volume, PIXEL, -60.0, torch.ones(BOX // 2 + 1), 4.0)
    inside = radii(BOX, 3) / PIXEL < 0.9 / 4.0
    torch.testing.assert_close(rfft3(back)[inside], rfft3(white)[inside], rtol=1e-3, atol=0.1)
    assert float(rfft3(back)[radii(BOX, 3) / PIXEL > 1.15 / 4.0].abs().max()) < 1e-2


def test_shells_that_do_not_agree_are_left_out():
    curve = torch.ones(BOX // 2 + 1)
    curve[10:] = -0.05
    back = sharpen(falling(0.0)[0], PIXEL, 0.0, curve, 3.0)
    assert float(rfft3(back)[(radii(BOX, 3) * BOX).round() >= 10].abs().max()) < 1e-2
