import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_flex3d.ops import fourier


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def test_a_point_at_the_centre_has_a_flat_transform():
    image = torch.zeros(8, 8)
    image[4, 4] = 1
    assert_allclose(fourier.rfft2(image), np.ones((8, 5)), atol=1e-6)


@pytest.mark.parametrize("n", [8, 12])
def test_transforms_undo_each_other(n, random):
    image, volume = torch.randn(3, n, n, generator=random), torch.randn(n, n, n, generator=random)
    assert_allclose(fourier.irfft2(fourier.rfft2(image)), image, atol=1e-5)
    assert_allclose(fourier.irfft3(fourier.rfft3(volume)), volume, atol=1e-5)


def test_a_stored_shift_says_where_the_particle_is_not_where_it_goes():
    image = torch.zeros(16, 16)
    image[8, 8] = 1
    phase = fourier.shift_phase(fourier.frequencies(16), torch.tensor([6.0, -3.0]))
    moved = fourier.irfft2(fourier.rfft2(image) * phase)
    assert divmod(int(moved.argmax()), 16) == (8 + 3, 8 - 6)  # y, x: 6 px left, 3 px down


def test_power_is_kept(random):
    image = torch.randn(10, 10, generator=random)
    power = fourier.rfft2(image).abs().square() * fourier.multiplicity(10)
    assert_allclose(power.sum() / 100, image.square().sum(), rtol=1e-5)


@pytest.mark.parametrize(("n", "box"), [(16, 10), (10, 16), (16, 16)])
def test_resampling_keeps_a_smooth_image(n, box):
    def wave(size):
        axis = (torch.arange(size) - size // 2) / size
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return 2 + torch.cos(2 * torch.pi * (2 * x + y)) + torch.sin(2 * torch.pi * (x - 3 * y))

    assert_allclose(fourier.resample2(wave(n), box), wave(box), atol=1e-5)


def test_resampling_keeps_a_smooth_volume():
    def wave(size):
        axis = (torch.arange(size) - size // 2) / size
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        return 1 + torch.cos(2 * torch.pi * (x + y - 2 * z)) + torch.sin(2 * torch.pi * z)

    assert_allclose(fourier.resample3(wave(14), 8), wave(8), atol=1e-5)


def test_low_pass_keeps_what_is_slow_and_takes_what_is_fast():
    axis = torch.arange(16) / 16
    z, _, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    slow, fast = torch.cos(2 * torch.pi * x), torch.cos(2 * torch.pi * 6 * z)
    assert_allclose(fourier.low_pass(slow + fast, 0.2), slow, atol=1e-5)


def test_shell_mean_counts_mirror_coefficients():
    n = 8
    ky, kx = np.meshgrid(np.fft.fftfreq(n) * n, np.fft.fftfreq(n) * n, indexing="ij")
    full = np.random.default_rng(1).normal(size=(n, n))
    full = (full + np.roll(full[::-1, ::-1], 1, (0, 1))) / 2  # a power spectrum: equal at k and -k
    shell = np.hypot(kx, ky).round().astype(int)
    expected = [full[shell == s].mean() for s in range(n // 2 + 1)]
    assert_allclose(
        fourier.shell_mean(torch.from_numpy(full[:, : n // 2 + 1].astype("f4")), n), expected, atol=1e-6
    )
