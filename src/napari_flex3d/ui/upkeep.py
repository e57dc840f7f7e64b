"""What a window takes for itself while a stage runs: a share of the time, and no more."""

import time

from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

SHARE = 0.02
"""Of the clock's time. Where the processor draws, it works on two cores and takes half as much again
(docs/measurements.md)."""

LONGEST = 15.0
"""Seconds from turn to turn at most, whatever was shown without asking for one: the curves of short epochs."""

NESTED = 3
"""Layouts, one in the other, that a sentence of a dock is in: each asks for the next when it has found its place."""

LOOK = 100
"""Milliseconds between two looks whether the time for another turn has been earned."""


class Upkeep(QObject):
    """Paces what the window shows of a stage that runs, by what showing has taken.

    All that is shown in one turn is drawn at once. Every drawing puts the whole window together anew, whatever has
    changed in it, and a progress bar or a plot would each ask for one at once.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    """

    beat = Signal()
    """There is time for a turn: whoever has something new shows it now, after a call of `begin`."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._before = self._begun = self._free = self._beaten = 0.0
        self._look = QTimer(self)
        self._look.setInterval(LOOK)
        self._look.timeout.connect(self.look)
        self._waiting: list[QObject] = []
        self._all_told = QTimer(self)  # Qt does all else before it comes to this
        self._all_told.setSingleShot(True)
        self._all_told.timeout.connect(self._draw)

    @property
    def is_gathering(self) -> bool:
        """Whether a turn is under way that has not been drawn yet."""
        return self._all_told.isActive()

    def watch(self, window: QWidget) -> None:
        """Draw this window in turns, while there are any."""
        window.installEventFilter(self)

    def start(self) -> None:
        """Begin to look for time."""
        self._free = self._beaten = 0.0
        self._look.start()

    def stop(self) -> None:
        """There is nothing to show any more."""
        self._look.stop()

    def look(self) -> None:
        """Give a turn, if there is time for one."""
        now = time.perf_counter()
        if now >= min(self._free, self._beaten + LONGEST):
            self._beaten = now
            self.beat.emit()

    def begin(self) -> None:
        """Count all from here until it is drawn, and draw it together; one turn is counted once, whoever takes part."""
        if not self.is_gathering:
            self._before, self._begun = self._free, time.perf_counter()
            self._all_told.start(0)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Let a drawing wait for the others of its turn."""
        if event is None or event.type() != QEvent.Type.UpdateRequest or not self.is_gathering:
            return False
        if watched is not None and watched not in self._waiting:
            self._waiting.append(watched)
        return True

    def _draw(self) -> None:
        for _ in range(NESTED):
            QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)
        waiting, self._waiting = self._waiting, []
        for window in waiting:
            if isalive(window):  # type: ignore[no-untyped-call]
                QCoreApplication.sendEvent(window, QEvent(QEvent.Type.UpdateRequest))
        self.end()

    def end(self) -> None:
        """What was begun is on the screen, or a later part of it: wait until the time for it has been earned."""
        took = time.perf_counter() - self._begun
        self._free = max(self._before, self._begun) + took / SHARE
