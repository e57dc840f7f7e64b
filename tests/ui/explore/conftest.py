"""The explore dock, open at a finished toy training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_flex3d.ui.explore import ExploreDock


@pytest.fixture
def dock(qtbot, session, toy_jobs) -> ExploreDock:
    """The dock, open at the finished toy training."""
    dock = ExploreDock(session)
    session.viewer.window.add_dock_widget(dock, name="Explore")
    with qtbot.waitSignal(session.explorer.model_taken, timeout=30_000):
        session.open(toy_jobs["train"])
    return dock


@pytest.fixture
def on_screen(qtbot, session) -> Callable[[], None]:
    """Wait until the newest latent is on the screen."""

    def wait() -> None:
        qtbot.waitUntil(lambda: session.explorer.live.frames.is_idle, timeout=30_000)

    return wait


@pytest.fixture
def drag(qtbot) -> Callable[..., None]:
    """Drag the mouse over the scatter through places of its plane, with the left button and a modifier key."""

    def go(scatter: Any, places: np.ndarray, key: Any = Qt.KeyboardModifier.NoModifier) -> None:
        def at(place: np.ndarray) -> QPoint:
            return scatter.mapFromScene(scatter.getViewBox().mapViewToScene(QPointF(*place)))

        canvas, button = scatter.viewport(), Qt.MouseButton.LeftButton
        qtbot.wait(100)  # the dock has just been laid out
        _move(canvas, at(places[0]), key, Qt.MouseButton.NoButton)
        qtbot.mousePress(canvas, button, key, at(places[0]))
        for place in places[1:]:
            qtbot.wait(12)  # pyqtgraph looks at a hundred places a second
            _move(canvas, at(place), key, button)
        qtbot.mouseRelease(canvas, button, key, at(places[-1]))

    return go


def _move(canvas: Any, point: Any, key: Any, button: Any) -> None:
    """Move with the button held; QTest cannot."""
    position = QPointF(point)
    there = QPointF(canvas.mapToGlobal(point))
    event = QMouseEvent(QEvent.Type.MouseMove, position, there, Qt.MouseButton.NoButton, button, key)
    QApplication.sendEvent(canvas, event)
