"""Slices summed in the transform of a map."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from napari_flex3d.ops.backprojection import DensityPreconditioner, SliceSum
from napari_flex3d.ops.fourier import low_pass, multiplicity, radii
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.ops.projection import place, project, rigid_body

BOX = 24


def slice_weights(rotation, power):
    total = SliceSum(BOX)
    total.add(rotation, power)
    return total.weights


def rotations(count, seed=0):
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix()).float()


def test_every_frequency_of_an_image_is_counted_once():
    power = torch.rand(3, BOX, BOX // 2 + 1, generator=torch.Generator().manual_seed(0))
    k = torch.fft.fftfreq(BOX)[:, None] ** 2 + torch.fft.rfftfreq(BOX)[None] ** 2
    power[:, k >= (0.5 - 1 / BOX) ** 2] = 0
    weights = slice_weights(rotations(3), power)
    np.testing.assert_allclose(
        float((weights * multiplicity(BOX)).sum()), float((power * multiplicity(BOX)).sum()), rtol=1e-5
    )


def test_without_rotation_a_slice_is_the_plane():
    power = torch.ones(1, BOX, BOX // 2 + 1)
    weights = slice_weights(torch.eye(3)[None], power)
    assert float(weights[1:].abs().max()) == 0
    inner = torch.fft.fftfreq(BOX)[:, None] ** 2 + torch.fft.rfftfreq(BOX)[None] ** 2 < (0.4) ** 2
    torch.testing.assert_close(weights[0][inner], torch.ones(int(inner.sum())))


def test_inversion_gives_the_map_back():
    """Projections of a smooth map from many sides, back by Fourier inversion: FSC near 1 up to 0.8 of Nyquist."""
    generator = torch.Generator().manual_seed(3)
    axis = torch.arange(float(BOX)) - BOX // 2
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < (BOX / 3) ** 2
    volume = low_pass(torch.randn(BOX, BOX, BOX, generator=generator), 0.42, 0.05) * ball
    z, y, x = torch.nonzero(ball, as_tuple=True)
    points = torch.stack([x, y, z], -1).float() - BOX // 2
    body = rigid_body(points)
    turn = rotations(1500)
    total = SliceSum(BOX, 2, with_values=True)
    ones = torch.ones(1, BOX, BOX // 2 + 1)
    for part in turn.split(100):
        images = project(volume[ball][body.order], place(part, body.vertices[None], 1.0), body, BOX)
        total.add(part, ones.expand(len(part), -1, -1), images)
    found = total.inverted() * ball
    curve = fsc(found, volume)
    assert float(curve[1 : int(0.4 * BOX)].min()) > 0.99
    np.testing.assert_allclose(float((found * volume).sum() / volume.square().sum()), 1, atol=0.1)


def test_a_newton_step_does_not_overshoot_where_a_shell_is_hardly_measured():
    """The largest eigenvalue of step times curvature must be below 2, or the map runs away; the mask is small."""
    shell = radii(BOX, 3) * BOX
    weights = torch.where(shell < 8, 1.0, torch.where(shell < 9, 2e-3, 0.0))
    axis = torch.arange(float(BOX)) - BOX // 2
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < (BOX / 4) ** 2
    step = DensityPreconditioner(weights, ball)
    values = torch.randn(int(ball.sum()), generator=torch.Generator().manual_seed(0))
    for _ in range(30):
        volume = torch.zeros(BOX, BOX, BOX)
        volume[ball] = values / values.norm()
        curved = torch.fft.irfftn(BOX**3 * weights * torch.fft.rfftn(volume), s=volume.shape)[ball]
        values = step(curved)
    assert 0.5 < float(values.norm()) < 2


def test_steps_come_to_rest_where_prior_and_data_balance():
    """Without a mask the map of least squares under the prior is the data's map times signal / (signal + 1)."""
    generator = torch.Generator().manual_seed(1)
    everywhere = torch.ones(BOX, BOX, BOX, dtype=torch.bool)
    weights = torch.full((BOX, BOX, BOX // 2 + 1), 2.0)
    signal = torch.logspace(2, -2, BOX // 2 + 1)
    data = low_pass(torch.randn(BOX, BOX, BOX, generator=generator), 0.4, 0.02)
    step = DensityPreconditioner(weights, everywhere, signal=signal)
    values = torch.zeros(BOX**3)
    for _ in range(60):
        for share in (0.25, 0.75):  # the images come in two parts
            values = values - 0.5 * step(share * 2.0 * BOX**3 * (values - data.flatten()), values, share)
    shell = (radii(BOX, 3) * BOX).round().long().clamp(max=BOX // 2)
    wanted = torch.fft.rfftn(data) * (signal / (signal + 1))[shell]
    found = torch.fft.rfftn(values.view(data.shape))
    inside = radii(BOX, 3) < 0.4
    torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-3, atol=1e-2)
