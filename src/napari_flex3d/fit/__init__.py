"""Fitting a flexible model to particles: the loop inside the stage "train". Knows no files."""

import math
from collections.abc import Generator, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.fit.density import DensitySteps
from napari_flex3d.fit.levels import RESOLUTION_LIMIT, Level, early_epochs, level_at
from napari_flex3d.fit.monitors import HeldOut, Sums, measured
from napari_flex3d.fit.poses import PosePrior, improve, pose_equations, pose_errors
from napari_flex3d.fit.recorder import Drawn, Found, Recorder
from napari_flex3d.fit.state import Fit, FitParams, Setup, at_rest, begin, latent_scale, set_up
from napari_flex3d.latents import Prior, Scene, best_trial, gauss_newton, settled
from napari_flex3d.model import FlowGenerator
from napari_flex3d.ops.elasticity import rigidity_energy
from napari_flex3d.particles import ParticleBatch, Particles

__all__ = [
    "RESOLUTION_LIMIT",
    "Fit",
    "Setup",
    "at_rest",
    "begin",
    "early_epochs",
    "fit",
    "latent_scale",
    "set_up",
]

RIGIDITY_SAMPLE = 4
"""Particles of a batch on which the rigidity energy is evaluated; it is smooth in the latent, so few will do."""

STANDARD_PER_DISPLAYED = 2.0
"""Standardised latents are displayed at about half their size; the noise on latents is given as displayed."""

HELD_COMPARED = 4
"""One particle in so many is compared with the rigid model while the map is held."""

DONORS = 6
"""Other particles whose latents are tried for one that was not seen before."""

FOR_POSES = 1000
"""Training particles, about, from which it is seen what poses are off by."""

TRIAL_EPOCHS = 4
"""Epochs in which a few trial latents are scored before each Gauss-Newton step."""


def fit(setup: Setup, state: Fit) -> Generator[tuple[int, int, dict[str, float]], None, None]:
    """Train from ``state.epoch`` to the last epoch, the extra ones at the final rate.

    Yields
    ------
    done, total, metrics
        Steps done and in all; metrics are empty except at the end of an epoch, when the state is complete and may be
        written down.
    """
    params = setup.params
    train = setup.train
    steps = math.ceil(len(train) / setup.batch_size)
    last = params.epochs + params.extra_epochs
    total = last * steps
    level = density = None
    while state.epoch < last:
        epoch = state.epoch
        if level is None or epoch <= early_epochs(params.epochs):
            level = level_at(setup, state, epoch)
        if level.values is None and density is None:
            density = DensitySteps(setup, level)
        random = torch.Generator().manual_seed(params.seed * 100_003 + epoch)
        order = train[torch.randperm(len(train), generator=random).numpy()]
        sums, recorder = Sums(), Recorder(setup.device)
        for i, (rows, batch) in enumerate(level.batches(setup, order, setup.batch_size)):
            _set_rate(state, params, min(1.0, (epoch + i / steps) / params.epochs))
            _visit(setup, state, level, rows, batch, density, random, sums, recorder)
            yield epoch * steps + i + 1, total, {}
        if density is not None:
            density.take(state)
        state.epoch += 1
        if state.epoch <= last - 2 and not params.freeze_latents:
            _standardise(state, train)
        state.average.centre(state.latents[train])
        if state.epoch == last:
            yield from ((total, total, {}) for _ in _settle(setup, state, level))
        held = yield from _score_held_out(setup, state, level, random, total)
        by_chance = {"map_by_chance": density.by_chance if density else 0.0}
        yield state.epoch * steps, total, measured(setup, state, level, sums, held) | by_chance


def _visit(
    setup: Setup,
    state: Fit,
    level: Level,
    rows: NDArray[np.int64],
    batch: ParticleBatch,
    density: DensitySteps | None,
    random: torch.Generator,
    sums: Sums,
    recorder: Recorder,
) -> None:
    """One batch: its latents, then the flow and the map."""
    drawn = _draw(setup, state, rows, random).to(setup.device)
    found = recorder(lambda batch, drawn: _step(setup, state, level, batch, drawn), batch, drawn)
    sums.add(found.numbers, len(rows), found.compared)
    if found.gradients:
        assert density is not None
        density.add(state, found.gradients, len(rows))


def _draw(setup: Setup, state: Fit, rows: NDArray[np.int64], random: torch.Generator) -> Drawn:
    """What a visit is random in, drawn on the CPU, so that a seed means the same everywhere."""
    size = (len(rows), setup.params.latent_dims)
    trial = None
    if 0 < state.epoch < TRIAL_EPOCHS and not setup.holds_latents(state.epoch):
        donors = _some_rows(setup, len(rows), random)
        trial = donors, torch.randn(size, generator=random)
    return Drawn(
        torch.from_numpy(rows), trial, torch.randn(size, generator=random), _some_rows(setup, 256, random)
    )


