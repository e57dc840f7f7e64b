"""The flexible model: canonical map, mesh, flow generator and a latent per particle."""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file, save_file
from scipy.ndimage import map_coordinates
from torch import Tensor, nn

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.mesh import TetMesh, voxel_positions
from napari_flex3d.ops.convection import CarriedVoxels
from napari_flex3d.ops.surfaces import interpolate

Floats = NDArray[np.float32]

LATENT_BORDER = 1.5
"""Latents are shown and written in the box from -1.5 to 1.5."""


class FlowGenerator(nn.Module):
    """Network from a latent to the displacement of every mesh vertex.

    A multilayer perceptron whose last layer is linear without bias and speaks in elastic modes of the mesh, the
    softest first and largest. Rigid motions are among them as long as poses are held (`docs/decisions.md`). Because
    the last layer is linear, the mean displacement over the particles, which belongs to the canonical map, and the
    scale of the latents, which is a gauge, can be taken out exactly and at no cost.

    Parameters
    ----------
    latent_dims
        Latent coordinates.
    modes
        Elastic modes (M, P * 3) in Å (`elastic_modes`).
    mass
        Density carried by each vertex (P).
    layers, hidden_units
        Size of the perceptron.

    Notes
    -----
    Punjani & Fleet 2023, "3DFlex", Methods; elastic output coordinates are ours (`docs/decisions.md`). The latent is
    also given to the last layer directly, so that a motion linear in the latent needs no hidden units.
    """

    weight: Tensor
    mean_features: Tensor
    modes: Tensor
    mass: Tensor

    def __init__(
        self, latent_dims: int, modes: Tensor, mass: Tensor, layers: int = 6, hidden_units: int = 64
    ):
        super().__init__()
        self.latent_dims = latent_dims
        sizes = [latent_dims] + [hidden_units] * layers
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        features = latent_dims + hidden_units
        self.weight = nn.Parameter(torch.zeros(features, len(modes)))
        self.register_buffer("mean_features", torch.zeros(features))
        self.register_buffer("mass", (mass / mass.sum()).float())
        self.register_buffer("modes", modes.float())

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def start(self, rms: float, random: torch.Generator) -> None:
        """Random first flow of ``rms`` Å at latents of unit size; soft modes are largest in it."""
        for layer in self.linears:
            nn.init.xavier_uniform_(layer.weight, gain=5 / 3, generator=random)
            nn.init.uniform_(layer.bias, -0.5, 0.5, generator=random)
        with torch.no_grad():
            self.weight.normal_(generator=random)
            latents = torch.randn(512, self.latent_dims, generator=random)
            self.centre(latents)
            self.weight.mul_(rms / self.rms(self(latents)))

    @torch.no_grad()
    def lead(self, fields: Tensor) -> None:
        """Start the flow along the first latents as a linear map: displacements (M, P, 3) in Å at a latent of 1.

        What the hidden layers add is made a tenth.
        """
        modes = self.modes.view(len(self.modes), -1, 3)
        scale = torch.einsum("mpc,p->m", modes.square(), self.mass)
        along = torch.einsum("kpc,mpc,p->km", fields, modes, self.mass) / scale
        self.weight[self.latent_dims :] *= 0.1
        self.weight[: len(fields)] = along

    def features(self, latents: Tensor) -> Tensor:
        """What the last layer sees: the latents (B, K) and the last hidden layer, (B, K + hidden)."""
        hidden = latents
        for layer in self.linears:
            hidden = torch.tanh(layer(hidden))
        return torch.cat([latents, hidden], dim=-1)

    def flow(self, features: Tensor) -> Tensor:
        """Displacements (..., P, 3) in Å of features (..., K + hidden) from which the mean was taken."""
        return ((features @ self.weight) @ self.modes).view(*features.shape[:-1], -1, 3)

    def forward(self, latents: Tensor) -> Tensor:
        """Displacements (B, P, 3) in Å of latents (B, K) on the standardised scale."""
        return self.flow(self.features(latents) - self.mean_features)

    def with_jacobian(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements (B, P, 3) and their derivatives along each latent coordinate (B, K, P, 3)."""
        hidden = latents
        first = slope = torch.eye(self.latent_dims, dtype=latents.dtype, device=latents.device).expand(
            len(latents), -1, -1
        )
        for layer in self.linears:
            hidden = torch.tanh(layer(hidden))
            slope = (slope @ layer.weight.T) * (1 - hidden.square())[:, None]
        features = torch.cat([latents, hidden], dim=-1) - self.mean_features
        return self.flow(features), self.flow(torch.cat([first, slope], dim=-1))

    @torch.no_grad()
    def centre(self, latents: Tensor) -> None:
        """Hold the mean displacement over these latents (N, K) at zero."""
        self.mean_features.copy_(self.features(latents).mean(0))

    @torch.no_grad()
    def rescale(self, mean: Tensor, spread: Tensor) -> None:
        """Absorb ``z = mean + spread * z'`` into the weights: the same flow for the standardised latents z'."""
        first = self.linears[0]
        first.bias.add_(first.weight @ mean)
        first.weight.mul_(spread)
        dims = self.latent_dims
        self.mean_features[:dims] = (self.mean_features[:dims] - mean) / spread
        self.weight[:dims].mul_(spread[:, None])

    def rms(self, displacements: Tensor) -> Tensor:
        """Root mean square displacement in Å, weighted by the density that moves."""
        return torch.einsum("bpc,p->b", displacements.square(), self.mass).mean().sqrt()


@dataclass(frozen=True)
class FlexModel:
    """A trained model, as `load_model` gives it: arrays are numpy at the border, torch inside.

    Parameters
    ----------
    mesh
        The tetrahedral mesh, Å.
    generator
        Flow generator; it takes latents on the standardised scale.
    canonical
        Canonical map (n, n, n) in the units of the consensus map.
    mask
        Voxels that the model describes (n, n, n).
    pixel_size
        Å.
    standard
        Latents (N, K) on the standardised scale (mean 0, standard deviation 1).
    covariance
        Posterior covariance (N, K, K) of each latent, same scale.
    held_out, half
        Whether each particle was held out of the training; its half-set.
    latent_scale
        Displayed latent = standardised latent times this, (K).
    facts
        What else the checkpoint says: epoch, training limit, origin of the map.
    """

    mesh: TetMesh
    generator: FlowGenerator
    canonical: Floats
    mask: NDArray[np.bool_]
    pixel_size: float
    standard: Floats
    covariance: Floats
    held_out: NDArray[np.bool_]
    half: NDArray[np.uint8]
    latent_scale: Floats
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def latent_dims(self) -> int:
        """Number of latent coordinates."""
        return self.generator.latent_dims

    @property
    def box_size(self) -> int:
        """Box of the canonical map."""
        return len(self.canonical)

    @cached_property
    def latents(self) -> Floats:
        """Latents (N, K) on the displayed scale: the 98th percentile of |z| is 1.2."""
        return np.clip(self.standard * self.latent_scale, -LATENT_BORDER, LATENT_BORDER)

    @cached_property
    def latent_sd(self) -> Floats:
        """Posterior standard deviation (N, K) of each latent, displayed scale."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2)) * self.latent_scale

    def with_parts_of(self, other: "FlexModel") -> "FlexModel":
        """Give the same model with the mesh and the canonical map of another one, as far as they are the same."""
        same_mesh = all(
            np.array_equal(getattr(self.mesh, name), getattr(other.mesh, name)) for name in _MESH_ARRAYS
        )
        same_map = np.array_equal(self.canonical, other.canonical)
        mesh, canonical = (
            other.mesh if same_mesh else self.mesh,
            other.canonical if same_map else self.canonical,
        )
        return replace(self, mesh=mesh, canonical=canonical)

    def displacements(self, z: ArrayLike) -> Floats:
        """Displacement (..., P, 3) of every mesh vertex in Å at latents (..., K)."""
        latents = np.asarray(z, dtype=np.float32)
        if latents.shape[-1:] != (self.latent_dims,):
            raise ValueError(
                f"a latent has {self.latent_dims} coordinates, got an array of shape {latents.shape}"
            )
        layers, moves = self._flow
        hidden = standard = latents.reshape(-1, self.latent_dims) / self.latent_scale
        for weight, bias in layers:
            hidden = np.tanh(hidden @ weight + bias)
        features = np.concatenate([standard, hidden], axis=1) - self.generator.mean_features.numpy()
        moved = torch.from_numpy(features.astype(np.float32)) @ moves
        return moved.numpy().reshape(*latents.shape[:-1], -1, 3)

    @cached_property
    def _flow(self) -> tuple[list[tuple[Floats, Floats]], Tensor]:
        """The generator for single latents, a fifth of a slider's time: its layers, and the moves of all features."""
        with torch.no_grad():
            layers = [(layer.weight.numpy().T.copy(), layer.bias.numpy()) for layer in self.generator.linears]
            return layers, self.generator.weight @ self.generator.modes

    def move(self, points: ArrayLike, z: ArrayLike) -> Floats:
        """Points (M, 3), Å from the box centre, carried along the flow of latent ``z`` (K)."""
        at = np.asarray(points, dtype=np.float32).reshape(-1, 3)
        cell, weights = self.mesh.locate(at)
        return at + interpolate(self.displacements(z), self.mesh.cells[cell], weights)

    def volume(
        self,
        z: ArrayLike,
        *,
        map: ArrayLike | None = None,
        apix: float | None = None,
        box: int | None = None,
        order: int = 3,
    ) -> Floats:
        """Map (box, box, box) deformed by the flow of latent ``z``; mass is kept, density that spreads gets weaker.

        Parameters
        ----------
        z
            Latent (K), displayed scale.
        map
            Another map (n, n, n) of the same particle, centred like the consensus; the canonical map if not given.
        apix
            Its pixel size, or the pixel size wanted of the canonical map; Å.
        box
            Box wanted of the canonical map.
        order
            3 for tricubic spreading, 1 for trilinear (quicker, blurs a little).
        """
        apix = self.pixel_size if apix is None else apix
        if map is None:
            density = self._canonical_on(box or self.box_size, apix)
        else:
            density = np.ascontiguousarray(map, dtype=np.float32)
        return self._carried(len(density), apix).pushed(density, self.displacements(z), order)

    def mask_on(self, box: int, apix: float) -> NDArray[np.bool_]:
        """Mask (box, box, box) on another grid about the same centre, ``apix`` Å a voxel."""
        return _resample(self.mask.astype(np.float32), self.pixel_size, box, apix, order=1) > 0.5

    def _canonical_on(self, box: int, apix: float) -> Floats:
        if box == self.box_size and np.isclose(apix, self.pixel_size):
            return self.canonical
        return _resample(self.canonical, self.pixel_size, box, apix, order=3)

    def _carried(self, box: int, apix: float) -> CarriedVoxels:
        """Voxels of a grid inside the mask, tied to the mesh; those of the last two grids are kept."""
        key = (box, round(apix, 4))
        if key not in self._bound:
            mask = self.mask_on(box, apix)
            located = self.mesh.locate(voxel_positions(np.argwhere(mask), box, apix).astype(np.float32))
            carried = CarriedVoxels.of(mask, apix, self.mesh.vertices, self.mesh.cells, *located)
            for old in list(self._bound)[:-1]:  # a live view goes to and fro between a coarse and a full grid
                del self._bound[old]
            self._bound[key] = carried
        return self._bound[key]

    @cached_property
    def _bound(self) -> dict[tuple[int, float], CarriedVoxels]:
        return {}


def _resample(volume: Floats, pixel_size: float, box: int, apix: float, order: int) -> Floats:
    """A map on another grid about the same centre."""
    axis = (np.arange(box) - box // 2) * apix / pixel_size + len(volume) // 2
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    return map_coordinates(volume, grid, order=order, mode="constant").astype(np.float32)


def save_model(folder: Path, model: FlexModel, state: dict[str, Tensor] | None = None) -> None:
    """Write a checkpoint: ``model.safetensors`` and, last, ``model.json``.

    Parameters
    ----------
    folder
        Made if missing.
    model
        The model.
    state
        Tensors that a resumed training needs besides the model.
    """
    tensors = {f"generator.{k}": v for k, v in model.generator.state_dict().items()}
    tensors |= {f"state.{k}": v for k, v in (state or {}).items()}
    arrays = {
        "canonical": model.canonical,
        "mask": model.mask.astype(np.uint8),
        "latents": model.standard,
        "covariance": model.covariance,
        "held_out": model.held_out.astype(np.uint8),
        "half": model.half,
        "latent_scale": model.latent_scale,
    }
    arrays |= {f"mesh.{name}": getattr(model.mesh, name) for name in _MESH_ARRAYS}
    tensors |= {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "model.safetensors") as temporary:
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary)
    plain = {
        "format": 1,
        "latent_dims": model.latent_dims,
        "layers": len(model.generator.layers),
        "hidden_units": model.generator.linears[0].out_features,
        "pixel_size": model.pixel_size,
        **model.facts,
    }
    with atomic(folder / "model.json") as temporary:
        temporary.write_text(json.dumps(plain, indent=1))


_MESH_ARRAYS = ("vertices", "cells", "rigidity", "segment")


def load_model(path: Path | str) -> FlexModel:
    """Model of a training job (its newest checkpoint, also while it still runs) or of one checkpoint folder.

    Raises
    ------
    InputError
        If there is no checkpoint.
    """
    return _load(checkpoint_folder(Path(path)))[0]


def load_state(folder: Path) -> tuple[FlexModel, dict[str, Tensor]]:
    """Model of a checkpoint folder, and the tensors that a resumed training needs."""
    return _load(folder)


def checkpoint_folder(path: Path) -> Path:
    """The checkpoint itself, or the newest one of a training job."""
    if (path / "model.json").is_file():
        return path
    latest = path / "latest"
    if latest.is_file() and (path / latest.read_text().strip() / "model.json").is_file():
        return path / latest.read_text().strip()
    raise InputError(
        f"{path} holds no checkpoint yet; give a training job that has finished at least one epoch."
    )


def _load(folder: Path) -> tuple[FlexModel, dict[str, Tensor]]:
    facts = json.loads((folder / "model.json").read_text())
    if facts.pop("format") != 1:
        raise InputError(f"{folder} was written by a newer version of napari-flex3d; update the program.")
    tensors = load_file(folder / "model.safetensors")
    arrays = {k: v.numpy() for k, v in tensors.items() if not k.startswith(("generator.", "state."))}
    mesh = TetMesh(**{name: arrays[f"mesh.{name}"] for name in _MESH_ARRAYS})
    generator = FlowGenerator(
        facts.pop("latent_dims"),
        tensors["generator.modes"],
        tensors["generator.mass"],
        facts.pop("layers"),
        facts.pop("hidden_units"),
    )
    generator.load_state_dict({k[10:]: v for k, v in tensors.items() if k.startswith("generator.")})
    model = FlexModel(
        mesh=mesh,
        generator=generator,
        canonical=arrays["canonical"],
        mask=arrays["mask"].astype(bool),
        pixel_size=facts.pop("pixel_size"),
        standard=arrays["latents"],
        covariance=arrays["covariance"],
        held_out=arrays["held_out"].astype(bool),
        half=arrays["half"],
        latent_scale=arrays["latent_scale"],
        facts=facts,
    )
    return model, {k[6:]: v for k, v in tensors.items() if k.startswith("state.")}
