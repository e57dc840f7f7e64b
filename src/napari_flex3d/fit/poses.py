"""Poses improved at the end of a training: rotation and shift in one Gauss-Newton system with the latents."""

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_flex3d.fit.covariance import expectation_maximisation
from napari_flex3d.latents import FARTHEST, Prior, Scene
from napari_flex3d.model import FlowGenerator
from napari_flex3d.ops.misfit import normal_equations
from napari_flex3d.ops.projection import place
from napari_flex3d.particles import ParticleBatch

STEPS = 4
"""Gauss-Newton steps of each particle."""

FIRST_ROTATION, FIRST_SHIFT = 0.02, 0.1
"""Standard deviations that the search for what poses are off by begins with: radians, pixels."""

EM_STEPS = 50


@dataclass(frozen=True)
class PosePrior:
    """Standard deviation of what poses are off by, about each axis.

    Parameters
    ----------
    rotation, shift
        Radians, Å.
    """

    rotation: float
    shift: float

    def precision(self) -> Tensor:
        """Diagonal of its inverse covariance: three rotations, two shifts (5)."""
        return torch.tensor([self.rotation**-2] * 3 + [self.shift**-2] * 2)


@torch.no_grad()
def pose_equations(
    scene: Scene, batch: ParticleBatch, generator: FlowGenerator, latents: Tensor, prior: Prior
) -> tuple[Tensor, Tensor]:
    """Normal equations of small pose corrections with the latents left open.

    Returns
    -------
    precision, pull
        (B, 5, 5) and (B, 5).
    """
    dims = latents.shape[1]
    displacements, jacobian = generator.with_jacobian(latents)
    at = scene.body.vertices[None] + displacements
    pose = latents.new_zeros(len(latents), 5)
    placed = vertices_and_motions(batch.rotation, pose, at, jacobian, scene.pixel_size)
    images = batch.transform, batch.transfer
    pull, precision = normal_equations(scene.values, *placed, scene.body, *images, scene.oversampling)
    both, open_latents = precision[:, dims:, :dims], precision[:, :dims, :dims].clone()
    open_latents += torch.diag_embed(prior.curvature(latents))
    back = pull[:, :dims] - prior.gradient(latents)
    explained = torch.linalg.solve(open_latents, torch.cat([both.mT, back[..., None]], dim=-1))
    left = torch.cat([precision[:, dims:, dims:], pull[:, dims:, None]], dim=-1) - both @ explained
    return left[..., :5], left[..., 5]


def pose_errors(precision: Tensor, pull: Tensor, pixel_size: float) -> PosePrior:
    """What poses are off by, from the normal equations of many particles (N, 5, 5) and (N, 5).

    Notes
    -----
    Small corrections are drawn from a normal distribution whose covariance is found by expectation-maximisation; the
    axes of an image are alike.
    """
    first = torch.tensor([FIRST_ROTATION] * 3 + [FIRST_SHIFT * pixel_size] * 2).double()
    scaled = precision.cpu().double() * first * first[:, None], pull.cpu().double() * first
    _, covariance, _ = expectation_maximisation(*scaled, 1.0, EM_STEPS)
    variance = covariance.diagonal() * first.square()
    return PosePrior(float(variance[:3].mean().sqrt()), float(variance[3:].mean().sqrt()))


def turned(rotation: Tensor, pose: Tensor) -> Tensor:
    """Rotations (B, 3, 3) after a small turn of the image frame about its axes: the first three of ``pose`` (B, 5)."""
    x, y, z = pose[:, :3].unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    return torch.linalg.matrix_exp(cross) @ rotation


def vertices_and_motions(
    rotation: Tensor, pose: Tensor, at: Tensor, jacobian: Tensor, pixel_size: float
) -> tuple[Tensor, Tensor]:
    """Vertices in the images (B, P, 2), pixels, and how they move along latents, rotations and shifts (B, K + 5, P, 2).

    Parameters
    ----------
    rotation
        As given (B, 3, 3).
    pose
        Small turn about the image's axes, radians, and shift of the particle in the image, Å (B, 5).
    at
        Deformed vertices in the map's frame (B, P, 3), Å.
    jacobian
        Their derivatives along each latent (B, K, P, 3).
    """
    now = turned(rotation, pose)
    seen = torch.einsum("bij,bpj->bpi", now, at)
    x, y, z = seen.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rigid = torch.stack(
        [
            torch.stack([zero, -z], -1),
            torch.stack([z, zero], -1),
            torch.stack([-y, x], -1),
            torch.stack([one, zero], -1),
            torch.stack([zero, one], -1),
        ],
        dim=1,
    )
    along = place(now, jacobian.flatten(1, 2), pixel_size).view(*jacobian.shape[:-1], 2)
    vertices = place(now, at, pixel_size) + pose[:, None, 3:] / pixel_size
    return vertices, torch.cat([along, rigid / pixel_size], dim=1)


@torch.no_grad()
def improve(
    scene: Scene,
    batch: ParticleBatch,
    generator: FlowGenerator,
    latents: Tensor,
    prior: Prior,
    pose_prior: PosePrior,
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (B, K), their covariance with poses left open (B, K, K), and pose corrections (B, 5) of a batch."""
    dims = latents.shape[1]
    stiff = pose_prior.precision().to(latents)
    pose = latents.new_zeros(len(latents), 5)
    precision = torch.empty(0)
    for _ in range(STEPS):
        displacements, jacobian = generator.with_jacobian(latents)
        at = scene.body.vertices[None] + displacements
        vertices, motions = vertices_and_motions(batch.rotation, pose, at, jacobian, scene.pixel_size)
        images = batch.transform, batch.transfer
        pull, gram = normal_equations(
            scene.values, vertices, motions, scene.body, *images, scene.oversampling
        )
        held = torch.cat([prior.curvature(latents), stiff.expand_as(pose)], dim=-1)
        back = torch.cat([prior.gradient(latents), stiff * pose], dim=-1)
        precision = gram + torch.diag_embed(held)
        step = torch.linalg.solve(precision, pull - back)
        latents = (latents + step[:, :dims].clamp(-1, 1)).clamp(-FARTHEST, FARTHEST)
        pose = pose + step[:, dims:]
    return latents, torch.linalg.inv(precision)[:, :dims, :dims], pose
