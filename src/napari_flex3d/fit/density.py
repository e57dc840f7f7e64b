"""Steps of the canonical map and of the rigid model's map."""

import torch
from torch import Tensor

from napari_flex3d.fit.levels import Level, noise_amplitude
from napari_flex3d.fit.state import Fit, Setup
from napari_flex3d.ops.backprojection import DensityPreconditioner, slice_weights
from napari_flex3d.ops.fourier import multiplicity

PARTICLES_A_STEP = 64
"""Particles at least whose gradients are gathered before the maps move: a step costs four transforms of a volume."""

STEPS_AN_EPOCH = 100
"""Steps of the maps at most, about: in one the maps move by a few thousandths of what they do in an epoch."""

PARTICLES_FOR_WEIGHTS = 10_000
"""Particles from which the Fourier weights are taken; of more, evenly spaced ones."""


class DensitySteps:
    """Newton steps of both maps: gathered gradients divided by the Fourier weights of all training particles."""

    def __init__(self, setup: Setup, level: Level) -> None:
        self._setup = setup
        self._inverse = _preconditioner(setup, level.limit)
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
        for values, gradient in zip((state.values, state.rigid_values), self._gathered, strict=False):
            on_grid = torch.empty_like(gradient)
            on_grid[order] = gradient
            values -= rate * self._inverse(on_grid)[order]
        self._gathered, self._seen = [], 0


def _preconditioner(setup: Setup, limit: float) -> DensityPreconditioner:
    particles, train = setup.particles, setup.train
    box = particles.box_size
    some = train[:: max(1, len(train) // PARTICLES_FOR_WEIGHTS)]
    weight = noise_amplitude(setup, limit).square() / multiplicity(box)
    weights = torch.zeros(box, box, box // 2 + 1)
    for start in range(0, len(some), 256):
        transfer, rotation = particles.optics(some[start : start + 256])
        weights += slice_weights(rotation, transfer.abs().square() * weight)
    return DensityPreconditioner(weights * (len(train) / len(some)), setup.mask).to(setup.device)
