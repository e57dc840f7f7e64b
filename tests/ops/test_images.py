import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_flex3d.ops.fourier import rfft2
from napari_flex3d.ops.images import crop, noise_power, normalise, outside_circle, resample_noise, shrink


@pytest.fixture
def noise():
    return torch.randn(200, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_circle_goes_with_the_particle():
    shift = torch.tensor([[5.0, -3.0]])
    inside = 1 - outside_circle(32, 6.0, shift)[0]
    y, x = np.nonzero(inside.numpy())
    assert (x.mean(), y.mean()) == (16 - 5, 16 + 3)
    assert_allclose(inside.sum(), np.pi * 36, rtol=0.05)


def test_norm_is_taken_around_the_particle_only(noise):
    outside = outside_circle(32, 10.0, torch.zeros(200, 2))
    images = 7 * noise + 300 + 1000 * (1 - outside)
    around = normalise(images, outside)[outside > 0]
    assert_allclose([around.mean(), around.std()], [0, 1], atol=1e-3)


def test_cropping_keeps_the_centre_where_shifts_count_from():
    image = torch.zeros(32, 32)
    image[16, 16] = 1
    assert crop(image, 20)[10, 10] == 1


def test_white_noise_keeps_its_deviation_when_shrunk(noise):
    nyquist_rows_are_left_out = 15 / 16
    assert_allclose(shrink(noise, 16).std(), nyquist_rows_are_left_out, atol=0.01)


def test_noise_power_of_white_noise_is_the_number_of_pixels(noise):
    power = noise_power(noise, outside_circle(32, 8.0, torch.zeros(200, 2), edge=4.0)).mean(0)
    assert_allclose(power / 32**2, 1, atol=0.08)


def test_the_particle_does_not_count_as_noise(noise):
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(32) - 16, indexing="ij")
    particle = 20 * torch.exp(-(x**2 + y**2) / 8)
    outside = outside_circle(32, 8.0, torch.zeros(200, 2), edge=4.0)
    assert_allclose(noise_power(noise + particle, outside).mean(0) / 32**2, 1, atol=0.1)


def test_noise_spectrum_follows_crop_and_shrink():
    random = torch.Generator().manual_seed(1)
    frequency = torch.hypot(torch.fft.fftfreq(48)[:, None], torch.fft.rfftfreq(48)[None])
    spectrum = 1 / (1 + (frequency * 10) ** 2)
    white = torch.fft.rfft2(torch.randn(400, 48, 48, generator=random))
    coloured = torch.fft.irfft2(white * spectrum.sqrt(), s=(48, 48))
    everywhere = torch.ones(400, 48, 48)
    predicted = resample_noise(noise_power(coloured, everywhere).mean(0), 48, 32, 20)
    small = shrink(crop(coloured, 32), 20)
    measured = noise_power(small, torch.ones(400, 20, 20)).mean(0)
    assert_allclose(predicted[2:9], measured[2:9], rtol=0.1)
    assert_allclose(rfft2(small).abs().square().mean(0)[0, 5], measured[5], rtol=0.25)
