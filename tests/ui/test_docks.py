"""Every dock through its buttons, on toy stages that drive real jobs."""

import json
from pathlib import Path

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_flex3d.jobs import read_job
from napari_flex3d.progress import Progress
from napari_flex3d.ui import upkeep
from napari_flex3d.ui.docks import DataDock
from napari_flex3d.ui.explore import ExploreDock
from napari_flex3d.ui.explore.detail import Detail
from napari_flex3d.ui.explore.live_surface import SURFACE
from napari_flex3d.ui.isosurface import FINE, cut
from napari_flex3d.ui.monitor import Monitor
from napari_flex3d.ui.reconstruct import ReconstructDock
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.studio.dock import MeshDock
from napari_flex3d.ui.summary import facts, in_words, resolution_table
from napari_flex3d.ui.train_dock import TrainDock

BOX, PIXEL_SIZE = 32, 4.0  # of the toys
LONG = 60_000


def opened(qtbot, session, kind):
    dock = kind(session)
    session.viewer.window.add_dock_widget(dock, name=kind.__name__)
    if hasattr(dock, "panel"):
        qtbot.waitUntil(lambda: dock.panel.form is not None, timeout=LONG)
    return dock


def run(qtbot, session, panel, outcome="done"):
    assert panel.start_button.isEnabled(), panel.sentence.text()
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        qtbot.mouseClick(panel.start_button, Qt.MouseButton.LeftButton)
        assert panel.stop_button.isVisibleTo(panel)
        assert not panel.start_button.isVisibleTo(panel)
    assert ended.args[1] == outcome
    return session.run_folder


def test_the_stages_are_chained_from_particles_to_maps(qtbot, session, toy_jobs):
    project = toy_jobs["prep"].parent
    data, mesh, train, reconstruct = (
        opened(qtbot, session, kind) for kind in (DataDock, MeshDock, TrainDock, ReconstructDock)
    )
    assert "choose a file" in data.panel.sentence.text()
    assert not data.panel.start_button.isEnabled()
    data.panel.form.fill({"particles": project / "particles.star", "map": project / "consensus.mrc"})
    prep_job = run(qtbot, session, data.panel)
    assert "J1-prep is done" in data.panel.sentence.text()
    assert {"Map", "Map surface", "Mask"} <= {layer.name for layer in session.viewer.layers}
    assert "particles: 24" in data.verdict.text()

    assert mesh.panel.form.value_of("prep") == prep_job
    mesh_job = run(qtbot, session, mesh.panel)
    assert {"Mesh boundary", "Mesh edges"} <= {layer.name for layer in session.viewer.layers}

    assert train.panel.form.value_of("mesh") == mesh_job
    wanted = []
    session.want_monitor.connect(lambda: wanted.append(True))
    train_job = run(qtbot, session, train.panel)
    assert wanted  # the curves come to the front by themselves
    qtbot.waitUntil(lambda: session.model is not None, timeout=LONG)
    assert session.model_job == train_job

    assert reconstruct.panel.form.value_of("train") == train_job
    reconstruct_job = run(qtbot, session, reconstruct.panel)
    assert "10.60" in reconstruct.table.text()
    assert set(reconstruct.correlation.curves.lines) == {"flexible", "rigid"}
    assert [job.name for job in (prep_job, mesh_job, train_job, reconstruct_job)] == [
        "J1-prep",
        "J2-mesh",
        "J3-train",
        "J4-reconstruct",
    ]


@pytest.fixture
def train(qtbot, session, toy_jobs) -> TrainDock:
    session.open(toy_jobs["mesh"])
    return opened(qtbot, session, TrainDock)


def test_a_failed_training_says_why_and_copies_its_details(qtbot, session, train):
    train.panel.form.fill({"fail": "CUDA out of memory"})
    run(qtbot, session, train.panel, "failed")
    text = train.panel.sentence.text()
    assert text.startswith("J1-train failed: Out of memory (CUDA out of memory). Use a smaller training box")
    assert train.panel.start_button.isEnabled()
    train.panel.copy_button.click()
    copied = QApplication.clipboard().text()
    assert "RuntimeError: CUDA out of memory" in copied
    assert "train started" in copied
    assert read_job(session.run_folder).state == "failed"


def test_a_training_is_stopped_and_resumed(qtbot, session, train):
    train.panel.form.fill({"seconds": 60.0, "epochs": 2})
    qtbot.mouseClick(train.panel.start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "epoch 1 of 2" in train.panel.sentence.text(), timeout=LONG)
    assert train.panel.bar.maximum() == 2
    folder = session.run_folder
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        qtbot.mouseClick(train.panel.stop_button, Qt.MouseButton.LeftButton)
        assert train.panel.stop_button.text() == "Stopping…"
        assert not train.panel.stop_button.isEnabled()
    assert read_job(folder).state == "stopped"
    assert "Resume" in train.panel.sentence.text()
    with qtbot.waitSignal(session.run_changed, timeout=LONG):
        train.panel.resume_button.click()
    assert session.run_folder == folder
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        session.stop()


