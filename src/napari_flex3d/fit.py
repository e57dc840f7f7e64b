"""Fitting a flexible model to particles: the loop inside the stage "train". Knows no files."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import diags
from scipy.sparse.linalg import eigsh
from torch import Tensor

from napari_flex3d.latents import Prior, Scene, best_trial, gauss_newton
from napari_flex3d.mesh import TetMesh, voxel_positions
from napari_flex3d.model import LATENT_BORDER, FlowGenerator
from napari_flex3d.ops.backprojection import DensityPreconditioner, slice_weights
from napari_flex3d.ops.elasticity import (
    deformation_gradient,
    inverted_cells,
    rigidity_energy,
    shape_gradients,
    stiffness,
)
from napari_flex3d.ops.fourier import multiplicity, radii, shells, soft_edge
from napari_flex3d.ops.projection import Body, rigid_body
from napari_flex3d.particles import Particles

RESOLUTION_LIMIT = 0.4
"""Cycles per pixel that training sees at its end: 80 % of the Nyquist frequency."""

FIRST_LIMIT = 0.25
"""Cycles per pixel that the first epoch sees."""

RIGIDITY_UNIT = 1000.0
"""Rigidity counts thousandths of the volume-mean energy: the same at any number of cells (`docs/decisions.md`)."""

RIGIDITY_SAMPLE = 4
"""Particles of a batch on which the rigidity energy is evaluated; it is smooth in the latent, so few will do."""

TRIAL_EPOCHS = 4
"""Epochs in which a few trial latents are scored before each Gauss-Newton step."""


class FitParams(Protocol):
    """What the loop reads of the parameters of training."""

    latent_dims: int
    epochs: int
    rigidity: float
    centering: Any
    centering_power: float
    latent_noise: float
    flow_lr: float
    flow_lr_final: float
    density_lr: float
    freeze_density: bool
    freeze_latents: bool
    seed: int


@dataclass
class Fit:
    """Everything that changes while a model is fitted; `tensors` and `restore` carry it over a restart.

    Parameters
    ----------
    generator
        Flow generator being trained.
    average
        Running average of its weights, by which the model is judged and used.
    optimizer
        Adam on the generator's weights.
    values, rigid_values
        Canonical map, and the map of the model without motion, on the body's voxels in the images' units.
    latents, covariance
        (N, K) and (N, K, K), standardised scale.
    epoch
        Epochs done.
    """

    generator: FlowGenerator
    average: FlowGenerator
    optimizer: torch.optim.Adam
    values: Tensor
    rigid_values: Tensor
    latents: Tensor
    covariance: Tensor
    epoch: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """All of it as named tensors."""
        out = {"values": self.values, "rigid_values": self.rigid_values}
        out |= {"latents": self.latents, "covariance": self.covariance, "epoch": torch.tensor(self.epoch)}
        out |= {f"generator.{k}": v for k, v in self.generator.state_dict().items()}
        out |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            out |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        return out

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up where `tensors` left."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.values, self.rigid_values = tensors["values"].clone(), tensors["rigid_values"].clone()
        self.latents, self.covariance = tensors["latents"].clone(), tensors["covariance"].clone()
        self.epoch = int(tensors["epoch"])
        self.generator.load_state_dict(under("generator."))
        self.average.load_state_dict(under("average."))
        state = self.optimizer.state_dict()
        state["state"] = {}
        for key, value in under("adam.").items():
            index, name = key.split(".")
            state["state"].setdefault(int(index), {})[name] = value.clone()
        self.optimizer.load_state_dict(state)


@dataclass(frozen=True)
class Setup:
    """What stays the same while a model is fitted.

    Parameters
    ----------
    particles
        The particles at the training box.
    mesh, body, rigid
        The mesh, the masked voxels tied to it, and the same voxels tied to nothing that bends.
    mask
        Voxels that the model describes (n, n, n); the body's order refers to them.
    held_out
        Particles (N) of which only the latents are fitted.
    params
        Parameters of training.
    """

    particles: Particles
    mesh: TetMesh
    body: Body
    rigid: Body
    mask: Tensor
    held_out: NDArray[np.bool_]
    params: FitParams

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """Rows of the particles that the flow and the map are fitted to."""
        return np.flatnonzero(~self.held_out)

    @cached_property
    def elastic(self) -> "Elastic":
        """The mesh as the rigidity energy wants it."""
        rest, cells = torch.from_numpy(self.mesh.vertices), torch.from_numpy(self.mesh.cells)
        inverse, volume = shape_gradients(rest, cells)
        weight = torch.from_numpy(self.mesh.rigidity) * volume * (RIGIDITY_UNIT / volume.sum())
        return Elastic(rest, cells, inverse, weight)

    @property
    def batch_size(self) -> int:
        """Particles in a step: small sets still get a few hundred steps in an epoch."""
        return int(np.clip(len(self.particles) // 200, 8, 64))


@dataclass(frozen=True)
class Elastic:
    """Rest positions (P, 3), cells (C, 4), inverse edge matrices (C, 3, 3) and weights (C) of a mesh."""

    rest: Tensor
    cells: Tensor
    inverse: Tensor
    weight: Tensor


def set_up(
    particles: Particles, mesh: TetMesh, mask: NDArray[np.bool_], held_out_share: float, params: Any
) -> Setup:
    """Tie the voxels to the mesh and choose the held-out particles."""
    points = voxel_positions(np.argwhere(mask), len(mask), particles.pixel_size)
    random = np.random.default_rng(params.seed)
    held_out = np.zeros(len(particles), dtype=bool)
    held_out[random.permutation(len(particles))[: round(held_out_share * len(particles))]] = True
    body = mesh.bind(points)
    rigid = rigid_body(torch.from_numpy(points).float()[body.order])
    return Setup(particles, mesh, body, rigid, torch.from_numpy(mask), held_out, params)


def begin(setup: Setup, density: NDArray[np.float32], layers: int, hidden_units: int) -> Fit:
    """First state: the consensus map (n, n, n, images' units), a small smooth random flow, all latents at zero."""
    params, mesh, body = setup.params, setup.mesh, setup.body
    values = torch.from_numpy(density[setup.mask.numpy()]).float()[body.order]
    mass = vertex_mass(values, body)
    args = (params.latent_dims, elastic_modes(mesh, mass), mass, layers, hidden_units)
    generator, average = FlowGenerator(*args), FlowGenerator(*args)
    random = torch.Generator().manual_seed(params.seed)
    generator.start(0.3 * setup.particles.pixel_size, random)
    average.load_state_dict(generator.state_dict())
    dims, count = params.latent_dims, len(setup.particles)
    return Fit(
        generator=generator,
        average=average,
        optimizer=torch.optim.Adam(generator.parameters(), lr=params.flow_lr),
        values=values,
        rigid_values=values.clone(),
        latents=torch.zeros(count, dims),
        covariance=torch.eye(dims).repeat(count, 1, 1),
    )


def elastic_modes(mesh: TetMesh, mass: Tensor, count: int = 120) -> Tensor:
    """Softest elastic modes of the mesh, (M, P * 3); the first six are its rigid motions.

    Eigenvectors of the rigidity energy at rest in the metric of the mass, scaled to the same energy, so that soft
    motions are the easiest to learn; rigid motions, which cost nothing, are as large as the softest that does.

    Parameters
    ----------
    mesh
        The mesh with its rigidity weights.
    mass
        Density carried by each vertex (P).
    count
        How many at most.
    """
    rest, cells = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.cells)
    inverse, volume = shape_gradients(rest, cells)
    energy = stiffness(cells, inverse, torch.from_numpy(mesh.rigidity) * volume / volume.mean(), len(rest))
    inertia = diags(np.repeat((mass / mass.sum()).double().numpy(), 3)).tocsc()
    size = energy.shape[0]
    below = -1e-3 * energy.diagonal().sum() / inertia.diagonal().sum() / size
    found = min(count + 6, size - 2)
    value, mode = eigsh(energy, k=found, M=inertia, sigma=below, v0=np.ones(size))
    return torch.from_numpy((mode / np.sqrt(value.clip(min=value[6]))).T.copy()).float()


