"""Fitting a flexible model to particles: the loop inside the stage "train". Knows no files."""

import math
from collections.abc import Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.fit.state import Fit, FitParams, Setup, begin, set_up
from napari_flex3d.latents import Prior, Scene, best_trial, gauss_newton
from napari_flex3d.model import LATENT_BORDER, FlowGenerator
from napari_flex3d.ops.backprojection import DensityPreconditioner, slice_weights
from napari_flex3d.ops.elasticity import deformation_gradient, inverted_cells, rigidity_energy
from napari_flex3d.ops.fourier import multiplicity, radii, shells, soft_edge
from napari_flex3d.particles import Particles

__all__ = ["RESOLUTION_LIMIT", "Fit", "Setup", "begin", "fit", "latent_scale", "set_up"]

RESOLUTION_LIMIT = 0.4
"""Cycles per pixel that training sees at its end: 80 % of the Nyquist frequency."""

FIRST_LIMIT = 0.25
"""Cycles per pixel that the first epoch sees."""


RIGIDITY_SAMPLE = 4
"""Particles of a batch on which the rigidity energy is evaluated; it is smooth in the latent, so few will do."""

STANDARD_PER_DISPLAYED = 2.0
"""Standardised latents are displayed at about half their size; the noise on latents is given as displayed."""

TRIAL_EPOCHS = 4
"""Epochs in which a few trial latents are scored before each Gauss-Newton step."""


