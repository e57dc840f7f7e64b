"""The path through the latents: its points, how long it is in Å, and how many particles stand behind it."""

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_flex3d.io.files import atomic
from napari_flex3d.ui.explore.courses import Along

FRAMES = 41
"""Points of a path with equal steps, unless the person says otherwise."""
SHORTEST = 0.02
"""Drawn points nearer than this part of the particles' spread are one."""


class LatentPath(QObject):
    """Points through the latents, in the order in which they are visited.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._model: Any = None
        self.points = np.zeros((0, 2))
        self.gone = np.zeros(0)
        """(F,) way to each point, Å."""
        self.at = -1
        """Point that was last visited."""

    def take(self, model: Any) -> None:
        """Lie in the latents of a model; of another number of coordinates, the path is forgotten."""
        self._model = model
        kept = self.points if self.points.shape[1] == model.latent_dims else np.zeros((0, model.latent_dims))
        self.set(kept)

    def set(self, points: np.ndarray) -> None:
        """Have these points (F, K)."""
        self.points = np.asarray(points, float)
        from napari_flex3d.landscape import lengths  # loads torch; the dock opens without it

        steps = lengths(self._model, self.points) if self._model is not None else np.zeros(0)
        self.gone = np.concatenate([[0.0], np.cumsum(steps)])[: len(self.points)]
        self.at = min(self.at, len(self.points) - 1)
        self.changed.emit()

    def draw(self, points: np.ndarray) -> None:
        """Take a path that was drawn by hand: points that hardly differ are dropped."""
        spread = np.maximum(self._model.latents.std(0), 1e-9)
        kept = [points[0]]
        for point in points[1:]:
            if np.linalg.norm((point - kept[-1]) / spread) > SHORTEST:
                kept.append(point)
        self.at = -1
        self.set(np.array(kept))

    def add(self, latent: np.ndarray) -> None:
        """Add a point at the end."""
        self.at = len(self.points)
        self.set(np.vstack([self.points, latent]))

    def remove(self, rows: list[int]) -> None:
        """Take points out."""
        self.set(np.delete(self.points, rows, axis=0))

    def smooth(self) -> None:
        """Round it off; the ends stay."""
        from napari_flex3d.landscape import smooth

        self.set(smooth(self.points))

    def even(self, frames: int) -> None:
        """Have so many points, equally many Å apart along the same way."""
        from napari_flex3d.landscape import even

        if len(self.points) > 1:
            self.set(even(self._model, self.points, frames))

    def particles(self) -> np.ndarray:
        """Particles near each point (F)."""
        from napari_flex3d.generate.series import particles_near

        return particles_near(self.points.astype(np.float32), self._model.latents)

    def step(self, by: int) -> np.ndarray | None:
        """Go to the next or previous point, and give it; None when there is none."""
        if not len(self.points):
            return None
        self.at = int(np.clip(self.at + by, 0, len(self.points) - 1))
        return self.points[self.at]

    @property
    def course(self) -> Along | None:
        """The path as a course to play; None when it has fewer than two points."""
        return Along(self.points, self.gone) if len(self.points) > 1 else None

    def save(self, file: Path) -> None:
        """Write the points as a table, as `generate` writes and reads it."""
        from napari_flex3d.generate.series import make_series, series_table

        series = make_series("path", self.points.astype(np.float32), self._model.latents)
        with atomic(file) as temporary:
            temporary.write_text(series_table(series), encoding="utf-8")

    def open(self, file: Path) -> None:
        """Read the points from a table with columns z1, z2, ...

        Raises
        ------
        InputError
            If it cannot be used.
        """
        from napari_flex3d.generate.series import read_latents

        points = read_latents(file, self._model.latent_dims)
        self.at = -1
        self.set(points)
