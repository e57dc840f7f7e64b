"""What a window takes for itself while a stage runs: a share of the time, and no more."""

import time

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

SHARE = 0.02
"""Of the clock's time. Where the processor draws, it works on two cores and takes half as much again
(docs/measurements.md)."""

LONGEST = 15.0
"""Seconds from turn to turn at most, whatever was shown without asking for one: the curves of short epochs."""

LOOK = 100
"""Milliseconds between two looks whether the time for another turn has been earned."""


class Upkeep(QObject):
    """Paces what the window shows of a stage that runs, by what showing has taken.

    All that is shown in one turn is drawn at once: every drawing puts the whole window together anew, whatever has
    changed in it, and a progress bar or a plot would each ask for one.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    """

    beat = Signal()
    """There is time for a turn: whoever has something new shows it now, after a call of `begin` or `hold`."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._before = self._begun = self._free = self._beaten = 0.0
        self._look = QTimer(self)
        self._look.setInterval(LOOK)
        self._look.timeout.connect(self.look)
        self._held: list[QWidget] = []
        self._after, self._drawn = QTimer(self), QTimer(self)  # Qt does all else before it comes to these
        for timer, slot in ((self._after, self._release), (self._drawn, self.end)):
            timer.setSingleShot(True)
            timer.timeout.connect(slot)

    def start(self) -> None:
        """Begin to look for time."""
        self._free = self._beaten = 0.0
        self._look.start()

    def stop(self) -> None:
        """There is nothing to show any more."""
        self._look.stop()
        self._after.stop()
        self._release()
        self._drawn.stop()

    def look(self) -> None:
        """Give a turn, if there is time for one."""
        now = time.perf_counter()
        if now >= min(self._free, self._beaten + LONGEST):
            self._beaten = now
            self.beat.emit()

    def begin(self) -> None:
        """Count all from here until it is drawn; one turn is counted once, whoever takes part."""
        if not (self._after.isActive() or self._drawn.isActive()):
            self._before, self._begun = self._free, time.perf_counter()
            self._after.start(0)

    def hold(self, widget: QWidget) -> None:
        """Let a widget take part in this turn: it is drawn at its end, and not at every change."""
        self.begin()
        if widget not in self._held:
            self._held.append(widget)
            widget.setUpdatesEnabled(False)

    def _release(self) -> None:
        held, self._held = self._held, []
        for widget in held:
            widget.setUpdatesEnabled(True)
        self._drawn.start(0)

    def end(self) -> None:
        """What was begun is on the screen, or a later part of it: wait until the time for it has been earned."""
        took = time.perf_counter() - self._begun
        self._free = max(self._before, self._begun) + took / SHARE