def fit(setup: Setup, state: Fit) -> Generator[tuple[int, int, dict[str, float]], None, None]:
    """Train from ``state.epoch`` to the last epoch.

    Yields
    ------
    done, total, metrics
        Steps done and in all; metrics are empty except at the end of an epoch, when the state is complete and may be
        written down.
    """
    params = setup.params
    train = setup.train
    steps = math.ceil(len(train) / setup.batch_size)
    total = params.epochs * steps
    noise = _noise_weight(setup.particles)
    while state.epoch < params.epochs:
        epoch = state.epoch
        weight = noise * _band(setup.particles.box_size, epoch, params.epochs)
        released = not params.freeze_density and epoch >= max(1, params.epochs // 3)
        step = _density_step(setup, weight) if released else None
        random = torch.Generator().manual_seed(params.seed * 100_003 + epoch)
        order = train[torch.randperm(len(train), generator=random).numpy()]
        sums = _Sums()
        for i, rows in enumerate(_batches(order, setup.batch_size)):
            _set_rate(state, params, (epoch * steps + i) / total)
            _visit(setup, state, rows, weight, step, random, sums)
            yield epoch * steps + i + 1, total, {}
        state.epoch += 1
        if state.epoch <= params.epochs - 2 and not params.freeze_latents:
            _standardise(state, train)
        state.average.centre(state.latents[train])
        if state.epoch == params.epochs:
            yield from ((total, total, {}) for _ in _settle(setup, state, weight))
        held = yield from _score_held_out(setup, state, weight, random, total)
        yield state.epoch * steps, total, _metrics(setup, state, train, sums, held)


class _Sums:
    """Sums over an epoch of what is reported."""

    def __init__(self) -> None:
        self.flexible = self.rigid = self.energy = 0.0
        self.count = 0


def _visit(
    setup: Setup,
    state: Fit,
    rows: NDArray[np.int64],
    weight: Tensor,
    density_step: DensityPreconditioner | None,
    random: torch.Generator,
    sums: _Sums,
) -> None:
    """One batch: its latents, then the flow and the map."""
    params = setup.params
    batch = setup.particles.batch(rows)
    prior = _prior(setup, state)
    scene = _scene(setup, state, weight)
    if not setup.holds_latents(state.epoch):
        latents = state.latents[rows]
        if state.epoch < TRIAL_EPOCHS and state.epoch > 0:
            trials = _trials(latents, _some_latents(setup, state, len(rows), random))
            latents = best_trial(scene, batch, state.generator, trials, prior)
        fitted = gauss_newton(scene, batch, state.generator, latents, prior)
        state.latents[rows], state.covariance[rows] = fitted
    latents = state.latents[rows]
    noise = torch.randn(latents.shape, generator=random)
    latents = latents + params.latent_noise * STANDARD_PER_DISPLAYED * noise

    values = state.values.requires_grad_(density_step is not None)
    displacements = _centred_flow(state.generator, latents, _some_latents(setup, state, 256, random))
    loss = _scene(setup, state, weight).loss(batch, displacements)
    energy = _rigidity(setup, displacements[:RIGIDITY_SAMPLE])
    state.optimizer.zero_grad()
    values.grad = None
    torch.autograd.backward(loss.mean() + params.rigidity * energy.mean())
    state.optimizer.step()
    with torch.no_grad():
        share = 1 / (len(setup.particles) / setup.batch_size)  # averages over about one epoch
        for slow, fast in zip(state.average.parameters(), state.generator.parameters(), strict=True):
            slow.lerp_(fast, share if state.epoch > 1 else 0.5)
    rigid_values = state.rigid_values.requires_grad_(density_step is not None)
    rigid_loss = _rigid_scene(setup, rigid_values, weight).loss(batch, None)
    if density_step is not None:
        (rigid_gradient,) = torch.autograd.grad(rigid_loss.sum(), rigid_values)
        assert values.grad is not None  # of the mean loss
        _move_density(values, values.grad * len(rows), setup, density_step)
        _move_density(rigid_values, rigid_gradient, setup, density_step)
    state.values, state.rigid_values = values.detach(), rigid_values.detach()
    sums.flexible += float(loss.detach().sum())
    sums.rigid += float(rigid_loss.detach().sum())
    sums.energy += float(energy.detach().mean()) * len(rows)
    sums.count += len(rows)


def _centred_flow(generator: FlowGenerator, latents: Tensor, others: Tensor) -> Tensor:
    """Displacements relative to the mean over a sample of the particles, so that the map stays the consensus."""
    features = generator.features(torch.cat([latents, others]))
    mean = features[len(latents) :].mean(0)
    generator.mean_features.copy_(mean.detach())
    return generator.flow(features[: len(latents)] - mean)


@torch.no_grad()
def _move_density(values: Tensor, gradient: Tensor, setup: Setup, step: DensityPreconditioner) -> None:
    on_grid = torch.empty_like(gradient)
    on_grid[setup.body.order] = gradient
    values -= setup.params.density_lr * step(on_grid)[setup.body.order]


def _rigidity(setup: Setup, displacements: Tensor) -> Tensor:
    elastic = setup.elastic
    return rigidity_energy(elastic.rest + displacements, elastic.cells, elastic.inverse, elastic.weight)


def _some_latents(setup: Setup, state: Fit, count: int, random: torch.Generator) -> Tensor:
    """Latents of random training particles, (count, K)."""
    chosen = torch.randint(len(setup.train), (count,), generator=random)
    return state.latents[setup.train[chosen.numpy()]]


def _trials(latents: Tensor, others: Tensor) -> Tensor:
    """Trial latents: the present ones, one step along each coordinate, and those of other particles."""
    steps = torch.eye(latents.shape[1])
    return torch.stack([latents, *(latents + s for s in steps), *(latents - s for s in steps), others])


def _scene(setup: Setup, state: Fit, weight: Tensor) -> Scene:
    particles = setup.particles
    return Scene(state.values, setup.body, particles.box_size, particles.pixel_size, weight)


def _rigid_scene(setup: Setup, values: Tensor, weight: Tensor) -> Scene:
    particles = setup.particles
    return Scene(values, setup.rigid, particles.box_size, particles.pixel_size, weight)


def _prior(setup: Setup, state: Fit) -> Prior:
    params = setup.params
    if params.centering == "auto":
        return Prior(None, params.centering_power, torch.ones(params.latent_dims))
    return Prior(float(params.centering), params.centering_power, latent_scale(state.latents[setup.train]))


def latent_scale(latents: Tensor) -> Tensor:
    """Factor (K) to the displayed scale: the 98th percentile of |z| becomes 1.2."""
    sample = latents if len(latents) <= 100_000 else latents[:: len(latents) // 100_000]
    return 1.2 / torch.quantile(sample.abs(), 0.98, dim=0).clamp(min=1e-3)


def _noise_weight(particles: Particles) -> Tensor:
    box = particles.box_size
    power = torch.as_tensor(np.asarray(particles.noise))
    return multiplicity(box) / power[shells(box).clamp(max=box // 2)]


def _band(box: int, epoch: int, epochs: int) -> Tensor:
    """Frequencies in use: the limit rises over the first third of the epochs to 80 % of the Nyquist frequency."""
    rise = min(1.0, epoch / max(1, epochs // 3))
    limit = FIRST_LIMIT + (RESOLUTION_LIMIT - FIRST_LIMIT) * rise
    edge = soft_edge(radii(box), limit - 0.01, 0.02)
    edge[0, 0] = 0  # the mean of an image is background
    return edge


def _density_step(setup: Setup, weight: Tensor) -> DensityPreconditioner:
    """Preconditioner of the map's step: the Fourier weights of all training particles."""
    box = setup.particles.box_size
    weights = torch.zeros(box, box, box // 2 + 1)
    for rows in _batches(setup.train, 256):
        batch = setup.particles.batch(rows)
        weights += slice_weights(batch.rotation, batch.transfer.abs().square() * weight / multiplicity(box))
    return DensityPreconditioner(weights, setup.mask)


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _set_rate(state: Fit, params: FitParams, done: float) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = params.flow_lr * (params.flow_lr_final / params.flow_lr) ** done


def _standardise(state: Fit, train: NDArray[np.int64]) -> None:
    """Bring the latents to mean 0 and standard deviation 1; the flow stays the same."""
    mean, spread = state.latents[train].mean(0), state.latents[train].std(0).clamp(min=1e-3)
    state.latents = (state.latents - mean) / spread
    state.covariance = state.covariance / (spread[:, None] * spread)
    for generator in (state.generator, state.average):
        generator.rescale(mean, spread)


def _settle(setup: Setup, state: Fit, weight: Tensor) -> Iterator[None]:
    """Take the averaged flow for good, and fit the training particles' latents to it once more."""
    state.generator.load_state_dict(state.average.state_dict())
    if setup.params.freeze_latents:
        return
    prior = _prior(setup, state)
    for rows in _batches(setup.train, 64):
        batch = setup.particles.batch(rows)
        fitted = gauss_newton(
            _scene(setup, state, weight), batch, state.generator, state.latents[rows], prior
        )
        state.latents[rows], state.covariance[rows] = fitted
        yield


def _score_held_out(
    setup: Setup, state: Fit, weight: Tensor, random: torch.Generator, total: int
) -> Generator[tuple[int, int, dict[str, float]], None, tuple[float, float]]:
    """Fit the latents of the held-out particles, nothing else; mean loss of the flexible and of the rigid model."""
    rows_held = np.flatnonzero(setup.held_out)
    scene, prior = _scene(setup, state, weight), _prior(setup, state)
    rigid = _rigid_scene(setup, state.rigid_values, weight)
    flexible_sum = rigid_sum = 0.0
    for rows in _batches(rows_held, 64):
        batch = setup.particles.batch(rows)
        latents = state.latents[rows]
        if not setup.params.freeze_latents:
            trials = _trials(latents, _some_latents(setup, state, len(rows), random))
            latents = best_trial(scene, batch, state.generator, trials, prior)
            for _ in range(2):
                latents, covariance = gauss_newton(scene, batch, state.generator, latents, prior)
            state.latents[rows], state.covariance[rows] = latents, covariance
        with torch.no_grad():
            flexible_sum += float(scene.loss(batch, state.generator(latents)).sum())
            rigid_sum += float(rigid.loss(batch, None).sum())
        yield state.epoch * total // setup.params.epochs, total, {}
    count = max(1, len(rows_held))
    return flexible_sum / count, rigid_sum / count


@torch.no_grad()
def _metrics(
    setup: Setup, state: Fit, train: NDArray[np.int64], sums: _Sums, held: tuple[float, float]
) -> dict[str, float]:
    latents = state.latents[train]
    sample = latents[torch.linspace(0, len(latents) - 1, min(200, len(latents))).long()]
    moved = state.average(sample)
    carrying = state.average.mass > 0.25 * state.average.mass.mean()  # not the empty corners of the mesh
    elastic = setup.elastic
    turned = deformation_gradient(elastic.rest + moved[:20], elastic.cells, elastic.inverse)
    inverted = int(inverted_cells(turned).sum())
    border = (latents * latent_scale(latents)).abs() > LATENT_BORDER - 0.05
    return {
        "epoch": state.epoch,
        "loss": sums.flexible / sums.count,
        "loss_held_out": held[0],
        "rigid_loss": sums.rigid / sums.count,
        "rigid_loss_held_out": held[1],
        "rigidity_energy": sums.energy / sums.count,
        "displacement_rms": float(state.average.rms(moved)),
        "displacement_max": float(moved[:, carrying].norm(dim=-1).max()),
        "latent_spread": float(latents.std(0).mean()),
        "border_share": float(border.any(-1).float().mean()),
        "inverted_cells": float(inverted),
    }