def _step(setup: Setup, state: Fit, level: Level, batch: ParticleBatch, drawn: Drawn) -> Found:
    """The device's part of a visit; nothing in it waits for a number."""
    params, at, moves = setup.params, drawn.rows, level.values is None
    if not setup.holds_latents(state.epoch):
        prior, scene = _prior(setup, state), _scene(state, level)
        latents = state.latents[at]
        if drawn.trial is not None:
            donors, step = drawn.trial
            trials = _trials(latents, state.latents[donors], step)
            latents = best_trial(scene, batch, state.generator, trials, prior)
        fitted = gauss_newton(scene, batch, state.generator, latents, prior)
        state.latents[at], state.covariance[at] = fitted
    latents = state.latents[at]
    if params.latent_noise == "auto":
        root, _ = torch.linalg.cholesky_ex(state.covariance[at])  # "ex": its success is not waited for
        latents = latents + (root @ drawn.noise[..., None])[..., 0]
    else:
        latents = latents + params.latent_noise * STANDARD_PER_DISPLAYED * drawn.noise

    values = state.values.requires_grad_(moves)
    displacements = _centred_flow(state.generator, latents, state.latents[drawn.others])
    loss = _scene(state, level).loss(batch, displacements)
    energy = _rigidity(setup, displacements[:RIGIDITY_SAMPLE])
    state.optimizer.zero_grad()
    values.grad = None
    torch.autograd.backward(loss.mean() + params.rigidity * energy.mean())
    state.optimizer.step()
    with torch.no_grad():
        share = 1 / (len(setup.particles) / setup.batch_size)  # averages over about one epoch
        torch._foreach_lerp_(
            list(state.average.parameters()),
            list(state.generator.parameters()),
            share if state.epoch > 1 else 0.5,
        )
    # a held map's rigid loss does not change: some particles will do to compare with
    few = len(at) if moves else -(-len(at) // HELD_COMPARED)
    rigid_values = state.rigid_values.requires_grad_(moves)
    rigid_loss = _rigid_scene(state, level).loss(batch.first(few), None)
    gradients: list[Tensor] = []
    if moves:
        (rigid_gradient,) = torch.autograd.grad(rigid_loss.sum(), rigid_values)
        assert values.grad is not None  # of the mean loss
        gradients = [values.grad * len(at), rigid_gradient]
    state.values, state.rigid_values = values.detach(), rigid_values.detach()
    loss, rigid_loss = loss.detach(), rigid_loss.detach()
    gain = (rigid_loss - loss[:few]).sum()
    return Found(torch.stack([loss.sum(), gain, energy.detach().mean() * len(at)]), few, gradients)


def _centred_flow(generator: FlowGenerator, latents: Tensor, others: Tensor) -> Tensor:
    """Displacements relative to the mean over a sample of the particles, so that the map stays the consensus."""
    features = generator.features(torch.cat([latents, others]))
    mean = features[len(latents) :].mean(0)
    generator.mean_features.copy_(mean.detach())
    return generator.flow(features[: len(latents)] - mean)


def _rigidity(setup: Setup, displacements: Tensor) -> Tensor:
    elastic = setup.elastic
    return rigidity_energy(elastic.rest + displacements, elastic.cells, elastic.inverse, elastic.weight)


def _some_rows(setup: Setup, count: int, random: torch.Generator) -> Tensor:
    """Rows of random training particles, (count)."""
    chosen = torch.randint(len(setup.train), (count,), generator=random)
    return torch.from_numpy(setup.train[chosen.numpy()])


def _some_latents(setup: Setup, state: Fit, count: int, random: torch.Generator) -> Tensor:
    """Latents of random training particles, (count, K)."""
    return state.latents[_some_rows(setup, count, random).to(state.latents.device)]


def _trials(latents: Tensor, others: Tensor, step: Tensor) -> Tensor:
    """Trial latents: the present ones, one step either way in a random direction, and those of other particles."""
    step = (step / step.norm(dim=1, keepdim=True)).to(latents)
    return torch.stack([latents, latents + step, latents - step, others])


def _scene(state: Fit, level: Level) -> Scene:
    values = state.values if level.values is None else level.values
    return Scene(values, level.body, level.box_size, level.pixel_size, level.oversampling)


def _rigid_scene(state: Fit, level: Level) -> Scene:
    values = state.rigid_values if level.values is None else level.values
    return Scene(values, level.rigid, level.box_size, level.pixel_size, level.oversampling)


def _prior(setup: Setup, state: Fit) -> Prior:
    params = setup.params
    if params.centering == "auto":
        return Prior(None, params.centering_power, torch.ones_like(state.latents[0]))
    return Prior(float(params.centering), params.centering_power, latent_scale(state.latents[setup.train]))


def _set_rate(state: Fit, params: FitParams, done: float) -> None:
    rate = params.flow_lr * (params.flow_lr_final / params.flow_lr) ** done
    for group in state.optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _standardise(state: Fit, train: NDArray[np.int64]) -> None:
    """Bring the latents to mean 0 and standard deviation 1; the flow stays the same."""
    mean, spread = state.latents[train].mean(0), state.latents[train].std(0).clamp(min=1e-3)
    state.latents = (state.latents - mean) / spread
    state.covariance = state.covariance / (spread[:, None] * spread)
    for generator in (state.generator, state.average):
        generator.rescale(mean, spread)


def _settle(setup: Setup, state: Fit, level: Level) -> Iterator[None]:
    """Take the averaged flow for good, and fit the training particles' latents to it until they stay."""
    state.generator.load_state_dict(state.average.state_dict())
    if setup.params.freeze_latents:
        return
    scene, prior = _scene(state, level), _prior(setup, state)
    for rows, batch in level.batches(setup, setup.train, 64):
        fitted = settled(scene, batch, state.generator, state.latents[rows], prior)
        state.latents[rows], state.covariance[rows] = fitted
        yield


def _score_held_out(
    setup: Setup, state: Fit, level: Level, random: torch.Generator, total: int
) -> Generator[tuple[int, int, dict[str, float]], None, HeldOut]:
    """Fit the latents of the held-out particles, nothing else; losses of the flexible and of the rigid model."""
    rows_held = np.flatnonzero(setup.held_out)
    scene, prior, rigid = _scene(state, level), _prior(setup, state), _rigid_scene(state, level)
    ended, held = state.epoch == setup.params.epochs + setup.params.extra_epochs, HeldOut()
    for rows, batch in level.batches(setup, rows_held, 64):
        latents = state.latents[rows]
        covariance: Tensor | None = None
        if not setup.params.freeze_latents:
            donors = _some_latents(setup, state, len(rows), random)
            trials = _trials(latents, donors, torch.randn(latents.shape, generator=random))
            latents = best_trial(scene, batch, state.generator, trials, prior)
            for _ in range(2):
                latents, covariance = gauss_newton(scene, batch, state.generator, latents, prior)
            if ended:
                latents, covariance = settled(scene, batch, state.generator, latents, prior)
            assert covariance is not None
            state.latents[rows], state.covariance[rows] = latents, covariance
        with torch.no_grad():
            losses = scene.loss(batch, state.generator(latents)), rigid.loss(batch, None)
        held.add(*losses, covariance, prior.curvature(latents))
        yield state.epoch * total // (setup.params.epochs + setup.params.extra_epochs), total, {}
    return held


def infer(setup: Setup, state: Fit, particles: Particles) -> Iterator[Tensor]:
    """Latents of particles that a finished fit may not have seen, some (B, K) at a time.

    Trial latents are those of random particles of the fit, so that none starts in a wrong basin.
    """
    level = level_at(setup, state, setup.params.epochs)
    scene, prior = _scene(state, level), _prior(setup, state)
    random = torch.Generator().manual_seed(setup.params.seed)
    there = replace(setup, particles=particles)
    for rows, batch in level.batches(there, np.arange(len(particles)), 64):
        others = [_some_latents(setup, state, len(rows), random) for _ in range(DONORS)]
        step = torch.randn(others[0].shape, generator=random)
        steps = _trials(torch.zeros_like(others[0]), others[0], step)
        trials = torch.cat([steps, torch.stack(others[1:])])
        latents = best_trial(scene, batch, state.generator, trials, prior)
        yield settled(scene, batch, state.generator, latents, prior)[0]


def errors_of_poses(setup: Setup, state: Fit) -> PosePrior:
    """What the training particles say that poses are off by, under a finished fit."""
    level = level_at(setup, state, setup.params.epochs)
    scene, prior = _scene(state, level), _prior(setup, state)
    some = setup.train[:: max(1, len(setup.train) // FOR_POSES)]
    equations = [
        pose_equations(scene, batch, state.generator, state.latents[rows], prior)
        for rows, batch in level.batches(setup, some, 64)
    ]
    precision, pull = map(torch.cat, zip(*equations, strict=True))
    return pose_errors(precision, pull, setup.particles.pixel_size)


def polish(setup: Setup, state: Fit, prior: PosePrior) -> Generator[int, None, Tensor]:
    """Improve the poses of all particles, and their latents with them, under a finished fit; particles done so far.

    Returns
    -------
    Turns about the image's axes, radians, and shifts of the particles in the images, Å (N, 5).
    """
    level = level_at(setup, state, setup.params.epochs)
    scene, on_latents = _scene(state, level), _prior(setup, state)
    found = torch.zeros(len(setup.particles), 5)
    for rows, batch in level.batches(setup, np.arange(len(found)), 64):
        before = state.latents[rows]
        latents, covariance, pose = improve(scene, batch, state.generator, before, on_latents, prior)
        if not setup.params.freeze_latents:
            state.latents[rows], state.covariance[rows] = latents, covariance
        found[rows] = pose.cpu()
        yield int(rows[-1]) + 1
    return found
