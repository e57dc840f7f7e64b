"""What a fit starts from and what changes while it goes on."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.mesh import TetMesh, elastic_modes, vertex_mass, voxel_positions
from napari_flex3d.model import FlowGenerator
from napari_flex3d.ops.elasticity import shape_gradients
from napari_flex3d.ops.projection import Body, rigid_body
from napari_flex3d.particles import Particles

RIGIDITY_UNIT = 1000.0
"""Rigidity counts thousandths of the volume-mean energy: the same at any number of cells (`docs/decisions.md`)."""


class FitParams(Protocol):
    """What the loop reads of the parameters of training."""

    latent_dims: Any
    start: str
    motions: tuple[int, ...]
    layers: int
    hidden_units: int
    epochs: int
    extra_epochs: int
    rigidity: Any
    centering: Any
    centering_power: float
    latent_noise: Any
    flow_lr: Any
    flow_lr_final: Any
    density_lr: float
    freeze_density: bool
    freeze_latents: bool
    initial_latents: Any
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
        return {name: tensor.cpu() for name, tensor in out.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up where `tensors` left."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        for name in ("values", "rigid_values", "latents", "covariance"):
            setattr(self, name, tensors[name].to(self.values.device, copy=True))
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
        The mesh, the masked voxels tied to it, and the same voxels tied to nothing that bends. What is fitted lies
        on the device of the body.
    mask
        Voxels that the model describes (n, n, n); the body's order refers to them.
    held_out
        Particles (N) of which only the latents are fitted.
    params
        Parameters of training.
    weighed
        Particles at most from which Fourier weights and signal of the maps are taken; of more, evenly spaced ones.
    """

    particles: Particles
    mesh: TetMesh
    body: Body
    rigid: Body
    mask: Tensor
    held_out: NDArray[np.bool_]
    params: FitParams
    weighed: int = 10_000

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """Rows of the particles that the flow and the map are fitted to."""
        return np.flatnonzero(~self.held_out)

    @property
    def device(self) -> torch.device:
        """Where the fit is computed."""
        return self.body.vertices.device

    def decided(self, **values: Any) -> "Setup":
        """The same with numbers in place of "auto"."""
        params: Any = self.params
        return replace(self, params=replace(params, **values))

    def holds_latents(self, epoch: int) -> bool:
        """Whether latents stay: always if asked for, and given ones until the flow has learned from them."""
        given = self.params.initial_latents is not None
        return self.params.freeze_latents or (given and epoch == 0)

    @cached_property
    def elastic(self) -> "Elastic":
        """The mesh as the rigidity energy wants it."""
        rest, cells = torch.from_numpy(self.mesh.vertices), torch.from_numpy(self.mesh.cells)
        inverse, volume = shape_gradients(rest, cells)
        weight = torch.from_numpy(self.mesh.rigidity) * volume * (RIGIDITY_UNIT / volume.sum())
        return Elastic(*(part.to(self.device) for part in (rest, cells, inverse, weight)))

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
    particles: Particles,
    mesh: TetMesh,
    mask: NDArray[np.bool_],
    held_out_share: float,
    params: Any,
    device: torch.device | str = "cpu",
) -> Setup:
    """Tie the voxels to the mesh and choose the held-out particles."""
    points = voxel_positions(np.argwhere(mask), len(mask), particles.pixel_size)
    random = np.random.default_rng(params.seed)
    distinct = int(particles.number.max()) + 1  # copies of a particle go together
    held_out = np.isin(particles.number, random.permutation(distinct)[: round(held_out_share * distinct)])
    body = mesh.bind(points)
    rigid = rigid_body(torch.from_numpy(points).float()[body.order])
    mask_here = torch.from_numpy(mask)
    return Setup(particles, mesh, body.to(device), rigid.to(device), mask_here, held_out, params)


@dataclass(frozen=True)
class Rest:
    """The consensus map at rest on its mesh.

    Parameters
    ----------
    values
        Its density on the body's voxels (N), in the images' units.
    mass
        Density that each vertex carries (P).
    modes
        Elastic modes (M, P * 3).
    """

    values: Tensor
    mass: Tensor
    modes: Tensor


def at_rest(setup: Setup, density: NDArray[np.float32]) -> Rest:
    """The consensus map (n, n, n; images' units) at rest, and how its mesh bends easily."""
    body = setup.body.to("cpu")
    values = torch.from_numpy(density[setup.mask.numpy()]).float()[body.order]
    mass = vertex_mass(values, body)
    return Rest(values.to(setup.device), mass, elastic_modes(setup.mesh, mass))


def begin(
    setup: Setup,
    rest: Rest,
    layers: int,
    hidden_units: int,
    latents: NDArray[np.float32] | None = None,
) -> Fit:
    """First state: the map at rest, a small smooth random flow, all latents at zero.

    Given ``latents`` (N, K) are brought to mean 0 and standard deviation 1 over the training particles.
    """
    params, device = setup.params, setup.device
    args = (params.latent_dims, rest.modes, rest.mass, layers, hidden_units)
    generator, average = FlowGenerator(*args), FlowGenerator(*args)
    random = torch.Generator().manual_seed(params.seed)
    generator.start(0.3 * setup.particles.pixel_size, random)
    average.load_state_dict(generator.state_dict())
    generator, average = generator.to(device), average.to(device)
    dims, count = params.latent_dims, len(setup.particles)
    first = torch.zeros(count, dims) if latents is None else torch.from_numpy(latents).float()
    if latents is not None:
        first = (first - first[setup.train].mean(0)) / first[setup.train].std(0)
    return Fit(
        generator=generator,
        average=average,
        optimizer=_adam(generator, device),
        values=rest.values.clone(),
        rigid_values=rest.values.clone(),
        latents=first.to(device),
        covariance=torch.eye(dims, device=device).repeat(count, 1, 1),
    )


def _adam(generator: FlowGenerator, device: torch.device) -> torch.optim.Adam:
    """Adam; on a CUDA GPU its rate and count of steps lie there, so that a step can be recorded (`fit.recorder`)."""
    if device.type == "cuda":
        rate = torch.zeros((), device=device)
        return torch.optim.Adam(generator.parameters(), lr=rate, fused=True, capturable=True)
    return torch.optim.Adam(generator.parameters(), fused=device.type == "cpu")


def latent_scale(latents: Tensor) -> Tensor:
    """Factor (K) to the displayed scale: the 98th percentile of |z| becomes 1.2."""
    sample = latents if len(latents) <= 100_000 else latents[:: len(latents) // 100_000]
    return 1.2 / torch.quantile(sample.abs(), 0.98, dim=0).clamp(min=1e-3)
