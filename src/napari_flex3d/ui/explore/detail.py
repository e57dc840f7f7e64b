"""How finely the map of a training that runs is cut: as finely as it is worth."""

import time

from napari_flex3d.ui.isosurface import COARSE, FINE

SHARE = 0.01
"""Of the time between two checkpoints that are shown, what showing one may take."""
DRAWING = 2.0
"""What showing a checkpoint takes, drawing included, over what this thread does for it (docs/measurements.md)."""


class Detail:
    """Chooses between the whole surface and a coarse one, by what the whole one has taken and how often it is due."""

    def __init__(self) -> None:
        self._cost = 0.0
        self._last: float | None = None
        self._begun = 0.0

    def begin(self, is_next: bool) -> int:
        """Begin to show a checkpoint; returns from how many voxels along the map to cut its surface at most.

        Parameters
        ----------
        is_next
            Whether it is the next one of a training that runs.
        """
        now, self._begun = time.perf_counter(), time.thread_time()
        between = now - self._last if is_next and self._last is not None else float("inf")
        self._last = now
        return FINE if DRAWING * self._cost <= SHARE * between else COARSE

    def end(self, most: int) -> None:
        """Note what it has taken, if it was cut from so many voxels."""
        if most == FINE:
            self._cost = time.thread_time() - self._begun
