"""Independent halves: two flow generators, each from one half-set, and how well they agree."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.fit import infer
from napari_flex3d.fit.state import Fit, Setup
from napari_flex3d.ops.surfaces import interpolate

COMPARED = 400
"""Particles in which the two flows are compared, half of them from each half-set."""

BINS = 24
"""Steps of the curve of disagreement against displacement."""

Floats = NDArray[np.float64]


def half_of(setup: Setup, half: int) -> Setup:
    """A fit to one half-set alone: its particles, its held-out ones among them, and a random start of its own."""
    rows = np.flatnonzero(setup.particles.half == half)
    params: Any = setup.params
    return replace(
        setup,
        particles=setup.particles.take(rows),
        held_out=setup.held_out[rows],
        params=replace(params, seed=(params.seed + 1 + half) % 2**31),
    )


@dataclass(frozen=True)
class Agreement:
    """How well two flows agree on the same particles.

    Parameters
    ----------
    difference, motion
        Of each voxel of the mask (V), Å rms over the particles: difference of the two displacements, and their mean.
    displacement, differing, count
        Curve: middle of each bin of displacement, Å; rms difference there, Å; number of voxels and particles in it.
    difference_rms, motion_rms
        Å, weighted by density, over voxels and particles.
    particles
        How many were compared.
    """

    difference: Floats
    motion: Floats
    displacement: Floats
    differing: Floats
    count: NDArray[np.int64]
    difference_rms: float
    motion_rms: float
    particles: int

    def facts(self) -> dict[str, float]:
        """The numbers for a summary."""
        return {
            "difference_rms_A": self.difference_rms,
            "motion_rms_A": self.motion_rms,
            "compared": self.particles,
        }

    def in_words(self) -> str:
        """What a person should know of it."""
        ratio = self.difference_rms / max(self.motion_rms, 1e-9)
        verdict = (
            "The motion is the same in both halves"
            if ratio < 0.5
            else "The halves agree in part: trust the larger features of the motion only"
            if ratio < 1
            else "The halves do not agree: this motion is not in the data"
        )
        return (
            f"Two motions, each learned from one half of the particles, differ by {self.difference_rms:.2f} Å rms, "
            f"their mean is {self.motion_rms:.2f} Å. {verdict}."
        )


def compare(setup: Setup, halves: list[tuple[Setup, Fit]]) -> Generator[tuple[int, int], None, Agreement]:
    """Compare the flows of both halves on some particles of each, whose latents are fitted under both.

    Parameters
    ----------
    setup
        Of all particles.
    halves
        Setup and finished fit of each half-set.

    Yields
    ------
    done, total
        Particles.
    """
    random = np.random.default_rng(setup.params.seed)
    rows = np.concatenate(
        [random.permutation(np.flatnonzero(setup.particles.half == half))[: COMPARED // 2] for half in (0, 1)]
    )
    particles = setup.particles.take(np.sort(rows))
    displacements = []
    for number, (own, state) in enumerate(halves):
        latents: list[Tensor] = []
        for some in infer(own, state, particles):
            latents.append(some)
            yield number * len(rows) + sum(map(len, latents)), 2 * len(rows)
        with torch.no_grad():
            displacements.append(state.average(torch.cat(latents)).cpu().numpy())
    return _agreement(setup, halves[0][1], *displacements)


def _agreement(setup: Setup, state: Fit, first: NDArray[Any], second: NDArray[Any]) -> Agreement:
    body = setup.body.to("cpu")
    corners, weights = body.cells[body.cell_of.long()].numpy(), body.weights.numpy()
    density = state.values.detach().cpu().double().clamp(min=0).numpy()
    largest = 1.2 * float(np.linalg.norm((first + second) / 2, axis=-1).max()) + 1e-6
    edges = np.linspace(0, largest, BINS + 1)
    difference, motion = np.zeros(len(corners)), np.zeros(len(corners))
    squares, counts = np.zeros(BINS), np.zeros(BINS, dtype=np.int64)
    for one, other in zip(first, second, strict=True):
        off = np.square(interpolate(one - other, corners, weights)).sum(-1)
        moved = np.square(interpolate((one + other) / 2, corners, weights)).sum(-1)
        difference += off / len(first)
        motion += moved / len(first)
        which = np.minimum((np.sqrt(moved) / largest * BINS).astype(np.int64), BINS - 1)
        squares += np.bincount(which, off, BINS)
        counts += np.bincount(which, minlength=BINS)
    share = density / density.sum()
    on_grid = np.argsort(body.order.numpy())
    seen = counts > 0
    return Agreement(
        np.sqrt(difference)[on_grid],
        np.sqrt(motion)[on_grid],
        ((edges[:-1] + edges[1:]) / 2)[seen],
        np.sqrt(squares[seen] / counts[seen]),
        counts[seen],
        float(np.sqrt(share @ difference)),
        float(np.sqrt(share @ motion)),
        len(first),
    )