def test_only_one_stage_runs_at_a_time(qtbot, session, train):
    other = opened(qtbot, session, MeshDock)
    train.panel.form.fill({"seconds": 60.0})
    train.panel.start()
    assert not other.panel.start_button.isEnabled()
    assert "running" in other.panel.start_button.toolTip()
    other.panel.start()
    assert "Cannot start: train is running" in other.panel.sentence.text()
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        session.stop()


def test_a_dock_that_is_opened_again_shows_the_running_job(qtbot, session, train):
    train.panel.form.fill({"seconds": 60.0})
    train.panel.start()
    again = opened(qtbot, session, TrainDock)
    assert again.panel.stop_button.isVisibleTo(again.panel)
    qtbot.waitUntil(lambda: "epoch 1" in again.panel.sentence.text(), timeout=LONG)
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        again.panel.stop_button.click()


def test_curves_and_map_follow_a_training_that_runs(qtbot, session, train):
    monitor, explore = Monitor(session), opened(qtbot, session, ExploreDock)
    session.viewer.window.add_dock_widget(monitor, area="bottom")
    train.panel.form.fill({"epochs": 3, "seconds": 5.0})  # the first model may have to load torch
    taken = []
    session.explorer.model_taken.connect(taken.append)
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        train.panel.start()
        assert "no checkpoint yet" in explore.state.text()
        qtbot.waitUntil(lambda: SURFACE in session.viewer.layers, timeout=LONG)
        assert session.is_running  # the map is there before the training is over
        assert session.shown.is_followed
        assert session.viewer.layers[SURFACE].visible  # in front of what was shown before
        explore.sliders[0].setValue(0.5)
    qtbot.waitUntil(lambda: len(taken) > 1 and session.model is taken[-1], timeout=LONG)
    assert session.explorer.latent[0] == pytest.approx(0.5, abs=0.02)  # the next checkpoint leaves one there
    monitor.redraw()
    epochs, loss = monitor.loss.lines["flexible"].getData()
    np.testing.assert_array_equal(epochs, [1, 2, 3])
    np.testing.assert_allclose(loss, 1 + 0.3 * np.exp(-epochs / 3))
    assert set(monitor.motion.lines) == {"rms", "largest"}
    np.testing.assert_allclose(monitor.gain.lines["held-out"].getData()[1], 1.32 - loss - 0.02)
    assert "done" in monitor.title.text()


def test_the_map_moves_while_a_training_runs_and_is_back_after_it(qtbot, session, train):
    opened(qtbot, session, ExploreDock)
    preview, explorer = train.preview, session.explorer
    drawn = []
    explorer.live.frames.shown.connect(lambda *_: drawn.append(session.viewer.layers[SURFACE].drawn_vertices))
    train.panel.form.fill({"epochs": 40, "seconds": 2.0})
    train.panel.start()
    qtbot.waitUntil(lambda: preview.frames > 1, timeout=LONG)
    assert np.abs(drawn[-1] - drawn[0]).max() > 0
    np.testing.assert_array_equal(explorer.latent, 0)  # where the person is, nothing has changed
    train.preview_box.setChecked(False)
    qtbot.waitUntil(lambda: explorer.live.frames.is_idle, timeout=LONG)
    assert preview.frames == 0
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        session.stop()
    layer = session.viewer.layers[SURFACE]
    moved, _ = explorer.live.surface._moved(explorer.model.displacements(explorer.latent))
    np.testing.assert_allclose(layer.vertices, explorer.subject.grid.indices(moved), atol=1e-4)
    train.preview_box.setChecked(True)


def test_a_training_of_short_epochs_is_watched_coarsely_and_seen_whole_after_it(
    qtbot, session, train, monkeypatch
):
    opened(qtbot, session, ExploreDock)
    monkeypatch.setattr(Detail, "begin", lambda self, is_next: 10 if is_next else FINE)
    monkeypatch.setattr(upkeep, "SHARE", 1.0)  # there is time for every map
    points: list[int] = []
    explorer = session.explorer
    explorer.live.frames.shown.connect(lambda *_: points.append(len(explorer.live.surface.carried.points)))
    train.panel.form.fill({"epochs": 8, "seconds": 0.5})
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        train.panel.start()
    qtbot.waitUntil(lambda: explorer.live.surface.most == FINE, timeout=LONG)
    whole = len(cut(explorer.subject.density, explorer.contour)[0])
    assert min(points) < whole / 4
    assert len(session.viewer.layers[SURFACE].vertices) == whole


