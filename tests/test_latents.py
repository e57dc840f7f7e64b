import numpy as np
import pytest
import torch

from napari_flex3d.latents import Prior, Scene, best_trial, gauss_newton, settled
from napari_flex3d.ops.fourier import multiplicity, radii
from napari_flex3d.ops.projection import Body
from napari_flex3d.particles import ParticleBatch

BOX = 24


class Linear(torch.nn.Module):
    """A flow that is linear in the latents."""

    def __init__(self, modes):
        super().__init__()
        self.modes = modes

    def forward(self, latents):
        return torch.einsum("bk,kpc->bpc", latents, self.modes)

    def with_jacobian(self, latents):
        return self(latents), self.modes.expand(len(latents), -1, -1, -1)


@pytest.fixture
def problem():
    random = torch.Generator().manual_seed(0)
    vertices = torch.rand(40, 3, generator=random) * 14 - 7
    cells = torch.stack([torch.randperm(40, generator=random)[:4] for _ in range(60)])
    weights = torch.rand(800, 4, generator=random)
    body = Body.from_cells(
        vertices,
        cells,
        torch.randint(0, 60, (800,), generator=random),
        weights / weights.sum(1, keepdim=True),
    )
    values = torch.rand(800, generator=random)
    generator = Linear(torch.randn(2, 40, 3, generator=random) * 0.5)
    weight = multiplicity(BOX) / BOX**2 * (radii(BOX) < 0.4)
    scene = Scene(values, body, BOX, 1.0)
    rotation = torch.linalg.qr(torch.randn(200, 3, 3, generator=random))[0]
    transfer = torch.ones(200, BOX, BOX // 2 + 1, dtype=torch.complex64)
    truth = torch.randn(200, 2, generator=random) * 0.7
    empty = ParticleBatch(torch.zeros_like(transfer), transfer, rotation)
    with torch.no_grad():
        clean = scene.images(empty, generator(truth))
    noise = torch.fft.rfft2(torch.randn(200, BOX, BOX, generator=random))
    batch = ParticleBatch(clean + noise, transfer, rotation).times(weight.sqrt())
    return scene, generator, truth, batch, clean * weight.sqrt()


FLAT = Prior(None, 4.0, torch.ones(2))


def test_gauss_newton_finds_the_latents_to_within_their_covariance(problem):
    scene, generator, truth, batch, _ = problem
    latents = torch.zeros_like(truth)
    for _ in range(6):
        latents, covariance = gauss_newton(scene, batch, generator, latents, FLAT)
    deviation = latents - truth
    chi2 = torch.einsum("bk,bkl,bl->b", deviation, torch.linalg.inv(covariance), deviation)
    assert 1.5 < float(chi2.mean()) < 2.6  # two degrees of freedom each
    within = (deviation.abs() < 2 * torch.diagonal(covariance, dim1=1, dim2=2).sqrt()).float().mean()
    assert 0.90 < float(within) < 0.99


def test_precision_is_the_curvature_of_the_loss(problem):
    scene, generator, truth, batch, clean = problem
    exact = ParticleBatch(clean, batch.transfer, batch.rotation)  # without residual the curvature is J^T J
    _, covariance = gauss_newton(scene, exact, generator, truth, FLAT)
    step = torch.tensor([0.05, 0.0])
    with torch.no_grad():
        loss = [scene.loss(exact, generator(truth + s * step)) for s in (-1, 0, 1)]
    curvature = (loss[0] - 2 * loss[1] + loss[2]) / 0.05**2 + 1
    precision = torch.linalg.inv(covariance)[:, 0, 0]
    assert float((curvature / precision - 1).abs().median()) < 0.05


def test_without_signal_the_prior_decides(problem):
    scene, generator, truth, batch, _ = problem
    dark = Scene(scene.values * 0, scene.body, BOX, 1.0)
    latents, covariance = gauss_newton(dark, batch, generator, truth.clamp(-0.6, 0.6), FLAT)
    assert float(latents.abs().max()) < 1e-4
    torch.testing.assert_close(covariance, torch.eye(2).expand(200, -1, -1), rtol=1e-4, atol=1e-4)


def test_best_trial_takes_the_lowest_loss(problem):
    scene, generator, truth, _, clean = problem
    batch = ParticleBatch(clean, problem[3].transfer, problem[3].rotation)
    trials = torch.stack([truth + 1.0, truth, truth - 0.8])
    torch.testing.assert_close(
        best_trial(scene, batch, generator, trials, Prior(0.0, 4.0, torch.ones(2))), truth
    )


@pytest.mark.parametrize("strength", [None, 3.0])
def test_prior_gradient_and_curvature(strength):
    prior = Prior(strength, 4.0, torch.tensor([0.5, 0.8]).double())
    z = torch.tensor([[0.7, -1.1]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(prior.energy(z).sum(), z, create_graph=True)
    torch.testing.assert_close(prior.gradient(z), gradient)
    curvature = [
        torch.autograd.grad(gradient[0, k], z, retain_graph=True)[0][0, k] if strength else 1.0
        for k in (0, 1)
    ]
    np.testing.assert_allclose(prior.curvature(z.detach())[0], [float(c) for c in curvature], atol=2e-3)


class Bent(Linear):
    """A flow that bends so that whole Gauss-Newton steps go to and fro."""

    def forward(self, latents):
        return super().forward(torch.atan(4 * latents))

    def with_jacobian(self, latents):
        slope = 4 / (1 + 16 * latents.square())
        return self(latents), slope[:, :, None, None] * self.modes


def test_settled_latents_stay_and_their_covariance_is_that_of_where_they_are(problem):
    """Two standard deviations about the settled latents hold the truth for 90 to 98 % of the particles."""
    scene, linear, truth, batch, _ = problem
    latents, covariance = settled(scene, batch, linear, torch.zeros_like(truth), FLAT)
    sd = torch.diagonal(covariance, dim1=1, dim2=2).sqrt()
    again, there = gauss_newton(scene, batch, linear, latents, FLAT)
    torch.testing.assert_close(covariance, there)
    assert float(((again - latents).abs() / sd).quantile(0.95)) < 0.2
    assert 0.90 < float(((latents - truth).abs() < 2 * sd).float().mean()) < 0.98


def test_no_latent_settles_where_it_fits_worse(problem):
    scene, linear, truth, batch, _ = problem
    bent = Bent(linear.modes)

    def objective(latents):
        return scene.loss(batch, bent(latents)) + FLAT.energy(latents)

    first = 0.3 * torch.ones_like(truth)
    free, _ = gauss_newton(scene, batch, bent, first, FLAT)
    assert bool((objective(free) > objective(first) + 1).any())  # a whole step can be too long
    latents, _ = settled(scene, batch, bent, first, FLAT)
    assert bool((objective(latents) <= objective(first) + 1e-2).all())
