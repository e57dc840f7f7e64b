"""What a window takes for itself while a stage runs: a share of the time, and no more."""

import time

from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

SHARE, NEWS_SHARE = 0.02, 0.03
"""Of the clock's time: what all turns may take, and those that show a checkpoint, which wait for no others."""

AHEAD = 5.0
"""Seconds that a checkpoint may be shown before its time has been earned: what showing takes differs, epochs do not."""

DRAWING = 2.0
"""What showing takes, drawing by the processor included, over what this thread does for it (docs/measurements.md)."""

LONGEST = 15.0
"""Seconds from turn to turn at most, whatever was shown without asking for one: the curves of short epochs."""

NESTED = 3
"""Layouts, one in the other, that a sentence of a dock is in: each asks for the next when it has found its place."""

LOOK = 250
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
        self._before = self._free = (0.0, 0.0)  # when the next turn is due, and the next checkpoint
        self._begun = self._own = self._beaten = 0.0
        self._is_news = False
        self._look = QTimer(self)
        self._look.setInterval(LOOK)
        self._look.timeout.connect(lambda: self.look())
        self._waiting: list[QObject] = []
        self._rounds = 0
        self._all_told = QTimer(self)  # Qt does all else before it comes to this
        self._all_told.setSingleShot(True)
        self._all_told.timeout.connect(self._on_round)

    @property
    def is_gathering(self) -> bool:
        """Whether a turn is under way that has not been drawn yet."""
        return self._all_told.isActive()

    def watch(self, window: QWidget) -> None:
        """Draw this window in turns, while there are any."""
        window.installEventFilter(self)

    def start(self) -> None:
        """Begin to look for time."""
        self._free, self._beaten = (0.0, 0.0), 0.0
        self._look.start()

    def stop(self) -> None:
        """There is nothing to show any more."""
        self._look.stop()

    def look(self, *, news: bool = False) -> None:
        """Give a turn, if there is time for one; there mostly is for a checkpoint, whatever was shown before it."""
        now = time.perf_counter()
        due = self._free[True] - AHEAD if news else self._free[False]
        if now >= min(due, self._beaten + LONGEST):
            self._beaten = now
            self.beat.emit()

    def begin(self, *, news: bool = False) -> None:
        """Count all from here until it is drawn, and draw it together; one turn is counted once, whoever takes part."""
        if not self.is_gathering:
            self._before, self._is_news = self._free, False
            self._begun, self._own = time.perf_counter(), time.thread_time()
            self._rounds = 0
            self._all_told.start(0)
        self._is_news |= news

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Let a drawing wait for the others of its turn."""
        if event is None or event.type() != QEvent.Type.UpdateRequest or not self.is_gathering:
            return False
        if watched is not None and watched not in self._waiting:
            self._waiting.append(watched)
        return True

    def _on_round(self) -> None:
        """Draw after the second round: lists, as that of the layers, ask for their drawing in a round of their own."""
        self._rounds += 1
        self._all_told.start(0) if self._rounds < 2 else self._draw()

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
        took, (due, due_news) = time.perf_counter() - self._begun, self._before
        due = max(due, self._begun) + took / SHARE
        if self._is_news:  # a training on the same cores makes it last longer, and not cost more
            cost = DRAWING * (time.thread_time() - self._own)
            due_news = max(due_news, self._begun) + cost / NEWS_SHARE
        self._free = (due, due_news)
