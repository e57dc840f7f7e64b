"""One frame at a time: what is asked for while a frame is on its way waits, and only the newest is kept."""

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

Kind = Literal["surface", "coarse", "full"]
"""What is drawn while the latent moves: the surface only, a volume on half the grid, or the whole volume."""

BUDGET = 150.0
"""Milliseconds that a volume frame may take while one drags; else a coarser one is shown, and the volume at the end."""
LONGEST = 400
"""Milliseconds after which a frame counts as drawn, though no drawing was seen: the canvas may be hidden."""


class Frames(QObject):
    """Paces what is drawn by the drawing: the next frame begins when the last is on the screen.

    Parameters
    ----------
    draw
        Begins a frame of the state as it is now. `ready` has to be called when nothing more is to be computed,
        `drawn` when the canvas was drawn.
    parent
        Owner in Qt's sense.
    """

    shown = Signal(float, float)
    """A frame is on the screen: milliseconds of our own work in this thread, and from its beginning to the screen."""

    def __init__(self, draw: Callable[[], None], parent: QObject) -> None:
        super().__init__(parent)
        self._draw = draw
        self._is_busy = self._is_ready = self._is_wanted = False
        self._begun = self._own = 0.0
        self.requested = self.begun = 0
        self._watch = QTimer(self)
        self._watch.setSingleShot(True)
        self._watch.setInterval(LONGEST)
        self._watch.timeout.connect(self._end)
        self._after = QTimer(self)
        self._after.setSingleShot(True)
        self._after.timeout.connect(self._end)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not (self._is_busy or self._is_wanted)

    def want(self) -> None:
        """Ask for a frame: now if nothing is on its way, else once after what is."""
        self.requested += 1
        if self._is_busy:
            self._is_wanted = True
        else:
            self._begin()

    def ready(self) -> None:
        """Say that the frame needs nothing but to be drawn."""
        if self._is_busy and not self._is_ready:
            self._is_ready = True
            self._watch.start()

    def drawn(self) -> None:
        """Say that the canvas is being drawn; called from within the drawing."""
        if self._is_ready:
            self._after.start(0)  # when the drawing is over

    def own(self, seconds: float) -> None:
        """Add to our own work on this frame."""
        self._own += 1000 * seconds

    def flush(self) -> None:
        """Begin the newest frame now, if one waits."""
        if self._is_wanted:
            self._begin()

    def stop(self) -> None:
        """Forget what is on its way."""
        self._watch.stop()
        self._after.stop()
        self._is_busy = self._is_ready = self._is_wanted = False

    def _begin(self) -> None:
        self._is_busy, self._is_ready, self._is_wanted = True, False, False
        self._after.stop()
        self._begun, self._own = time.perf_counter(), 0.0
        self.begun += 1
        self._draw()

    def _end(self) -> None:
        self._watch.stop()
        if not self._is_ready:
            return
        took = 1000 * (time.perf_counter() - self._begun)
        self._is_busy = self._is_ready = False
        self.shown.emit(self._own, took)
        if self._is_wanted:
            self._begin()


class Pace:
    """Chooses what to draw while the latent moves, by what frames have cost."""

    def __init__(self) -> None:
        self._costs: dict[Kind, deque[float]] = {}

    def note(self, kind: Kind, cost: float) -> None:
        """Keep what a frame has cost, ms."""
        self._costs.setdefault(kind, deque(maxlen=5)).append(cost)

    def cost(self, kind: Kind) -> float | None:
        """Median of the last five, ms; None when there was none."""
        return float(np.median(self._costs[kind])) if self._costs.get(kind) else None

    def forget(self) -> None:
        """Begin anew: the map or the rendering is another."""
        self._costs.clear()

    def choose(self) -> Kind:
        """Give the best kind that keeps within the budget; the coarse one is tried first."""
        full, coarse = self.cost("full"), self.cost("coarse")
        if full is not None and full <= BUDGET:
            return "full"
        if coarse is None or coarse <= BUDGET:
            return "coarse"
        return "surface"
