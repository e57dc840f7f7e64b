import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh import elastic_modes, regular_mesh
from napari_flex3d.model import FlexModel, FlowGenerator, load_model, save_model
from napari_flex3d.ops.elasticity import rigidity_energy, shape_gradients

BOX, PIXEL = 24, 3.0


@pytest.fixture(scope="module")
def model():
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    mask = x**2 + y**2 + z**2 < 8**2
    mesh, _ = regular_mesh(mask, PIXEL, 8)
    mass = torch.ones(len(mesh.vertices))
    generator = FlowGenerator(2, elastic_modes(mesh, mass, 30), mass, layers=3, hidden_units=16)
    random = torch.Generator().manual_seed(0)
    generator.start(2.0, random)
    standard = torch.randn(50, 2, generator=random)
    generator.centre(standard)
    density = np.exp(-(x**2 + (y - 2) ** 2 + z**2) / 18).astype(np.float32) * mask
    return FlexModel(
        mesh=mesh,
        generator=generator,
        canonical=density,
        mask=mask,
        pixel_size=PIXEL,
        standard=standard.numpy(),
        covariance=np.tile(np.diag([0.04, 0.09]).astype(np.float32), (50, 1, 1)),
        held_out=np.arange(50) < 3,
        half=(np.arange(50) % 2).astype(np.uint8),
        latent_scale=np.array([0.5, 0.6], dtype=np.float32),
        facts={"epoch": 3},
    )


def test_jacobian_is_the_derivative_of_the_flow(model):
    generator = model.generator.double()
    z = torch.tensor([[0.3, -0.7], [1.2, 0.1]], dtype=torch.float64)
    flow, along = generator.with_jacobian(z)
    torch.testing.assert_close(flow, generator(z))
    exact = torch.autograd.functional.jacobian(lambda z: generator(z).sum(0), z)  # (P, 3, B, K)
    torch.testing.assert_close(along, exact.permute(2, 3, 0, 1))
    generator.float()


def test_rescaling_the_latents_leaves_the_flow(model):
    generator = copy.deepcopy(model.generator)
    mean, spread = torch.tensor([0.4, -0.2]), torch.tensor([0.5, 2.0])
    z = torch.randn(10, 2, generator=torch.Generator().manual_seed(1))
    before = generator(z)
    generator.rescale(mean, spread)
    torch.testing.assert_close(generator((z - mean) / spread), before, rtol=1e-4, atol=1e-4)


def test_the_mean_flow_over_the_particles_is_zero(model):
    with torch.no_grad():
        flow = model.generator(torch.from_numpy(model.standard))
    assert float(flow.mean(0).norm(dim=-1).max()) < 1e-4 * float(flow.norm(dim=-1).max())


def test_first_six_modes_are_rigid_and_cost_nothing(model):
    rest, cells = torch.from_numpy(model.mesh.vertices).double(), torch.from_numpy(model.mesh.cells)
    inverse, volume = shape_gradients(rest, cells)
    modes = model.generator.modes.double().unflatten(1, (-1, 3))
    size = modes.square().sum(-1).mean(-1).sqrt()[:, None, None]
    energy = rigidity_energy(rest + 0.01 * modes / size, cells, inverse, volume / volume.mean())
    assert float(energy[:6].max()) < 1e-4 * float(energy[6:].min())


def test_displayed_latents_and_their_sd(model):
    np.testing.assert_allclose(model.latents, np.clip(model.standard * [0.5, 0.6], -1.5, 1.5), rtol=1e-6)
    np.testing.assert_allclose(model.latent_sd[0], [0.2 * 0.5, 0.3 * 0.6], rtol=1e-5)


def test_displacements_are_those_of_the_generator(model):
    z = np.array([[0.4, -0.3], [-1.2, 0.9]], dtype=np.float32)
    with torch.no_grad():
        flow = model.generator(torch.from_numpy(z / model.latent_scale))
    np.testing.assert_allclose(model.displacements(z), flow, atol=1e-5 * float(flow.abs().max()))


def test_move_carries_vertices_with_their_displacement(model):
    z = np.array([0.4, -0.3])
    moved = model.move(model.mesh.vertices, z)
    np.testing.assert_allclose(moved, model.mesh.vertices + model.displacements(z), atol=1e-3)


def test_volume_keeps_its_mass_and_moves_its_centre_of_mass(model):
    z = np.array([0.8, 0.5])
    volume = model.volume(z)
    assert volume.sum() == pytest.approx(model.canonical.sum(), rel=1e-4)
    voxels = np.argwhere(model.mask)
    points = (voxels[:, ::-1] - BOX // 2) * PIXEL
    density = model.canonical[model.mask].astype(float)
    expected = (density[:, None] * model.move(points, z)).sum(0) / density.sum()
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    centre = [(volume.sum(tuple({0, 1, 2} - {2 - k})) * axis).sum() / volume.sum() for k in range(3)]
    np.testing.assert_allclose(centre, expected, atol=0.02)


def test_volume_of_another_map_at_another_box(model):
    fine = model.volume(np.zeros(2), box=48, apix=PIXEL / 2)
    assert fine.shape == (48, 48, 48)
    assert fine.sum() * (PIXEL / 2) ** 3 == pytest.approx(model.canonical.sum() * PIXEL**3, rel=0.05)
    same = model.volume(np.array([0.2, 0.1]), map=model.canonical, apix=PIXEL)
    np.testing.assert_allclose(same, model.volume(np.array([0.2, 0.1])), atol=1e-5)


def test_checkpoint_round_trip(model, tmp_path):
    save_model(tmp_path / "checkpoint-003", model)
    (tmp_path / "latest").write_text("checkpoint-003\n")
    again = load_model(tmp_path)
    z = np.array([[0.3, 0.2], [-1, 0.5]])
    np.testing.assert_array_equal(again.displacements(z), model.displacements(z))
    np.testing.assert_array_equal(again.canonical, model.canonical)
    np.testing.assert_array_equal(again.latents, model.latents)
    assert again.facts == model.facts


def test_the_next_checkpoint_keeps_what_is_the_same(model):
    again = replace(model, mesh=replace(model.mesh), canonical=model.canonical.copy()).with_parts_of(model)
    assert again.mesh is model.mesh
    assert again.canonical is model.canonical
    other = replace(
        model, mesh=replace(model.mesh, rigidity=model.mesh.rigidity + 1), canonical=model.canonical * 2
    )
    kept = other.with_parts_of(model)
    assert kept.mesh is other.mesh
    assert kept.canonical is other.canonical


def test_a_folder_without_checkpoint_is_refused_in_words(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        load_model(tmp_path)


def test_a_latent_of_the_wrong_size_is_refused(model):
    with pytest.raises(ValueError, match="has 2 coordinates"):
        model.displacements(np.zeros(3))