def vertex_mass(values: Tensor, body: Body) -> Tensor:
    """Density that each vertex carries (P): the positive part of the map, shared by barycentric weights."""
    cell_of = torch.repeat_interleave(
        torch.arange(len(body.cells)), (body.offsets[1:] - body.offsets[:-1]).long()
    )
    corners = body.cells.long()[cell_of]
    share = body.weights.clamp(min=0) * values.clamp(min=0)[:, None]
    mass = torch.zeros(len(body.vertices)).index_add_(0, corners.flatten(), share.flatten())
    return mass + 1e-3 * mass.mean()


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
    prior = _prior(params, state.latents[setup.train])
    scene = _scene(setup, state, weight)
    if not params.freeze_latents:
        latents = state.latents[rows]
        if state.epoch < TRIAL_EPOCHS and state.epoch > 0:
            latents = best_trial(
                scene, batch, state.generator, _trials(latents, state.latents[setup.train], random), prior
            )
        state.latents[rows], state.covariance[rows] = gauss_newton(
            scene, batch, state.generator, latents, prior
        )
    latents = state.latents[rows]
    if params.latent_noise > 0:
        latents = latents + params.latent_noise * torch.randn(latents.shape, generator=random)

    values = state.values.requires_grad_(density_step is not None)
    displacements = _centred_flow(state.generator, latents, state.latents[setup.train], random)
    loss = _scene(setup, state, weight).loss(batch, displacements)
    energy = _rigidity(setup, displacements[:RIGIDITY_SAMPLE])
    state.optimizer.zero_grad()
    values.grad = None
    (loss.mean() + params.rigidity * energy.mean()).backward()
    state.optimizer.step()
    with torch.no_grad():
        share = 1 / (len(setup.particles) / setup.batch_size)  # averages over about one epoch
        for slow, fast in zip(state.average.parameters(), state.generator.parameters(), strict=True):
            slow.lerp_(fast, share if state.epoch > 1 else 0.5)
    rigid = Scene(state.rigid_values, setup.rigid, scene.box_size, scene.pixel_size, weight)
    rigid_values = state.rigid_values.requires_grad_(density_step is not None)
    rigid_values.grad = None
    rigid_loss = rigid.loss(batch, None)
    if density_step is not None:
        rigid_loss.sum().backward()
        _move_density(values, values.grad * len(rows), setup, density_step)
        _move_density(rigid_values, rigid_values.grad, setup, density_step)
    state.values, state.rigid_values = values.detach(), rigid_values.detach()
    sums.flexible += float(loss.detach().sum())
    sums.rigid += float(rigid_loss.detach().sum())
    sums.energy += float(energy.detach().mean()) * len(rows)
    sums.count += len(rows)


