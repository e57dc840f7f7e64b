"""From files to particles chosen by hand, through the buttons of one window, on the real stages and a tiny set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_flex3d.io.mrc import read_map
from napari_flex3d.io.star import read_star
from napari_flex3d.jobs import read_job, read_metrics
from napari_flex3d.synthetic import write_sample
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.view import Docks

LONG = 120_000
PARTICLES = 120


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Particles of a hinge."""
    return write_sample(tmp_path_factory.mktemp("sample"), particles=PARTICLES, box=32, pixel_size=6.0)


@pytest.fixture
def docks(qtbot, viewer, tmp_path) -> Iterator[Docks]:
    """All docks in the window, on the real stages."""
    session = Session(viewer, project=tmp_path / "project")
    docks = Docks(viewer, session)
    qtbot.waitUntil(lambda: session.is_ready, timeout=LONG)
    yield docks
    session.end()


def click(qtbot, button) -> None:
    qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled(), timeout=LONG)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def done(qtbot, docks: Docks, name: str) -> Path:
    """Press a stage's button and wait until it is done."""
    docks.select(name)
    panel = docks.widgets[name].panel
    with qtbot.waitSignal(docks.session.run_ended, timeout=LONG) as ended:
        click(qtbot, panel.start_button)
    assert ended.args[1] == "done", panel.sentence.text()
    return docks.session.run_folder


def drag(qtbot, widget, points: list[QPoint], key=Qt.KeyboardModifier.NoModifier) -> None:
    """Drag the mouse over a widget with the left button held."""
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton

    def move(point: QPoint, buttons: Any) -> None:
        place = QPointF(point)
        there = QPointF(widget.mapToGlobal(point))
        QApplication.sendEvent(widget, QMouseEvent(QEvent.Type.MouseMove, place, there, none, buttons, key))

    move(points[0], none)
    qtbot.mousePress(widget, left, key, points[0])
    for point in points[1:]:
        qtbot.wait(12)
        move(point, left)
    qtbot.mouseRelease(widget, left, key, points[-1])


def test_from_files_to_chosen_particles(qtbot, viewer, docks, sample, tmp_path, monkeypatch):
    session = docks.session
    # files are dropped
    for path in (sample.particles, sample.map):
        viewer.open(str(path), plugin="napari-flex3d")
    prep = done(qtbot, docks, "Data")
    assert read_job(prep).summary["particles"] == PARTICLES

    paint(qtbot, viewer, docks)
    mesh = done(qtbot, docks, "Mesh")
    assert len(np.unique(read_map(mesh / "segments.mrc").data)) > 2  # solvent, and both segments

    docks.widgets["Train"].panel.form.fill({"epochs": 2, "latent_dims": 2})
    train = done(qtbot, docks, "Train")
    assert read_metrics(train)["epoch"] == [1, 2]
    monitor = docks.widgets["Monitor"]
    monitor.redraw()
    assert {"flexible", "rigid", "held-out"} <= set(monitor.loss.lines)

    docks.select("Explore")
    explore, explorer = docks.widgets["Explore"], session.explorer
    qtbot.waitUntil(lambda: explorer.model is session.model is not None, timeout=LONG)
    qtbot.waitUntil(explore.isVisible, timeout=LONG)
    before = explorer.latent.copy()
    track = explore.sliders[0].track
    middle = track.height() // 2
    drag(qtbot, track, [QPoint(round(x * track.width()), middle) for x in np.linspace(0.5, 0.9, 8)])
    assert explorer.latent[0] > before[0] + 0.1
    qtbot.waitUntil(lambda: explorer.live.frames.is_idle, timeout=LONG)

    scatter = explore.scatter
    ends = scatter.viewport().rect()
    around = [(0.1, 0.1), (0.55, 0.1), (0.55, 0.9), (0.1, 0.9), (0.1, 0.12)]
    lasso = [QPoint(round(x * ends.width()), round(y * ends.height())) for x, y in around]
    drag(qtbot, scatter.viewport(), lasso, Qt.KeyboardModifier.ShiftModifier)
    chosen = explorer.selection.chosen
    assert 0 < chosen.sum() < PARTICLES

    out = tmp_path / "chosen.star"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(out), ""))
    panel = explore.selection_panel
    with qtbot.waitSignal(panel.saved, timeout=LONG):
        panel.save_button.click()
    table = read_star(out)["particles"]
    given = list(read_star(sample.particles)["particles"]["rlnImageName"])
    assert list(table["rlnImageName"]) == [given[row] for row in np.flatnonzero(chosen)]


def paint(qtbot, viewer, docks: Docks) -> None:
    """Paint two segments on the surface of the map, with the brush and Shift."""
    docks.select("Mesh")
    dock = docks.widgets["Mesh"]
    qtbot.waitUntil(lambda: dock.bench is not None and dock.bench.isVisible(), timeout=LONG)
    dock.panel.form.fill({"cells": 10})
    with qtbot.waitSignal(dock.design.drafted, timeout=LONG):
        click(qtbot, dock.bench.solid_button)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    for side, segment in ((-1, 1), (1, 2)):
        if segment == 2:
            click(qtbot, dock.bench.new_button)
        stroke = [middle + QPoint(side * (20 + 8 * k), 0) for k in range(7)]
        with qtbot.waitSignal(dock.design.drafted, timeout=LONG):
            drag(qtbot, canvas, stroke, Qt.KeyboardModifier.ShiftModifier)
    assert len(dock.design.painting.ids()) == 2
