"""The list of jobs, stages in their own process, jobs that run elsewhere, and closing the window over them."""

import json
import os
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_flex3d import stages
from napari_flex3d.jobs import read_job
from napari_flex3d.synthetic import write_sample
from napari_flex3d.ui import view
from napari_flex3d.ui.closing import CANCEL, GO_ON, STOP
from napari_flex3d.ui.docks import DataDock
from napari_flex3d.ui.job_table import JobsDock
from napari_flex3d.ui.process import as_toml
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.train_dock import TrainDock

LONG = 60_000


def opened(qtbot, session, kind):
    dock = kind(session)
    session.viewer.window.add_dock_widget(dock, name=kind.__name__)
    if hasattr(dock, "panel"):
        qtbot.waitUntil(lambda: dock.panel.form is not None, timeout=LONG)
    return dock


def rows(dock):
    items = [dock.table.topLevelItem(n) for n in range(dock.table.topLevelItemCount())]
    return {item.text(0): [item.text(c) for c in range(1, item.columnCount())] for item in items}


def put_job(folder: Path, **changes) -> Path:
    """Write a job as another program leaves it."""
    record = {
        "stage": "train",
        "state": "running",
        "params": {},
        "inputs": {},
        "warnings": [],
        "seconds": 3.0,
    }
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(record | changes))
    return folder


def test_all_jobs_of_the_project_are_in_one_list(qtbot, session, run_toys):
    jobs = run_toys(session.project, "train")
    put_job(
        session.project / "J7-train",
        host="a-cluster",
        pid=1,
        progress={"step": 3, "total": 4, "message": "e"},
    )
    put_job(session.project / "J8-train", state="failed", error="The mask is empty.\nMore.")
    (session.project / "J9-mesh").mkdir()
    (session.project / "J9-mesh" / "job.json").write_text("{")
    dock = opened(qtbot, session, JobsDock)
    seen = rows(dock)
    assert list(seen) == sorted(seen, reverse=True)  # newest first
    assert [seen[f"J{n}-{stage}"][:2] for n, stage in ((1, "prep"), (3, "train"))] == [
        ["prep", "done"],
        ["train", "done"],
    ]
    assert seen["J7-train"][1] == "running"
    assert seen["J7-train"][4] == "75 % · e · on a-cluster"
    assert seen["J8-train"][4] == "The mask is empty."
    assert seen["J9-mesh"][1] == "broken"
    assert "cannot be read" in seen["J9-mesh"][4]
    dock.choose_job(jobs["train"])
    with qtbot.waitSignal(session.job_shown, timeout=LONG):
        qtbot.mouseClick(dock.open_button, Qt.MouseButton.LeftButton)
    assert session.model_job == jobs["train"].resolve()


def test_a_broken_job_is_told_where_it_was_opened(qtbot, session):
    put_job(session.project / "J1-train", params=[])
    jobs, train = opened(qtbot, session, JobsDock), opened(qtbot, session, TrainDock)
    jobs.choose_job(session.project / "J1-train")
    qtbot.mouseClick(jobs.open_button, Qt.MouseButton.LeftButton)
    for sentence in (jobs.sentence, train.said):
        assert "a damaged params" in sentence.text()
        assert sentence.tone == "bad"


def test_a_job_that_runs_elsewhere_is_followed_and_stopped(qtbot, session):
    folder = put_job(session.project / "J1-train", host="a-cluster", pid=7, params={"epochs": 4})
    jobs, train = opened(qtbot, session, JobsDock), opened(qtbot, session, TrainDock)
    jobs.choose_job(folder)
    jobs.open_button.click()
    assert train.panel.stop_button.isVisibleTo(train.panel)
    record = json.loads((folder / "job.json").read_text())
    record["progress"] = {"step": 2, "total": 4, "message": "epoch 2 of 4"}
    (folder / "job.json").write_text(json.dumps(record))
    qtbot.waitUntil(lambda: "epoch 2 of 4" in train.panel.sentence.text(), timeout=LONG)
    assert (train.panel.bar.value(), train.panel.bar.maximum()) == (2, 4)
    qtbot.mouseClick(train.panel.stop_button, Qt.MouseButton.LeftButton)
    assert (folder / "stop").is_file()  # which the job there looks for
    record["state"] = "stopped"
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        (folder / "job.json").write_text(json.dumps(record))
    assert ended.args == ["train", "stopped", None]


def test_a_job_whose_process_was_killed_says_so_and_can_be_resumed(qtbot, session, run_toys):
    folder = run_toys(session.project, "train", epochs=2)["train"]
    record = json.loads((folder / "job.json").read_text()) | {"state": "running", "pid_started": 1}
    (folder / "job.json").write_text(json.dumps(record | {"pid": os.getpid()}))
    jobs = opened(qtbot, session, JobsDock)
    jobs.choose_job(folder)
    assert rows(jobs)["J3-train"][1] == "stopped"
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        qtbot.mouseClick(jobs.resume_button, Qt.MouseButton.LeftButton)
    assert ended.args[:2] == ["train", "done"]
    assert session.run_folder == folder


