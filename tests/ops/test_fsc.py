"""Fourier shell correlation: known answers, and no credit for the mask."""

import numpy as np
import pytest
import torch

from napari_flex3d.ops import fourier
from napari_flex3d.ops.fsc import corrected_fsc, fsc, local_resolution, randomise_phases, resolution

BOX = 48


def noise(seed, box=BOX):
    return torch.randn((box,) * 3, generator=torch.Generator().manual_seed(seed))


def radius(box=BOX):
    axis = torch.arange(float(box)) - box // 2
    return (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()


@pytest.mark.parametrize("box", [32, 33])
def test_a_map_agrees_with_itself_and_not_with_another(box):
    curve = fsc(noise(0, box), 3 * noise(0, box))
    assert curve.shape == (box // 2 + 1,)
    assert torch.allclose(curve, torch.ones(box // 2 + 1), atol=1e-6)
    assert torch.allclose(fsc(noise(0, box), -noise(0, box)), -torch.ones(box // 2 + 1), atol=1e-6)
    assert fsc(noise(0, box), noise(1, box))[5:].abs().max() < 0.2
    assert fsc(noise(0, box), 0 * noise(0, box)).abs().max() == 0


def test_it_is_the_sum_over_the_whole_sphere():
    first, second = noise(0, 12).double().numpy(), noise(1, 12).double().numpy()
    full = [np.fft.fftn(m) for m in (first, second)]
    k = np.fft.fftfreq(12) * 12
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2))
    expected = [
        (full[0] * full[1].conj())[shell == s].sum().real
        / np.sqrt((abs(full[0]) ** 2)[shell == s].sum() * (abs(full[1]) ** 2)[shell == s].sum())
        for s in range(7)
    ]
    assert np.allclose(fsc(torch.from_numpy(first), torch.from_numpy(second)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("snr", [0.25, 1.0, 4.0])
def test_white_noise_of_known_strength_gives_the_analytic_curve(snr):
    halves = [noise(0) * snr**0.5 + noise(seed) for seed in (1, 2)]
    shells = torch.arange(BOX // 2 + 1)
    expected = snr / (1 + snr)
    spread = (1 - expected**2) / (
        2 * torch.pi * shells.clamp_min(1) ** 2
    ).sqrt()  # Fisher's, 2 pi s² free numbers
    assert ((fsc(*halves) - expected).abs() < 5 * spread)[3:].all()


def test_a_batch_is_one_curve_each():
    maps = torch.stack([noise(0), noise(1)])
    both = fsc(maps, maps.flip(0))
    assert torch.allclose(both[0], fsc(noise(0), noise(1)))


def test_resolution_is_interpolated_between_shells():
    curve = torch.tensor([1.0, 0.9, 0.7, 0.3, 0.0, 0.8])
    assert resolution(curve, 10, 2.0, 0.5) == pytest.approx(20 / 2.5)
    assert resolution(curve, 10, 2.0, 0.15) == pytest.approx(20 / 3.5)
    assert resolution(torch.ones(6), 10, 2.0) == pytest.approx(4.0)
    assert resolution(torch.tensor([1.0, 0.1, 0.9]), 4, 1.0) == float("inf")


def test_random_phases_keep_amplitudes_and_everything_below_the_shell():
    volume = noise(0)
    mixed = randomise_phases(volume, 8, torch.Generator().manual_seed(5))
    before, after = fourier.rfft3(volume), fourier.rfft3(mixed)
    shell = fourier.shells(BOX, 3)
    assert torch.allclose(before[shell < 8], after[shell < 8], atol=1e-2)
    inner = shell < BOX // 2  # at Nyquist a real map keeps only the real part
    assert torch.allclose(before.abs()[inner], after.abs()[inner], atol=1e-2)
    assert fsc(volume, mixed)[10:].abs().max() < 0.2
    again = randomise_phases(volume, 8, torch.Generator().manual_seed(5))
    assert torch.equal(mixed, again)


def test_correction_takes_away_what_a_tight_mask_brings():
    signal = fourier.low_pass(noise(0), 0.15) * 6 + 1
    halves = [signal + noise(seed) for seed in (1, 2)]
    mask = ((radius() < 12) & (fourier.low_pass(noise(3), 0.25) > 0)).float()  # hard, ragged
    unmasked, masked, corrected = corrected_fsc(*halves, mask)
    beyond = slice(14, 24)  # no signal there
    assert masked[beyond].mean() > 0.1
    assert abs(float(corrected[beyond].mean())) < 0.06
    assert torch.allclose(corrected[:5], masked[:5])
    assert torch.allclose(unmasked, fsc(*halves))
    assert torch.equal(corrected, corrected_fsc(*halves, mask)[2])
    assert not torch.equal(corrected, corrected_fsc(*halves, mask, seed=1)[2])


def test_correction_of_identical_maps_is_harmless():
    curves = corrected_fsc(noise(0), noise(0), torch.ones((BOX,) * 3))
    assert torch.allclose(torch.stack(curves), torch.ones(()), atol=1e-5)


def test_local_resolution_finds_the_better_half():
    fine, coarse = fourier.low_pass(noise(0), 0.35), fourier.low_pass(noise(0), 0.15)
    left = torch.arange(BOX) < BOX // 2
    signal = torch.where(left, coarse, fine)
    mask = (radius() < 18).float()
    found = local_resolution(signal + 0.3 * noise(1), signal + 0.3 * noise(2), mask, 2.0, window=16)
    assert (found[mask == 0] == 0).all()
    assert (found[mask > 0] >= 4.0).all()
    centre = BOX // 2
    # one window blurs by about one of its shells: 2 * 16 / (16 * 0.15 + 1) = 9.4 at most instead of 13.3
    assert 9.0 < float(found[centre, centre, centre - 14 : centre - 8].mean()) < 14.0
    assert 4.0 <= float(found[centre, centre, centre + 8 : centre + 14].mean()) < 6.5


def test_local_resolution_chooses_a_window_and_bears_the_border():
    halves = [fourier.low_pass(noise(0), 0.2) + 0.2 * noise(seed) for seed in (1, 2)]
    found = local_resolution(*halves, torch.ones((BOX,) * 3), 1.0)
    assert torch.isfinite(found).all()
    assert 3.0 < float(found[16:32, 16:32, 16:32].mean()) < 5.5
