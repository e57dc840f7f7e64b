"""What nobody sees is put off, and there when somebody looks."""

import numpy as np
import pytest
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QLabel, QTabWidget

from napari_flex3d.ui.explore import ExploreDock
from napari_flex3d.ui.train_dock import TrainDock
from napari_flex3d.ui.unseen import WhenSeen, is_behind

LONG = 60_000


class Running(QObject):
    """What a session says when its stage is over."""

    run_ended = Signal(str, str, object)


@pytest.fixture
def tabs(qtbot):
    tabs = QTabWidget()
    for name in "ab":
        tabs.addTab(QLabel(), name)
    qtbot.addWidget(tabs)
    tabs.show()
    qtbot.waitExposed(tabs)
    qtbot.waitUntil(lambda: not is_behind(tabs.widget(0)))
    return tabs


def test_what_is_behind_is_filled_once_when_it_comes_to_the_front(qtbot, tabs):
    label, running = tabs.widget(1), Running()
    filled = []
    seen = WhenSeen(label, lambda: filled.append(1), running, lambda: True)
    for _ in range(3):
        seen.want()
    qtbot.wait(50)
    assert not filled
    tabs.setCurrentIndex(1)
    qtbot.waitUntil(lambda: len(filled) == 1, timeout=LONG)
    seen.want()  # it is seen: at once
    assert len(filled) == 2
    label.update()
    qtbot.wait(50)
    assert len(filled) == 2


def test_what_may_not_wait_is_filled_at_once_and_the_rest_when_the_stage_is_over(tabs):
    running, filled = Running(), []
    WhenSeen(tabs.widget(1), lambda: filled.append("now"), running, lambda: False).want()
    assert filled == ["now"]
    WhenSeen(tabs.widget(1), lambda: filled.append("later"), running, lambda: True).want()
    assert filled == ["now"]
    running.run_ended.emit("train", "done", None)
    assert filled == ["now", "later"]


def test_explore_behind_train_works_out_nothing_until_it_is_seen(qtbot, session, toy_jobs):
    session.open(toy_jobs["mesh"])
    explore, train = ExploreDock(session), TrainDock(session)
    add = session.viewer.window.add_dock_widget
    behind = add(explore, name="Explore", area="right")
    add(train, name="Train", area="right", tabify=True).raise_()
    qtbot.waitUntil(lambda: train.panel.form is not None and is_behind(explore), timeout=LONG)
    filled = []
    explore.scatter.binned.connect(lambda: filled.append(1))
    train.panel.form.fill({"epochs": 40, "seconds": 8.0})
    train.panel.start()
    models = []
    session.explorer.model_taken.connect(models.append)
    qtbot.waitUntil(lambda: len(models) > 2, timeout=LONG)
    assert session.is_running
    assert (
        len(filled) == 1
    )  # the first, which has another number of particles or of latents than what was there
    behind.raise_()
    qtbot.waitUntil(lambda: len(filled) > 1, timeout=LONG)
    shown = session.explorer.model
    np.testing.assert_array_equal(explore.scatter.points, shown.latents[:, :2].astype(np.float32))
    low, high = np.percentile(shown.latents[:, 0], [1, 99])
    assert explore.sliders[0].minimum() == pytest.approx(low)
    assert explore.sliders[0].maximum() == pytest.approx(high)
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        session.stop()
