import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_flex3d.ops.aberrations import beam_tilt_phase, zernike_phase
from napari_flex3d.ops.ctf import ctf, wavelength


def value(
    index, *, box=256, pixel=1.0, u=15000.0, v=15000.0, angle=0.0, q=0.1, plate=0.0, bfactor=0.0, scale=1.0
):
    frequency = torch.tensor(index, dtype=torch.float64) / (box * pixel)
    numbers = (u, v, np.radians(angle), 300.0, 2.7, q, np.radians(plate), bfactor, scale)
    return ctf(frequency, *(torch.tensor([number], dtype=torch.float64) for number in numbers)).item()


@pytest.mark.parametrize(
    ("volts", "angstrom"), [(300, 0.0196876), (200, 0.0250795), (120, 0.0334923), (100, 0.0370146)]
)
def test_wavelength_of_the_electron(volts, angstrom):
    assert_allclose(wavelength(torch.tensor(float(volts), dtype=torch.float64)), angstrom, atol=5e-8)


@pytest.mark.parametrize(
    ("index", "arguments", "expected"),
    [
        ((0, 0), {}, 0.1),
        ((10, 0), {}, 0.9984470631),
        ((20, 0), {}, -0.5076844729),
        ((64, 0), {}, 0.2687470544),
        ((0, 0), {"plate": 90.0}, 0.9949874371),
        ((20, 0), {"plate": 90.0}, 0.8615430784),
        ((30, 0), {"u": 16000.0, "angle": 30.0}, 0.7516791786),
        ((0, 30), {"u": 16000.0, "angle": 30.0}, 0.4131505377),
        ((30, 30), {"u": 16000.0, "angle": 30.0}, 0.9761000444),
        ((30, -30), {"u": 16000.0, "angle": 30.0}, 0.3133177995),
    ],
)
def test_relions_numbers(index, arguments, expected):
    assert_allclose(value(index, **arguments), expected, atol=2e-9)


@pytest.mark.parametrize(
    ("index", "expected"), [((20, 0), 0.7952897825), ((40, 0), 0.6937215434), ((0, 40), 0.8302835083)]
)
def test_a_real_particle_of_empiar_10076(index, expected):
    optics = {"box": 320, "pixel": 1.31, "u": 15301.1, "v": 14916.4, "angle": 5.28, "q": 0.07}
    assert_allclose(value(index, **optics), expected, atol=2e-9)


def test_the_two_axes_may_come_in_either_order():
    one = value((30, 10), u=16000.0, v=15000.0, angle=30.0)
    assert_allclose(value((30, 10), u=15000.0, v=16000.0, angle=120.0), one, atol=1e-12)


def test_envelope_and_scale_multiply():
    plain, s2 = value((20, 0)), (20 / 256) ** 2
    assert_allclose(value((20, 0), bfactor=50.0, scale=0.5), plain * 0.5 * np.exp(-50 * s2 / 4), rtol=1e-12)


def test_beam_tilt_has_relions_sign_in_closed_form_and_as_zernike_terms():
    k = torch.tensor([[0.2, 0.1]], dtype=torch.float64)
    assert_allclose(beam_tilt_phase(k, (0.3, -0.2), 300.0, 2.7), [-0.131510], atol=1e-6)
    lam = wavelength(torch.tensor(300.0, dtype=torch.float64)).item()
    factor = -2 * np.pi * 2.7e7 * lam**2 * 1e-3
    # k²(k.tilt) in the basis: Z(1,3) = (3k³ - 2k) cos, so k³ cos = Z(1,3)/3 + 2/3 Z(1,1)
    x, y = factor * 0.3, factor * -0.2
    terms = [2 / 3 * y, 2 / 3 * x, 0.0, y / 3, x / 3, 0.0]
    assert_allclose(zernike_phase(k, terms, odd=True), [-0.131510], atol=1e-6)


def test_even_terms_in_relions_order():
    k = torch.tensor([[0.3, 0.4]], dtype=torch.float64)  # radius 0.5
    angle = np.arctan2(0.4, 0.3)
    basis = [1, 0.25 * np.sin(2 * angle), 2 * 0.25 - 1, 0.25 * np.cos(2 * angle)]
    for place, expected in enumerate(basis):
        coefficients = [0.0] * 4
        coefficients[place] = 1.0
        assert_allclose(zernike_phase(k, coefficients, odd=False), [expected], atol=1e-12)
