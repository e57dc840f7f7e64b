"""Dragging: the newest latent wins, nothing queues, and what is shown is what can keep up."""

import threading

import numpy as np
import pytest
from qtpy.QtCore import QObject, QPoint, Qt, QTimer

from napari_flex3d.ui.explore import detail
from napari_flex3d.ui.explore.detail import Detail
from napari_flex3d.ui.explore.frames import BUDGET, Frames, Pace
from napari_flex3d.ui.explore.live_surface import SURFACE
from napari_flex3d.ui.explore.live_volume import NAMES
from napari_flex3d.ui.isosurface import COARSE as COARSE_SURFACE
from napari_flex3d.ui.isosurface import FINE

VOLUME, COARSE = NAMES["full"], NAMES["coarse"]


def test_many_requests_make_few_frames_and_the_last_is_shown(dock, session, on_screen):
    on_screen()
    frames, explorer = session.explorer.live.frames, session.explorer
    before = (frames.requested, frames.begun)
    for value in np.linspace(-0.8, 0.8, 200):
        dock.sliders[0].setValue(value)
    on_screen()
    assert frames.requested - before[0] == 200
    assert frames.begun - before[1] < 20  # one on its way, and the newest after it
    layer = session.viewer.layers[SURFACE]
    expected = session.model.move(explorer.live.surface.carried.points, [0.8, explorer.latent[1]])
    np.testing.assert_allclose(layer.drawn_vertices, explorer.subject.grid.indices(expected), atol=1e-3)


def test_requests_for_volumes_are_overtaken_too(qtbot, dock, session, on_screen):
    dock.look.show_box.setCurrentText("Volume")
    qtbot.waitUntil(lambda: VOLUME in session.viewer.layers, timeout=30_000)
    on_screen()
    volume = session.explorer.live.volume
    answered, latents = volume.answered, np.linspace(-0.8, 0.8, 100)
    for value in latents:
        dock.sliders[0].setValue(value)
    dock.sliders[0].sliderReleased.emit()
    on_screen()
    assert volume.answered - answered < 10
    expected = session.model.volume(session.explorer.latent, map=session.explorer.subject.density)
    np.testing.assert_allclose(session.viewer.layers[VOLUME].data, expected, atol=1e-4)
    assert session.explorer.latent[0] == pytest.approx(0.8)
    assert session.viewer.layers[VOLUME].visible
    assert not session.viewer.layers[SURFACE].visible


def test_a_slow_volume_does_not_hold_the_window(qtbot, monkeypatch, dock, session, on_screen):
    on_screen()
    gate, original = threading.Event(), type(session.model).volume

    def slow(self, *args, **kwargs):
        gate.wait(20)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(session.model), "volume", slow)
    ticks: list[int] = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start()
    dock.look.show_box.setCurrentText("Both")
    for value in (0.1, 0.5, 0.9):
        dock.sliders[0].setValue(value)
    qtbot.waitUntil(lambda: len(ticks) > 20, timeout=10_000)  # the window goes on
    assert dock.sliders[0].value() == pytest.approx(0.9)
    assert not session.explorer.live.frames.is_idle
    gate.set()
    timer.stop()
    on_screen()
    monkeypatch.undo()


def test_the_coarse_volume_is_the_same_density_on_half_the_grid(qtbot, dock, session, on_screen):
    dock.look.show_box.setCurrentText("Volume")
    qtbot.waitUntil(lambda: VOLUME in session.viewer.layers, timeout=30_000)
    on_screen()
    explorer = session.explorer
    explorer.live.pace.choose = lambda: "coarse"
    dock.sliders[0].setValue(0.7)
    qtbot.waitUntil(
        lambda: COARSE in session.viewer.layers and session.viewer.layers[COARSE].visible, timeout=30_000
    )
    coarse = session.viewer.layers[COARSE]
    full = session.model.volume(explorer.latent, map=explorer.subject.density)
    assert coarse.data.shape == (16, 16, 16)
    # mass and centre of mass agree, in the layers' own places: Å
    assert coarse.data.sum() * 8 == pytest.approx(full.sum(), rel=0.02)
    centre = []
    for data, layer in ((coarse.data, coarse), (full, session.viewer.layers[VOLUME])):
        index = np.indices(data.shape).reshape(3, -1)
        centre.append(layer.data_to_world((index * data.ravel()).sum(1) / data.sum()))
    np.testing.assert_allclose(centre[0], centre[1], atol=0.5)
    dock.sliders[0].sliderReleased.emit()
    qtbot.waitUntil(lambda: session.viewer.layers[VOLUME].visible, timeout=30_000)
    assert not coarse.visible


