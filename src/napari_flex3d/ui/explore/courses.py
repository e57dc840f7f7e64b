"""Straight ways through the latents, to play along."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Course:
    """A straight course through the latents, to play along.

    Parameters
    ----------
    name
        What the person sees.
    direction
        (K,) unit vector.
    low, high
        Its ends: the 1st and 99th percentile of the particles along it.
    through
        (K,) a latent that it passes, or None to start where one is.
    """

    name: str
    direction: np.ndarray
    low: float
    high: float
    through: np.ndarray | None = None

    def at(self, part: float, here: np.ndarray) -> np.ndarray:
        """Latent at a part (0 to 1) of the course; what it does not concern stays as it is ``here``."""
        value = self.low + (self.high - self.low) * part
        if self.through is not None:
            return self.through + value * self.direction
        return here * (1 - self.direction) + value * self.direction


def courses(latents: np.ndarray) -> list[Course]:
    """Courses to play: every coordinate, and every principal component where there are several."""
    dims = latents.shape[1]
    low, high = np.percentile(latents, [1, 99], axis=0)
    found = [Course(f"z{k + 1}", np.eye(dims)[k], low[k], high[k]) for k in range(dims)]
    if dims == 1 or len(latents) <= dims:
        return found
    mean = latents.mean(0)
    _, _, axes = np.linalg.svd(latents - mean, full_matrices=False)
    for k, axis in enumerate(axes):
        ends = np.percentile((latents - mean) @ axis, [1, 99])
        found.append(Course(f"PC{k + 1}", axis, ends[0], ends[1], mean))
    return found
