"""Ways through the latents, to play along: straight ones, and the path that the person has made."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from napari_flex3d.ui.explore.plane import linear_axes


class Course(Protocol):
    """A way through the latents."""

    @property
    def name(self) -> str:
        """What the person sees."""

    def at(self, part: float, here: np.ndarray) -> np.ndarray:
        """Latent (K) at a part (0 to 1); what the course does not concern stays as it is ``here``."""


@dataclass(frozen=True)
class Straight:
    """A straight course through the latents.

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
        """Latent at a part (0 to 1) of the course."""
        value = self.low + (self.high - self.low) * part
        if self.through is not None:
            return self.through + value * self.direction
        return here * (1 - self.direction) + value * self.direction


@dataclass(frozen=True)
class Along:
    """A course along a path.

    Parameters
    ----------
    points
        (F, K) its points.
    gone
        (F,) way to each of them: Å, or what is taken for it.
    name
        What the person sees.
    """

    points: np.ndarray
    gone: np.ndarray = field(default_factory=lambda: np.zeros(0))
    name: str = "Path"

    def at(self, part: float, here: np.ndarray) -> np.ndarray:
        """Latent at a part (0 to 1) of the way."""
        gone = self.gone
        if len(gone) != len(self.points) or gone[-1] <= 0:
            gone = np.arange(len(self.points), dtype=float)
        return np.array([np.interp(part * gone[-1], gone, column) for column in self.points.T])


def straight_courses(latents: np.ndarray) -> list[Straight]:
    """Courses to play: every coordinate, and every principal component where there are several."""
    found = []
    for axis in linear_axes(latents):
        low, high = np.percentile((latents - axis.through) @ axis.direction, [1, 99])
        is_latent = axis.name.startswith("z")
        found.append(Straight(axis.name, axis.direction, low, high, None if is_latent else axis.through))
    return found
