"""Lengths in Å do not depend on how the latents are scaled or bent, and are those of the displacements."""

import numpy as np
import pytest
import torch

from napari_flex3d.landscape import even, lengths, metric, motion, rms_between, smooth
from napari_flex3d.mesh import regular_mesh
from napari_flex3d.model import FlexModel, FlowGenerator


def bending_model(curved: bool) -> FlexModel:
    """A block that shears along x with z1 and along y with z2; curved: by a network that bends the latents."""
    mesh, _ = regular_mesh(np.ones((12, 12, 12), bool), 4.0, 4)
    x, _, z = mesh.vertices.T
    fields = [np.stack([0.2 * z, 0 * x, 0 * x], 1), np.stack([0 * x, 0.1 * x, 0 * x], 1)]
    modes = torch.from_numpy(np.stack([field.ravel() for field in fields]).astype(np.float32))
    mass = torch.linspace(1, 3, len(mesh.vertices))
    generator = FlowGenerator(2, modes, mass, layers=1, hidden_units=4)
    with torch.no_grad():
        generator.weight[:2] = torch.eye(2)
        if curved:
            generator.start(3.0, torch.Generator().manual_seed(1))
    latents = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    return FlexModel(
        mesh=mesh,
        generator=generator,
        canonical=np.zeros((12, 12, 12), np.float32),
        mask=np.ones((12, 12, 12), bool),
        pixel_size=4.0,
        standard=latents,
        covariance=np.zeros((50, 2, 2), np.float32),
        held_out=np.zeros(50, bool),
        half=np.zeros(50, np.uint8),
        latent_scale=np.array([0.5, 0.25], np.float32),
    )


@pytest.mark.parametrize("curved", [False, True])
def test_the_metric_is_the_square_of_a_small_motion(curved):
    model, here = bending_model(curved), np.array([[0.2, -0.1], [0.0, 0.3]])
    for step in np.array([[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]]) * 1e-2:
        moved = rms_between(model, here - step / 2, here + step / 2)
        expected = np.sqrt(np.einsum("k,mkl,l->m", step, metric(model, here), step))
        np.testing.assert_allclose(moved, expected, rtol=2e-3)


def test_motion_of_particles_is_the_rms_of_their_displacements():
    model = bending_model(curved=True)
    mass = model.generator.mass.numpy()
    square = np.square(model.displacements(model.latents)).sum(-1)
    np.testing.assert_allclose(motion(model, model.latents), np.sqrt((square * mass).sum(-1)), rtol=1e-3)


def test_the_length_of_a_straight_way_is_that_between_its_ends():
    model = bending_model(curved=False)  # displacements are linear in the latent
    path = np.array([[-0.5, 0.1], [0.1, 0.2], [0.7, 0.3]])
    whole = rms_between(model, path[:1], path[-1:])
    np.testing.assert_allclose(lengths(model, path).sum(), whole[0], rtol=1e-5)
    assert len(lengths(model, path[:1])) == 0


def test_even_steps_are_equally_long_and_keep_the_ends():
    model = bending_model(curved=True)
    path = np.array([[-0.6, -0.2], [-0.5, 0.2], [0.1, 0.3], [0.6, -0.3]])
    found = even(model, path, 12)
    np.testing.assert_allclose(found[[0, -1]], path[[0, -1]])
    steps = lengths(model, found)
    assert (steps < 1.001 * np.median(steps)).all()
    assert (steps > 0.99 * np.median(steps)).sum() >= 11 - 2  # the two that cut a corner are shorter
    uneven = lengths(model, path)
    assert np.ptp(uneven) > 0.2 * uneven.mean()
    assert steps.sum() == pytest.approx(uneven.sum(), rel=0.02)  # still the same way


def test_smoothing_keeps_ends_and_straight_lines_and_takes_corners_off():
    straight = np.linspace([0, 0], [1, 2], 9)
    np.testing.assert_allclose(smooth(straight), straight, atol=1e-12)
    zigzag = straight + np.array([0, 0.3]) * ((-1) ** np.arange(9))[:, None]
    rounded = smooth(zigzag)
    np.testing.assert_allclose(rounded[[0, -1]], zigzag[[0, -1]])
    assert np.abs(np.diff(rounded, 2, axis=0))[2:-2].max() < 0.2 * np.abs(np.diff(zigzag, 2, axis=0)).max()
    np.testing.assert_allclose(smooth(zigzag[:2]), zigzag[:2])
