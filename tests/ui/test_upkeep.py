"""What the window shows of a stage that runs: in turns, drawn once each, that take their share of the time."""

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_flex3d.ui import upkeep
from napari_flex3d.ui.scatter import LatentScatter
from napari_flex3d.ui.upkeep import AHEAD, DRAWING, LONGEST, NEWS_SHARE, SHARE, Upkeep


@pytest.fixture
def clock(monkeypatch):
    now = {"at": 1000.0}
    monkeypatch.setattr(upkeep.time, "perf_counter", lambda: now["at"])
    return now


@pytest.fixture
def pace(qapp):
    parent = QObject()
    yield Upkeep(parent)
    parent.deleteLater()


def _beats(pace):
    seen = []
    pace.beat.connect(lambda: seen.append(1))
    pace.look()
    return bool(seen)


def _rests_for(took, clock, pace):
    """A turn that took so many seconds, from where it ended, is followed by no other until that is earned."""
    clock["at"] += took / SHARE - took - 0.1
    assert not _beats(pace)
    clock["at"] += 0.2
    assert _beats(pace)


def test_a_turn_earns_a_rest(clock, pace):
    assert _beats(pace)
    pace.begin()
    clock["at"] += 0.1
    pace.begin()  # somebody else in the same turn
    clock["at"] += 0.1
    pace.end()
    _rests_for(0.2, clock, pace)


def test_a_part_that_is_drawn_later_belongs_to_its_turn(clock, pace):
    assert _beats(pace)
    pace.begin()
    for _ in range(2):
        clock["at"] += 0.1
        pace.end()
    _rests_for(0.2, clock, pace)


def test_what_asks_for_no_turn_does_not_put_off_the_next_for_ever(clock, pace, qtbot):
    assert _beats(pace)
    for _ in range(3):  # short epochs, whose curves are shown in any case
        pace.begin()
        clock["at"] += 1.0
        pace.end()
        qtbot.waitUntil(lambda: not pace.is_gathering, timeout=5000)
    assert not _beats(pace)
    clock["at"] += LONGEST - 3.0
    assert _beats(pace)


def test_a_checkpoint_waits_for_other_checkpoints_only(clock, pace, monkeypatch):
    monkeypatch.setattr(upkeep.time, "thread_time", lambda: clock["at"])
    for _ in range(5):  # frames, of all the time that there is
        pace.begin()
        clock["at"] += 0.1
        pace.end()
        pace._all_told.stop()
    seen = []
    pace.beat.connect(lambda: seen.append(1))
    pace.look()  # the first of all
    pace.look()
    pace.look(news=True)
    assert len(seen) == 2
    pace.begin(news=True)
    clock["at"] += 0.3
    pace.end()
    clock["at"] += DRAWING * 0.3 / NEWS_SHARE - 0.3 - AHEAD - 0.1
    pace.look(news=True)
    assert len(seen) == 2
    clock["at"] += 0.2
    pace.look(news=True)
    assert len(seen) == 3
    pace.look()  # a frame has to wait for more
    assert len(seen) == 3


def test_all_that_a_turn_shows_is_drawn_together(qtbot, pace):
    window = QWidget()
    bars, label = [QProgressBar(), QProgressBar()], QLabel()
    label.setWordWrap(True)
    plot = LatentScatter()
    column = QVBoxLayout(window)
    for widget in (*bars, label, plot):
        column.addWidget(widget)
    qtbot.addWidget(window)
    window.show()
    qtbot.waitExposed(window)
    qtbot.wait(100)
    pace.watch(window)
    drawn = Drawings(window)
    pace.begin()
    for value in range(1, 10):  # each would be drawn at once
        for bar in bars:
            bar.setValue(value)
    label.setText("Words that change the layout. " * 8)
    plot.show_latents(np.random.default_rng(0).normal(size=(500, 2)))  # pyqtgraph would have it drawn at once
    assert not drawn.count
    qtbot.waitUntil(lambda: drawn.count > 0, timeout=5000)
    qtbot.wait(100)
    assert drawn.count == 1
    bars[0].setValue(20)  # without a turn, all is as ever
    qtbot.waitUntil(lambda: drawn.count > 1, timeout=5000)


def test_a_window_that_is_gone_is_not_drawn(qtbot, pace):
    window = QProgressBar()
    window.show()
    qtbot.waitExposed(window)
    pace.watch(window)
    pace.begin()
    window.setValue(50)
    window.deleteLater()
    qtbot.waitUntil(lambda: not pace.is_gathering, timeout=5000)


class Drawings(QObject):
    """Counts how often a window is drawn."""

    def __init__(self, window):
        super().__init__(window)
        self.count = 0
        window.installEventFilter(self)

    def eventFilter(self, watched, event):
        self.count += event.type() == QEvent.Type.Paint
        return False
