"""Motions that the particles support, from one pass and before any network: a linear model of small motion.

Along the softest elastic modes of the mesh the difference between a particle and the map at rest is linear in the
mode coefficients while the motion is small. The covariance of the coefficients over the particles has the motions as
its leading eigenvectors. A null, the same computation with the sign of every residual coefficient drawn at random,
says how large a motion noise alone makes; a second half of the particles says whether it gains anything. Copies that
symmetry expansion makes of a particle share its noise: they have the same signs, and stay in one half.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.fit.covariance import expectation_maximisation, log_likelihood
from napari_flex3d.fit.levels import FIRST_LIMIT, Level, held_level
from napari_flex3d.fit.state import Fit, Rest, Setup
from napari_flex3d.ops.projection import place, project_tangent

MODES = 40
"""Softest elastic modes that motions are made of, besides the rigid ones."""

PARTICLES = 3000
"""Particles looked at, at most."""

BATCH = 16
"""Particles of a batch, each with an image for every coefficient."""

MOTIONS = 8
"""Motions told of."""

FIRST_SIZE = 0.05
"""Size of every coefficient to begin with, pixels rms: what no particle speaks of stays there."""

STEPS = 25
NULLS = 2

FARTHEST_FREQUENCY = 1 / 12.0
"""Cycles per Å that are looked at, at most: a motion of several Å is linear in coarse images only."""

OVER_NULL = 1.3
"""A motion is supported when it is so many times as large as the largest that noise makes, and its gain ..."""

SURE = 3.0
"""... is so many times as large as its standard error ..."""

WORTH = 0.1
"""... and this share of the first motion's: less is made by the bend of a larger motion, or by wrong poses."""


@dataclass(frozen=True)
class Motions:
    """Motions, those that change the images most first.

    Parameters
    ----------
    size
        Density-weighted rms displacement of each over the particles, Å (M).
    internal
        The part of it that bends: without a common rotation and shift, Å (M). This is what is compared with the null.
    null
        Largest internal size in the null, Å.
    gain, error
        What each motion adds to the log-likelihood of a particle it was not estimated from, and its standard error (M).
    supported
        How many, from the first, the particles support.
    fields
        Displacement of every vertex for a latent one standard deviation from its mean, Å (M, P, 3).
    rows, latents
        The particles that were looked at (n), and where each stands along the motions (n, M).
    """

    size: Tensor
    internal: Tensor
    null: float
    gain: Tensor
    error: Tensor
    supported: int
    fields: Tensor
    rows: Tensor
    latents: Tensor


def find_motions(setup: Setup, rest: Rest) -> Generator[tuple[int, int], None, Motions]:
    """Look for motions about the map at rest among the training particles.

    Yields
    ------
    done, total
        Particles seen, and in all.
    """
    random = torch.Generator().manual_seed(setup.params.seed)
    chosen = torch.randperm(len(setup.train), generator=random)[:PARTICLES]
    rows = torch.from_numpy(setup.train)[chosen].sort().values
    level = held_level(setup, rest.values, min(FIRST_LIMIT, FARTHEST_FREQUENCY * setup.particles.pixel_size))
    basis = coefficient_basis(rest, level.body.vertices.cpu(), MODES).to(setup.device)
    number = setup.particles.number[rows.numpy()]
    precision, pull, null_pull = yield from _normal_equations(setup, level, basis, rows, random)
    first = (FIRST_SIZE * setup.particles.pixel_size) ** 2
    _, covariance, posterior = expectation_maximisation(precision, pull, first, STEPS)
    internal, vector, along = _leading(covariance, precision)
    of_null = [expectation_maximisation(precision, one, first, STEPS)[1] for one in null_pull]
    null = max(float(torch.linalg.eigvalsh(one[6:, 6:])[-1].sqrt()) for one in of_null)
    gain, error = _gains(precision, pull, number, first, random)
    sure = (internal > OVER_NULL * null) & (gain > SURE * error) & (gain > WORTH * gain[0])
    latents = (posterior[:, 6:] @ vector) / internal
    spread = latents.std(0)
    return Motions(
        size=along.norm(dim=0),
        internal=internal,
        null=null,
        gain=gain,
        error=error,
        supported=int(sure.long().cumprod(0).sum()),
        fields=torch.einsum("rm,rpc->mpc", (along * spread).float(), basis.cpu()),
        rows=rows,
        latents=((latents - latents.mean(0)) / spread).float().cpu(),
    )


@torch.no_grad()
def follow(state: Fit, motions: Motions, taken: Sequence[int]) -> None:
    """Start the flow of a fit as the linear map of some of the motions, by their numbers from 0."""
    fields = motions.fields[list(taken)].to(state.values.device)
    for generator in (state.generator, state.average):
        generator.lead(fields)
        generator.centre(torch.zeros_like(state.latents[:1]))