@pytest.fixture
def real(viewer, tmp_path):
    """A session on the real stages, and a tiny particle set."""
    sample = write_sample(tmp_path / "sample", particles=60, box=32, pixel_size=6.0)
    session = Session(viewer, project=tmp_path / "project")
    yield session, sample
    session.end()


def test_a_stage_runs_as_its_own_process(qtbot, real):
    session, sample = real
    data = opened(qtbot, session, DataDock)
    data.panel.form.fill({"particles": sample.particles, "map": sample.map})
    panel = data.panel
    panel.place_box.setCurrentIndex(panel.place_box.findData("process"))
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        qtbot.mouseClick(panel.start_button, Qt.MouseButton.LeftButton)
        assert panel.stop_button.isVisibleTo(panel)
        assert not session.is_busy  # others may be started in the window meanwhile
    assert ended.args[1] == "done", panel.sentence.text()
    job = read_job(session.run_folder)
    assert job.state == "done"
    assert job.record["pid"] != os.getpid()
    assert "Map surface" in session.viewer.layers
    assert not list(session.run_folder.glob("stop"))


def test_a_process_that_fails_says_why(qtbot, real):
    session, sample = real
    data = opened(qtbot, session, DataDock)
    data.panel.form.fill({"particles": sample.particles, "map": sample.map})
    sample.map.write_bytes(b"no map")
    data.panel.place_box.setCurrentIndex(data.panel.place_box.findData("process"))
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        data.panel.start_button.click()
    assert ended.args[1] == "failed"
    assert str(sample.map) in data.panel.sentence.text()
    assert data.panel.start_button.isEnabled()
    sample.map.unlink()
    data.panel.start_button.click()
    assert data.panel.sentence.text() == f"Cannot start: Map: {sample.map} is not there."
    assert data.panel.start_button.isEnabled()
    assert len(session.jobs("prep")) == 1  # no job was made for it


def test_parameters_reach_the_process_as_they_are(tmp_path):
    given = stages.stage_named("train").params(mesh=Path("J2-mesh"), rigidity=1e-5, held_out=0.0, seed=7)
    (tmp_path / "given.toml").write_text(as_toml(given))
    from napari_flex3d.cli.arguments import params_of_file

    found = type(given).from_record(params_of_file(tmp_path / "given.toml", "train", list(given.describe())))
    assert found == type(given)(mesh=Path("J2-mesh").absolute(), rigidity=1e-5, held_out=0.0, seed=7)


# -- closing the window over a stage that runs ----------------------------------------------------


@pytest.fixture
def training(qtbot, toy_session, toy_jobs, tmp_path):
    """A window in which a training runs."""
    viewer, docks = view.open_viewer(toy_jobs["mesh"])
    panel = docks.widgets["Train"].panel
    qtbot.waitUntil(lambda: panel.form is not None, timeout=LONG)
    panel.form.fill({"seconds": 60.0})
    session = docks.session
    session.project = tmp_path / "closing"
    panel.start()
    window = panel.window()
    qtbot.waitUntil(lambda: "epoch 1" in panel.sentence.text(), timeout=LONG)
    yield session, window
    if session.viewer is not None:
        viewer.close()


def ask_to_close(qtbot, window) -> QMessageBox:
    """Close the window as its frame does; the question."""
    QApplication.sendEvent(window, QCloseEvent())

    def seen():
        return [box for box in window.findChildren(QMessageBox) if box.isVisible()]

    qtbot.waitUntil(lambda: bool(seen()), timeout=LONG)
    return seen()[0]


def answer(qtbot, box, text):
    button = next(button for button in box.buttons() if button.text() == text)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_a_window_that_is_closed_over_a_training_asks(qtbot, training):
    session, window = training
    box = ask_to_close(qtbot, window)
    assert "-train is running" in box.text()
    assert {button.text() for button in box.buttons()} == {STOP, GO_ON, CANCEL}
    answer(qtbot, box, CANCEL)
    assert session.is_running
    assert window.isVisible()
    run, folder = session.run, session.run_folder
    answer(qtbot, ask_to_close(qtbot, window), STOP)
    qtbot.waitUntil(lambda: run.is_over and session.viewer is None, timeout=LONG)
    assert read_job(folder).state == "stopped"


def test_a_training_goes_on_without_its_window(qtbot, training, monkeypatch):
    session, window = training
    launched = []
    monkeypatch.setattr(
        "napari_flex3d.ui.session.launch",  # the toy stage is not in another process's list of stages
        lambda stage, params, folder, *, resume: launched.append((stage, folder, resume)),
    )
    folder = session.run_folder
    answer(qtbot, ask_to_close(qtbot, window), GO_ON)
    qtbot.waitUntil(lambda: session.viewer is None, timeout=LONG)
    assert launched == [("train", folder, True)]
    assert read_job(folder).state == "stopped"  # here; the process takes it up
