"""What the window shows of a stage that runs: in turns, drawn once each, that take their share of the time."""

import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QProgressBar

from napari_flex3d.ui import upkeep
from napari_flex3d.ui.upkeep import LONGEST, SHARE, Upkeep


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
        qtbot.waitUntil(lambda: not (pace._after.isActive() or pace._drawn.isActive()), timeout=5000)
    assert not _beats(pace)
    clock["at"] += LONGEST - 3.0
    assert _beats(pace)


def test_a_widget_that_is_held_is_drawn_once(qtbot, pace):
    bar = QProgressBar()
    qtbot.addWidget(bar)
    bar.show()
    qtbot.waitExposed(bar)
    qtbot.wait(50)
    drawn = []

    class Watch(QObject):
        def eventFilter(self, watched, event):
            if event.type() == QEvent.Type.Paint:
                drawn.append(bar.value())
            return False

    watch = Watch()
    bar.installEventFilter(watch)
    pace.hold(bar)
    for value in range(1, 10):  # each would be drawn at once
        bar.setValue(value)
    assert not drawn
    qtbot.waitUntil(lambda: bool(drawn), timeout=5000)
    assert drawn == [9]
    assert bar.updatesEnabled()