def _centred_flow(
    generator: FlowGenerator, latents: Tensor, others: Tensor, random: torch.Generator
) -> Tensor:
    """Displacements relative to the mean over a sample of the particles, so that the map stays the consensus."""
    sample = torch.randint(len(others), (256,), generator=random)
    features = generator.features(torch.cat([latents, others[sample]]))
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


def _trials(latents: Tensor, others: Tensor, random: torch.Generator) -> Tensor:
    """Trial latents: the present ones, one step along each coordinate, and those of a random other particle."""
    steps = torch.eye(latents.shape[1])
    other = others[torch.randint(len(others), (len(latents),), generator=random)]
    return torch.stack([latents, *(latents + s for s in steps), *(latents - s for s in steps), other])


def _scene(setup: Setup, state: Fit, weight: Tensor) -> Scene:
    particles = setup.particles
    return Scene(state.values, setup.body, particles.box_size, particles.pixel_size, weight)


def _prior(params: FitParams, latents: Tensor) -> Prior:
    strength = None if params.centering == "auto" else float(params.centering)
    return Prior(strength, params.centering_power, latent_scale(latents))


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
    prior = _prior(setup.params, state.latents[setup.train])
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
    scene, prior = _scene(setup, state, weight), _prior(setup.params, state.latents[setup.train])
    rigid = Scene(state.rigid_values, setup.rigid, scene.box_size, scene.pixel_size, weight)
    flexible_sum = rigid_sum = 0.0
    for rows in _batches(rows_held, 64):
        batch = setup.particles.batch(rows)
        latents = state.latents[rows]
        if not setup.params.freeze_latents:
            trials = _trials(latents, state.latents[setup.train], random)
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
    moved = state.generator(sample)
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
        "displacement_rms": float(state.generator.rms(moved)),
        "displacement_max": float(moved.norm(dim=-1).max()),
        "latent_spread": float(latents.std(0).mean()),
        "border_share": float(border.any(-1).float().mean()),
        "inverted_cells": float(inverted),
    }
