"""Steps of the canonical map and of the rigid model's map."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.fit.levels import Level, noise_amplitude
from napari_flex3d.fit.state import Fit, Setup
from napari_flex3d.ops.backprojection import DensityPreconditioner, SliceSum
from napari_flex3d.ops.fourier import multiplicity, radii, shells
from napari_flex3d.ops.fsc import corrected_fsc

PARTICLES_A_STEP = 64
"""Particles at least whose gradients are gathered before the maps move: a step costs four transforms of a volume."""

STEPS_AN_EPOCH = 100
"""Steps of the maps at most, about: in one the maps move by a few thousandths of what they do in an epoch."""

LEAST_SIGNAL = 1e-3
"""Ratio of signal to noise in the map that a shell is given at least."""


class DensitySteps:
    """Newton steps of both maps: gathered gradients divided by the Fourier weights of all training particles.

    Notes
    -----
    The maps have a Gaussian prior: in each shell a variance that stands to that of the noise as the FSC of two halves
    of the training particles says, reconstructed without motion (Scheres 2012). Where they disagree, a map would fit
    nothing but noise, and latents would be sure of it.

    Attributes
    ----------
    by_chance
        What the loss of a particle gains when its own noise is in the map: numbers that the map is free in, a particle.
        The consensus map that training starts from holds that of the held-out particles, too.
    """

    def __init__(self, setup: Setup, level: Level) -> None:
        self._setup = setup
        weights, signal = _weights_and_signal(setup, level.limit)
        self._inverse = DensityPreconditioner(weights, setup.mask, signal=signal).to(setup.device)
        self._particles = len(setup.train)
        seen = (signal / (signal + 1))[shells(setup.particles.box_size, 3).clamp(max=len(signal) - 1)]
        seen = (
            seen * (radii(setup.particles.box_size, 3) < level.limit) * multiplicity(setup.particles.box_size)
        )
        self.by_chance = float(seen.sum() * setup.mask.float().mean()) / self._particles
        self._gathered: list[Tensor] = []
        self._seen = 0
        self._wanted = max(PARTICLES_A_STEP, len(setup.train) // STEPS_AN_EPOCH)

    def add(self, state: Fit, gradients: list[Tensor], particles: int) -> None:
        """Gather the gradients of the maps summed over some particles, and move the maps when there are enough."""
        if self._gathered:
            for total, gradient in zip(self._gathered, gradients, strict=True):
                total += gradient
        else:
            self._gathered = [gradient.clone() for gradient in gradients]
        self._seen += particles
        if self._seen >= self._wanted:
            self.take(state)

    @torch.no_grad()
    def take(self, state: Fit) -> None:
        """Move the maps by what is gathered."""
        order, rate = self._setup.body.order, self._setup.params.density_lr
        share = self._seen / self._particles
        for values, gradient in zip((state.values, state.rigid_values), self._gathered, strict=False):
            on_grid, there = torch.empty_like(gradient), torch.empty_like(values)
            on_grid[order], there[order] = gradient, values
            values -= rate * self._inverse(on_grid, there, share)[order]
        self._gathered, self._seen = [], 0


def in_halves(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half, 0 or 1, of each row by the number of its particle: both as large, copies of a particle in one."""
    return np.unique(numbers, return_inverse=True)[1] % 2


def _weights_and_signal(setup: Setup, limit: float) -> tuple[Tensor, Tensor]:
    """Fourier weights (n, n, half) of the training particles, and signal to noise of their map in each shell."""
    particles, train = setup.particles, setup.train
    box = particles.box_size
    some = train[:: max(1, len(train) // setup.weighed)]
    weight = noise_amplitude(setup, limit).square() / multiplicity(box)
    halves, half_of = [], in_halves(particles.number[some])
    for half in (0, 1):
        sums = SliceSum(box, with_values=True)
        rows = some[half_of == half]
        for start in range(0, len(rows), 256):
            batch = particles.batch(rows[start : start + 256])
            power = batch.transfer.abs().square() * weight
            sums.add(batch.rotation, power, batch.transfer.conj() * batch.transform * weight)
        halves.append(sums)
    first, second = (half.inverted() for half in halves)
    agreement = corrected_fsc(first, second, setup.mask.float())[2].clamp(0, 0.999)
    weights, seen = halves[0].weights + halves[1].weights, len(train) / len(some)
    signal = (2 * seen * agreement / (1 - agreement)).clamp(min=LEAST_SIGNAL)
    return weights * seen, signal
