"""What nobody sees is not worked out: it is put off until its widget comes to the front."""

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_flex3d.ui.session import Session


class WhenSeen(QObject):
    """Calls a function now; or, where nobody sees what it fills, once when somebody does.

    Parameters
    ----------
    widget
        What the function fills.
    fill
        The function.
    session
        The viewer's session: when the stage that runs is over, what was put off is done.
    may_wait
        Whether it can be put off now.
    """

    def __init__(
        self, widget: QWidget, fill: Callable[[], object], session: Session, may_wait: Callable[[], bool]
    ) -> None:
        super().__init__(widget)
        self._widget, self._fill, self._may_wait = widget, fill, may_wait
        self.is_due = False
        widget.installEventFilter(self)
        session.run_ended.connect(self._catch_up)

    def want(self, *_: object) -> None:
        """Fill the widget, or put it off."""
        self.is_due = self._may_wait() and is_behind(self._widget)
        if not self.is_due:
            self._fill()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Do what was put off as soon as the widget is drawn, which it is when somebody sees it."""
        if self.is_due and event is not None and event.type() == QEvent.Type.Paint:
            QTimer.singleShot(0, self._catch_up)
        return False

    def _catch_up(self, *_: object) -> None:
        if self.is_due:
            self.is_due = False
            self._fill()


def is_behind(widget: QWidget) -> bool:
    """Whether nothing of a widget is seen in its window: behind another dock in its tabs, or scrolled away."""
    window = widget.window()
    return window is not None and window.isVisible() and widget.visibleRegion().isEmpty()