def test_the_dock_chooses_by_what_frames_have_cost():
    pace = Pace()
    assert pace.choose() == "coarse"  # nothing is known yet
    pace.note("full", 0.5 * BUDGET)
    assert pace.choose() == "full"
    for _ in range(5):
        pace.note("full", 3 * BUDGET)
    assert pace.choose() == "coarse"
    for _ in range(5):
        pace.note("coarse", 2 * BUDGET)
    assert pace.choose() == "surface"
    pace.forget()
    assert pace.choose() == "coarse"


def test_how_finely_goes_by_what_a_checkpoint_costs_and_how_often_they_come(monkeypatch):
    now = {"perf": 0.0, "thread": 0.0}
    monkeypatch.setattr(detail.time, "perf_counter", lambda: now["perf"])
    monkeypatch.setattr(detail.time, "thread_time", lambda: now["thread"])
    pace, seen = Detail(), []
    for epoch in (0.0, 5.0, 15.0, 20.0, 5.0):
        now["perf"] += epoch
        seen.append(pace.begin(is_next=True))
        now["thread"] += 0.1 if seen[-1] == FINE else 0.02  # with the drawing 0.2 s, 1 % of twenty
        pace.end(seen[-1])
    assert seen == [
        FINE,
        COARSE_SURFACE,
        COARSE_SURFACE,
        FINE,
        COARSE_SURFACE,
    ]
    assert pace.begin(is_next=False) == FINE


def test_a_hidden_canvas_does_not_hold_up_the_frames(qtbot):
    parent, drawn = QObject(), []
    frames = Frames(lambda: (drawn.append(1), frames.ready()), parent)
    frames.want()
    frames.want()
    frames.want()
    assert len(drawn) == 1
    qtbot.waitUntil(lambda: frames.is_idle, timeout=10_000)  # nobody says that anything was drawn
    assert len(drawn) == 2


def test_the_mouse_on_a_slider(qtbot, dock, session):
    slider = dock.sliders[0]
    track = slider.track
    y = track.height() // 2
    qtbot.mousePress(track, Qt.MouseButton.LeftButton, pos=QPoint(track.width() - 4, y))
    assert slider.value() == pytest.approx(slider.maximum(), abs=0.02)
    assert session.explorer.latent[0] == slider.value()
    qtbot.mouseRelease(track, Qt.MouseButton.LeftButton, pos=QPoint(track.width() - 4, y))
    qtbot.mouseDClick(track, Qt.MouseButton.LeftButton, pos=QPoint(20, y))
    assert slider.value() == pytest.approx(session.model.latents[:, 0].mean(), abs=1e-4)
    before = slider.value()
    qtbot.keyClick(track, Qt.Key.Key_Right)
    assert slider.value() > before
    slider.number.setValue(0.25)
    assert session.explorer.latent[0] == pytest.approx(0.25)


def test_bars_are_the_histogram_of_the_particles(dock, session):
    slider = dock.sliders[1]
    values = session.model.latents[:, 1]
    counts, _ = np.histogram(values, 40, (slider.minimum(), slider.maximum()))
    np.testing.assert_allclose(slider.track.heights, counts / counts.max())


def test_a_key_chooses_a_slider(dock, session):
    dock.window().activateWindow()
    keys = {str(key): action for key, action in session.viewer.keymap.items()}
    keys["Alt+2"](session.viewer)
    assert dock.sliders[1].track.hasFocus() or dock.window().focusWidget() is dock.sliders[1].track
