"""How long stages take at a pace that was measured: how often each of their pieces is done. Plain arithmetic."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.fit import TRIAL_EPOCHS, early_epochs, motions, rigidity
from napari_flex3d.reconstruct.shared import INNER

START = 4.0
"""Seconds until a stage's program is there, and for the pictures and tables at its end."""

HELD_OUT_VISIT = 1.7
"""A visit of a held-out particle, which scores trial latents and takes two steps, in visits of a training particle."""

LAST_VISIT = 6.0
"""The last steps of a latent, until it stays and then with its pose left open, in visits."""

ITERATIONS = 2
"""Iterations that a half-map usually needs before one gains next to nothing; each is a pass over its particles."""

ITERATIONS_OF_ONE = 3
"""The same with the motion where all particles share one deformation, a worse guide: from 2 where little moves to 5."""

BESIDES = 1.7
"""Passes over the particles besides: the first gradient, and the weights of those that share a deformation."""


def shown_epochs(epochs: int) -> list[int]:
    """Epochs whose pace is measured: the first, one with trial latents, the last early one, the first later one."""
    early = early_epochs(epochs)
    shown = {0, 1, early - 1, early} | ({TRIAL_EPOCHS - 1} if early <= TRIAL_EPOCHS else set())
    return sorted(e for e in shown if e <= min(early, epochs - 1))


def visits(measured: dict[int, float], epochs: int) -> NDArray[np.float64]:
    """Seconds a particle in each epoch, from those of `shown_epochs`."""
    shown, every = sorted(measured), np.arange(epochs)
    found = np.interp(every, shown, [measured[e] for e in shown])
    if TRIAL_EPOCHS - 1 not in measured and 1 in measured:
        # trials cost in all their epochs what they do in one
        plain = [e for e in shown if e != 1]
        without = np.interp(every, plain, [measured[e] for e in plain])
        found[1:TRIAL_EPOCHS] = without[1:TRIAL_EPOCHS] + measured[1] - without[1]
    return found


@dataclass(frozen=True)
class TrainingPace:
    """Pace of a training.

    Parameters
    ----------
    set_up
        Seconds before the first epoch.
    begun
        Seconds until an epoch is under way, for each epoch that was measured (`shown_epochs`).
    visit
        Seconds a particle in each of these.
    look
        Seconds a particle of the search for motions; 0 where the start is random or given.
    scan
        Seconds a particle of a short training at one strength of rigidity; 0 where none is looked for.
    """

    set_up: float
    begun: dict[int, float]
    visit: dict[int, float]
    look: float = 0.0
    scan: float = 0.0

    def seconds(self, epochs: int, train: int, held_out: int, extra: int = 0) -> float:
        """Duration of a training on so many particles, some more of which are held out."""
        each, shown = visits(self.visit, epochs + extra), sorted(self.visit)
        changes = range(min(early_epochs(epochs) + 1, epochs))
        begun = sum(self.begun[min(shown, key=lambda s: abs(s - e))] for e in changes)
        passes = float(each.sum()) * (train + HELD_OUT_VISIT * held_out)
        passes += self.look * min(train, motions.PARTICLES)
        visited = min(train, rigidity.PARTICLES) * (1 + rigidity.JUDGES * (HELD_OUT_VISIT - 1))
        passes += len(rigidity.STRENGTHS) * visited * self.scan
        return START + self.set_up + begun + passes + LAST_VISIT * train * float(each[-1])


@dataclass(frozen=True)
class ReconstructionPace:
    """Pace of a reconstruction.

    Parameters
    ----------
    flexible, rigid
        Seconds a particle of a pass with the motion, and of the twin without.
    product
        Seconds of a product with one shared deformation.
    threads
        Deformations that are worked on at once.
    local_resolution
        Seconds of the local resolution of a map.
    """

    flexible: float
    rigid: float
    product: float
    threads: int
    local_resolution: float

    def seconds(self, particles: int, groups: int, max_iterations: int, *, rigid_twin: bool) -> float:
        """Duration of both half-maps, in which so many groups share deformations, and of the twin's two."""
        seconds = START
        moving = ITERATIONS if groups > 1 else ITERATIONS_OF_ONE
        both = (self.flexible, groups, moving), (self.rigid, 1, ITERATIONS)
        for visit, shared, usual in both[: 1 + rigid_twin]:
            iterations = min(usual, max_iterations)
            seconds += (iterations + BESIDES) * particles * visit
            seconds += 2 * iterations * INNER * self.product * math.ceil(shared / self.threads)
            seconds += self.local_resolution
        return seconds
