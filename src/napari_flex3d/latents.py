"""Latents of particles: Gauss-Newton steps, their posterior covariance, the prior."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_flex3d.model import FlowGenerator
from napari_flex3d.ops.misfit import misfit, normal_equations
from napari_flex3d.ops.projection import Body, place, project
from napari_flex3d.particles import ParticleBatch

LARGEST_STEP = 1.0
"""No Gauss-Newton step is longer than one standard deviation of the latents."""

SETTLING = 3
"""Gauss-Newton steps to latents that are to stay."""

FARTHEST = 4.0
"""Latents stay within so many standard deviations."""


@dataclass(frozen=True)
class Scene:
    """What the images of a batch are compared with: a map on its mesh, at the box of the images.

    Parameters
    ----------
    values
        Density of the body's voxels, in the images' units.
    body
        Voxels and their cells.
    box_size, pixel_size
        Of the images.
    oversampling
        How much finer the spreading grid is.

    Notes
    -----
    Batches are in units of the noise (`ParticleBatch.times` one over its amplitude), and so are losses.
    """

    values: Tensor
    body: Body
    box_size: int
    pixel_size: float
    oversampling: float = 1.5

    def images(self, batch: ParticleBatch, displacements: Tensor | None) -> Tensor:
        """Transforms of the model images (B, box, half); displacements (B, P, 3) or None for the map at rest."""
        vertices = self._placed(batch, displacements)
        return batch.transfer * project(self.values, vertices, self.body, self.box_size, self.oversampling)

    def loss(self, batch: ParticleBatch, displacements: Tensor | None) -> Tensor:
        """Half the squared misfit of each particle (B)."""
        vertices = self._placed(batch, displacements)
        return misfit(self.values, vertices, self.body, batch.transform, batch.transfer, self.oversampling)

    def _placed(self, batch: ParticleBatch, displacements: Tensor | None) -> Tensor:
        rest = self.body.vertices[None]
        return place(batch.rotation, rest if displacements is None else rest + displacements, self.pixel_size)


@dataclass(frozen=True)
class Prior:
    """Prior on standardised latents: unit Gaussian, or a power of the latents on the displayed scale.

    Parameters
    ----------
    strength, power
        None for the unit Gaussian; otherwise the penalty is ``strength * sum_k |s_k z_k|^power``.
    scale
        Displayed latent = standardised latent times this (K).
    """

    strength: float | None
    power: float
    scale: Tensor

    def energy(self, latents: Tensor) -> Tensor:
        """Penalty of each latent, (B)."""
        if self.strength is None:
            return 0.5 * latents.square().sum(-1)
        return self.strength * (latents * self.scale).abs().pow(self.power).sum(-1)

    def gradient(self, latents: Tensor) -> Tensor:
        """Its gradient, (B, K)."""
        if self.strength is None:
            return latents
        shown = latents * self.scale
        return self.strength * self.power * self.scale * shown.sign() * shown.abs().pow(self.power - 1)

    def curvature(self, latents: Tensor) -> Tensor:
        """Diagonal of its Hessian, (B, K)."""
        if self.strength is None:
            return torch.ones_like(latents)
        factor = self.strength * self.power * (self.power - 1)
        return factor * self.scale.square() * (latents * self.scale).abs().pow(self.power - 2) + 1e-3


@torch.no_grad()
def gauss_newton(
    scene: Scene, batch: ParticleBatch, generator: FlowGenerator, latents: Tensor, prior: Prior
) -> tuple[Tensor, Tensor]:
    """One damped Gauss-Newton step on the latents of a batch.

    Parameters
    ----------
    scene, batch
        The map and the particles.
    generator
        Flow generator.
    latents
        Present latents (B, K), standardised scale.
    prior
        Prior on them.

    Returns
    -------
    latents
        (B, K).
    covariance
        Posterior covariance (B, K, K): the inverse of ``J^T J`` plus the prior's curvature.
    """
    displacements, jacobian = generator.with_jacobian(latents)
    rotation, pixel = batch.rotation, scene.pixel_size
    vertices = place(rotation, scene.body.vertices[None] + displacements, pixel)
    motion = place(rotation, jacobian.flatten(1, 2), pixel).view(*jacobian.shape[:-1], 2)
    images = batch.transform, batch.transfer
    pull, precision = normal_equations(
        scene.values, vertices, motion, scene.body, *images, scene.oversampling
    )
    precision = precision + torch.diag_embed(prior.curvature(latents))
    covariance, _ = torch.linalg.inv_ex(precision)  # "ex": a GPU need not be waited for
    step = (covariance @ (pull - prior.gradient(latents))[..., None])[..., 0]
    length = step.norm(dim=-1, keepdim=True)
    step = step * (LARGEST_STEP / length.clamp(min=LARGEST_STEP))
    return (latents + step).clamp(-FARTHEST, FARTHEST), covariance


@torch.no_grad()
def settled(
    scene: Scene, batch: ParticleBatch, generator: FlowGenerator, latents: Tensor, prior: Prior
) -> tuple[Tensor, Tensor]:
    """Latents (B, K) where the posterior is highest near those given, and their covariance (B, K, K) there.

    Of each Gauss-Newton step the whole, the half or nothing is taken, whatever fits best: where the flow bends, whole
    steps would go to and fro for ever.
    """
    for _ in range(SETTLING):
        ahead, _ = gauss_newton(scene, batch, generator, latents, prior)
        steps = torch.stack([ahead, (latents + ahead) / 2, latents])
        latents = best_trial(scene, batch, generator, steps, prior)
    return latents, gauss_newton(scene, batch, generator, latents, prior)[1]


@torch.no_grad()
def best_trial(
    scene: Scene, batch: ParticleBatch, generator: FlowGenerator, trials: Tensor, prior: Prior
) -> Tensor:
    """The best of some trial latents (T, B, K) for every particle of a batch, (B, K)."""
    scores = torch.stack([scene.loss(batch, generator(trial)) + prior.energy(trial) for trial in trials])
    best = scores.argmin(0)
    return trials[best, torch.arange(trials.shape[1], device=best.device)]