def test_a_dock_warns_of_its_own_stage_only(qtbot, session, train, run_toys, tmp_path):
    jobs = run_toys(tmp_path / "warned")
    path = jobs["reconstruct"] / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["The mask is too tight."]}))
    reconstruct = opened(qtbot, session, ReconstructDock)
    session.open(jobs["reconstruct"])
    assert reconstruct.warnings.text() == "• The mask is too tight."
    assert train.warnings.text() == ""
    session.run_stage, session.run_folder = "reconstruct", jobs["reconstruct"]
    session.reported.emit(Progress(1, 2, "Warning: The mask is too tight."))
    assert train.warnings.text() == ""


def test_the_monitor_draws_a_reconstruction(qtbot, session, toy_jobs):
    monitor = Monitor(session)
    qtbot.addWidget(monitor)
    session.open(toy_jobs["reconstruct"])
    assert set(monitor.loss.lines) == {"flexible, half 1", "flexible, half 2"}
    assert "J4-reconstruct" in monitor.title.text()


def test_particles_are_shown_alone(qtbot, session, toy_jobs):
    data = opened(qtbot, session, DataDock)
    session.open(toy_jobs["prep"])
    data.show_layers()
    data.show_particles()
    viewer = session.viewer
    assert viewer.dims.ndisplay == 2
    assert [layer.name for layer in viewer.layers if layer.visible] == ["Particles"]
    data.show_layers()
    assert "Particles" not in viewer.layers
    assert viewer.dims.ndisplay == 3


def test_images_that_were_dropped_do_not_spoil_the_view_of_the_map(qtbot, session, toy_jobs):
    data = opened(qtbot, session, DataDock)
    stack = toy_jobs["prep"] / "particles_train.mrcs"
    session.viewer.open(str(stack), plugin="napari-flex3d")
    session.open(toy_jobs["prep"])
    data.show_layers()
    size = BOX * PIXEL_SIZE
    low, high = session.viewer.layers.extent.world
    np.testing.assert_allclose((high - low)[-3:], size, atol=PIXEL_SIZE)


def test_files_opened_in_the_viewer_are_taken_as_input(qtbot, session, toy_jobs):
    data = opened(qtbot, session, DataDock)
    volume = toy_jobs["prep"].parent / "consensus.mrc"
    session.viewer.open(str(volume), plugin="napari-flex3d")
    assert data.panel.form.value_of("map") == volume


def test_a_map_beside_many_images_is_seen_in_slices(qtbot, session, toy_jobs):
    session.viewer.dims.ndisplay = 2
    session.viewer.add_image(np.zeros((3000, 8, 8), np.float32))
    session.viewer.open(str(toy_jobs["prep"].parent / "consensus.mrc"), plugin="napari-flex3d")
    low, high = session.viewer.layers["consensus"].extent.world[:, 0]
    middle = pytest.approx((low + high) / 2, abs=PIXEL_SIZE)
    qtbot.waitUntil(lambda: session.viewer.dims.point[0] == middle, timeout=LONG)


def test_a_job_folder_dropped_on_the_canvas_is_opened(qtbot, session, toy_jobs):
    with qtbot.waitSignal(session.job_shown, timeout=LONG):
        session.viewer.open(str(toy_jobs["train"]), plugin="napari-flex3d")
    assert session.current["mesh"] == toy_jobs["mesh"].resolve()
    qtbot.waitUntil(lambda: session.model is not None, timeout=LONG)


def test_a_viewer_and_its_proxy_share_one_session(viewer, toy_session):
    session = Session.of(PublicOnlyProxy(viewer))  # plugins get a proxy, view() has the viewer itself
    assert Session.of(viewer) is session
    ended = []
    session.ending.connect(lambda: ended.append(True))
    session.end()
    assert ended
    assert Session.of(viewer) is not session
    Session.of(viewer).end()


def test_jobs_are_listed_newest_first_and_numbered_on(session, toy_jobs):
    session.project = toy_jobs["prep"].parent
    assert session.jobs("train") == [toy_jobs["train"]]
    assert session.new_folder("mesh").name == "J5-mesh"
    (Path(session.project) / "notes").mkdir(exist_ok=True)
    assert session.jobs("generate") == []


def test_summaries_in_words():
    lines = facts(
        {
            "cells": 12345,
            "size_A": 3.0,
            "empty": {},
            "hand": {"flipped": False, "score": 0.123456},
            "none": None,
            "ids": list(range(99)),
            "defocus_A": [7835.0, 24691.3],
            "segments": [{"id": 1, "name": "", "mass_kDa": 787.3054}, {"id": 2, "name": "arm"}],
        }
    )
    hand = ["hand:", "   flipped: no", "   score: 0.1235"]
    segments = ["segments:", "   id: 1, mass (kDa): 787.3", "   id: 2, name: arm"]
    assert lines == ["cells: 12,345", "size (Å): 3", *hand, "defocus (Å): 7835, 24,691", *segments]
    assert "–" in resolution_table({"flex": {"fsc143_A": 3.5}})
    assert [in_words(s) for s in (0.2, 65, 600, 9000)] == ["1 s", "65 s", "10 min", "2.5 h"]
