"""Where there are too few particles to take the map for data."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from napari_flex3d.ops.planes import count_near
from napari_flex3d.ui.explore.plane import Plane

SAMPLED = 20_000
"""Particles that the shaded regions are drawn from."""
CELLS = 64
"""Places along each axis at which they are counted."""


@dataclass(frozen=True)
class Support:
    """How many particles stand behind a latent.

    Parameters
    ----------
    near
        Particles within 0.35 standard deviations, rms, as `generate` counts them.
    needed
        As many make the map there data.
    total
        Particles in all.
    """

    near: int
    needed: int
    total: int

    @property
    def lack(self) -> float:
        """How much is missing: 0 where there are enough particles, 1 where there are none."""
        return float(np.clip(1 - self.near / self.needed, 0, 1))

    @property
    def sentence(self) -> str:
        """What to tell the person."""
        if not self.lack:
            return f"{self.near:,} particles near"
        return f"few particles: {self.near:,} near, {self.needed:,} needed; the map is interpolated"


class Crowd:
    """The particles, to be counted.

    Parameters
    ----------
    latents
        (N, K).
    """

    def __init__(self, latents: np.ndarray) -> None:
        from napari_flex3d.generate.series import FEW, FEWEST, NEAR  # loads torch; the dock opens without it

        self._near = NEAR
        self._latents = latents
        self._spread = np.maximum(latents.std(0), 1e-12)
        self.needed = int(np.ceil(max(FEWEST, FEW * len(latents))))
        self._sampled = latents[:: max(1, len(latents) // SAMPLED)]

    @cached_property
    def _tree(self) -> Any:
        return cKDTree(self._sampled / self._spread, leafsize=64)

    def at(self, latent: np.ndarray) -> Support:
        """Count the particles near a latent (K)."""
        near = count_near(self._latents, np.asarray(latent, float), self._spread, self._near)
        return Support(near, self.needed, len(self._latents))

    def lacking(self, plane: Plane, low: np.ndarray, high: np.ndarray, here: np.ndarray) -> np.ndarray:
        """Where in a stretch of a plane there are too few, (cells, cells) or (cells, 1) for one axis.

        Parameters
        ----------
        plane
            The plane.
        low, high
            Corners of the stretch.
        here
            Latent on show: the other coordinates stay as they are here.
        """
        dims = plane.points.shape[1]
        part = (np.arange(CELLS) + 0.5) / CELLS
        ways = [low[k] + part * (high[k] - low[k]) for k in range(dims)]
        places = np.stack(np.meshgrid(*ways, indexing="ij"), -1).reshape(-1, dims)
        latents = plane.latent_at(places, here)
        radius = self._near * np.sqrt(latents.shape[1])
        near = self._tree.query_ball_point(latents / self._spread, radius, return_length=True)
        return (near < self.needed * len(self._sampled) / len(self._latents)).reshape(
            *[CELLS] * dims, *[1] * (2 - dims)
        )