def coefficient_basis(rest: Rest, vertices: Tensor, count: int) -> Tensor:
    """Displacements (6 + R, P, 3) of one Å rms each, perpendicular by density: six rigid motions, then elastic modes.

    Parameters
    ----------
    rest
        It has the modes and the density that each vertex carries.
    vertices
        At rest (P, 3), Å.
    count
        Modes taken besides six rigid ones.
    """
    weight = (rest.mass / rest.mass.sum()).sqrt()[:, None].double()
    modes = rest.modes[: count + 6].double().view(-1, len(vertices), 3) * weight
    modes = modes / modes.flatten(1).norm(dim=1)[:, None, None]
    rigid = torch.linalg.qr((_rigid(vertices.double()) * weight).flatten(1).T)[0].T
    inner = modes.flatten(1) - (modes.flatten(1) @ rigid.T) @ rigid
    _, size, elastic = torch.linalg.svd(inner, full_matrices=False)
    both = torch.cat([rigid, elastic[size > 0.1]])  # the rigid motions themselves are gone from the modes
    return (both.view(-1, len(vertices), 3) / weight).float()


def _rigid(rest: Tensor) -> Tensor:
    """Three shifts and three small rotations of points (P, 3), (6, P, 3)."""
    about = rest - rest.mean(0)
    axes = torch.eye(3, dtype=rest.dtype, device=rest.device)
    turns = torch.linalg.cross(axes[:, None].expand(-1, len(rest), -1), about.expand(3, -1, -1))
    return torch.cat([axes[:, None].expand(-1, len(rest), -1), turns])


@torch.no_grad()
def _normal_equations(
    setup: Setup, level: Level, basis: Tensor, rows: Tensor, random: torch.Generator
) -> Generator[tuple[int, int], None, tuple[Tensor, Tensor, Tensor]]:
    """Precision (n, r, r) and pull (n, r) of each particle's coefficients, and pulls of the null (NULLS, n, r)."""
    assert level.values is not None  # the map is held
    precision, pull, null = [], [], []
    drawn: dict[int, Tensor] = {}  # signs of each particle (NULLS, coefficients, 1)
    done = 0
    for _, batch in level.batches(setup, rows.numpy(), BATCH):
        placed = place(batch.rotation, level.body.vertices[None], level.pixel_size)
        motion = torch.einsum("bij,rpj->brpi", batch.rotation[:, :2], basis) / level.pixel_size
        products = project_tangent(
            level.values, placed, motion.contiguous(), level.body, level.box_size, level.oversampling
        )
        products *= batch.transfer[:, None]
        rest = torch.view_as_real(batch.transform - products[:, 0])
        along = torch.view_as_real(products[:, 1:]).flatten(2)
        signs = torch.randint(2, (NULLS, *rest.shape[:-1], 1), generator=random).to(rest) * 2 - 1
        for i, number in enumerate(setup.particles.number[rows[done : done + len(rest)].numpy()].tolist()):
            signs[:, i] = drawn.setdefault(number, signs[:, i])
        precision.append((along @ along.mT).cpu().double())
        pull.append(torch.einsum("brk,bk->br", along, rest.flatten(1)).cpu().double())
        null.append(torch.einsum("brk,nbk->nbr", along, (rest * signs).flatten(2)).cpu().double())
        done += len(rest)
        yield done, len(rows)
    return torch.cat(precision), torch.cat(pull), torch.cat(null, dim=1)


def _leading(covariance: Tensor, precision: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Motions, those that change the images most first.

    Returns
    -------
    Internal size, Å rms (M); elastic coefficients in columns, of length 1 (r - 6, M); coefficients at one standard
    deviation, with the rigid ones that accompany it (r, M).
    """
    value, vector = torch.linalg.eigh(covariance[6:, 6:])
    size, vector = value.flip(0)[:MOTIONS].clamp(min=1e-12).sqrt(), vector.flip(1)[:, :MOTIONS]
    along = covariance[:, 6:] @ vector / size
    change = torch.einsum("rm,rs,sm->m", along, precision.mean(0), along)
    order = change.argsort(descending=True)
    return size[order], vector[:, order], along[:, order]


def _gains(
    precision: Tensor, pull: Tensor, number: NDArray[np.int64], first: float, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What each motion adds to the log-likelihood of a particle of the other half, (M), and its standard error.

    What is compared with no motion at all is a covariance of the rigid coefficients alone: errors of the poses.
    Copies of one particle (of one ``number``) count as one in the standard error.
    """
    particle, inverse = np.unique(number, return_inverse=True)
    which_of = torch.from_numpy(inverse).to(pull.device)
    half = torch.empty(len(particle), dtype=torch.bool, device=pull.device)
    for which, some in enumerate(torch.randperm(len(particle), generator=random).chunk(2)):
        half[some] = bool(which)
    added = pull.new_empty(len(pull), min(MOTIONS, pull.shape[1] - 6))
    for mine in (half[which_of], ~half[which_of]):
        _, covariance, _ = expectation_maximisation(precision[mine], pull[mine], first, STEPS)
        along = _leading(covariance, precision[mine])[2]
        rest = torch.zeros_like(covariance)
        rest[:6, :6] = covariance[:6, :6] - along[:6] @ along[:6].T
        seen = [
            log_likelihood(precision[~mine], pull[~mine], rest + along[:, :k] @ along[:, :k].T)
            for k in range(along.shape[1] + 1)
        ]
        added[~mine] = torch.stack(seen, dim=1).diff(dim=1)
    gain = added.mean(0)
    off = added.new_zeros(len(particle), added.shape[1]).index_add_(0, which_of, added - gain)
    return gain, off.square().sum(0).sqrt() / len(added)
