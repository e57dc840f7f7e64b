import subprocess
import sys
from pathlib import Path

import napari
import numpy as np
import pytest
from imageio.v3 import imread
from npe2 import PluginManifest
from qtpy.QtWidgets import QAbstractButton, QApplication, QWidget

from napari_flex3d.ui import view
from napari_flex3d.ui.layers import FILE_KEY
from napari_flex3d.ui.plugin import DOCKS
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.settings import FIRST, Settings
from napari_flex3d.ui.train_dock import TrainDock

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("stage", "tab", "layers"),
    [
        ("prep", "Data", {"Map surface", "Mask"}),
        ("mesh", "Mesh", {"Map surface", "Mesh boundary", "Mesh edges"}),
        ("train", "Explore", {"Flexible map"}),
        ("reconstruct", "Reconstruct", {"Flexible map, reconstructed"}),
    ],
)
def test_a_job_opens_at_its_stage(qtbot, toy_session, toy_jobs, stage, tab, layers):
    viewer, docks = view.open_viewer(toy_jobs[stage])
    try:
        session = docks.session
        qtbot.waitUntil(
            lambda: session.is_ready and (session.model_job is None or session.model is not None),
            timeout=60_000,
        )
        qtbot.waitUntil(lambda: docks.widgets[tab].isVisible(), timeout=10_000)
        assert {layer.name for layer in viewer.layers if layer.visible} == layers
        others = [docks.widgets[name] for name in DOCKS if name != tab]
        assert not any(w.visibleRegion().boundingRect().height() for w in others)
        assert session.project == toy_jobs[stage].parent
    finally:
        viewer.close()


def test_a_picture_of_the_window_shows_canvas_and_docks(toy_session, toy_jobs, tmp_path):
    given = [
        str(toy_jobs["train"]),
        "--screenshot",
        str(tmp_path / "a.png"),
        "--at",
        "0.9,-0.4",
        "--size",
        "1200x700",
    ]
    assert view.main(given) == 0
    picture = imread(tmp_path / "a.png")[..., :3].astype(float)
    assert picture.shape[1] >= 1200
    middle = picture[150:350, 450:750]
    assert middle.std() > 20  # the map, on black
    right = picture[100:500, -330:]
    assert len(np.unique(right.reshape(-1, 3), axis=0)) > 200  # the density of the latents


def test_a_folder_that_is_no_job_is_refused_in_words(toy_session, tmp_path, capsys):
    assert view.main([str(tmp_path), "--screenshot", str(tmp_path / "a.png")]) == 1
    assert "is no job folder" in capsys.readouterr().err


def test_the_manifest_names_things_that_exist_and_is_the_file_at_the_root():
    manifest = PluginManifest.from_distribution("napari-flex3d")
    manifest.validate_imports()
    assert manifest == PluginManifest.from_file(ROOT / "napari.yaml")
    names = [widget.display_name for widget in manifest.contributions.widgets]
    assert names[:6] == ["All docks", "Data", "Mesh", "Train", "Explore", "Reconstruct"]


def test_the_menu_opens_all_docks_once(qtbot, viewer, toy_session):
    from napari._app_model import get_app_model

    try:
        for _ in range(2):
            get_app_model().commands.execute_command("napari-flex3d.open_all").result()
        assert set(DOCKS) <= set(viewer.window.dock_widgets)
        session = Session.of(viewer)
        qtbot.waitUntil(lambda: session.is_ready, timeout=60_000)
        assert view.Docks.of(viewer) is session.docks
    finally:
        Session.of(viewer).end()


def test_all_docks_take_the_place_of_single_ones(qtbot, viewer, toy_session):
    try:
        for name in ("Data", "All docks"):
            viewer.window.add_plugin_dock_widget("napari-flex3d", name)
        qtbot.waitUntil(lambda: set(DOCKS) <= set(viewer.window.dock_widgets), timeout=60_000)
        assert not [name for name in viewer.window.dock_widgets if "flex3d" in name]
        session = Session.of(viewer)
        qtbot.waitUntil(lambda: session.is_ready, timeout=60_000)
    finally:
        Session.of(viewer).end()


def test_docks_that_were_closed_stay_closed_when_particles_are_dropped(qtbot, viewer, toy_session, toy_jobs):
    session = Session.of(viewer)
    docks, dropped = view.Docks.of(viewer), []
    session.file_dropped.connect(lambda kind, _: dropped.append(kind))
    viewer.window.remove_dock_widget("all")
    QApplication.processEvents()
    path = str(toy_jobs["prep"].parent / "particles.star")
    layer = viewer.add_image(np.zeros((2, 2)), metadata={FILE_KEY: path})
    assert not docks.is_there
    assert dropped == ["particles"]
    session.end()
    viewer.layers.remove(layer)
    viewer.add_image(np.zeros((2, 2)), metadata={FILE_KEY: path})
    assert dropped == ["particles"]  # it has let the viewer go


def nameless(widget: QWidget) -> list[str]:
    """Controls that a person who does not see cannot tell, or that nothing explains."""
    found = []
    for button in widget.findChildren(QAbstractButton):
        has_words = sum(c.isalnum() for c in button.text()) > 1
        if not has_words and not (button.toolTip() and button.accessibleName()):
            found.append(f"{type(button).__name__} {button.text()!r} {button.toolTip()!r}")
    return found


def test_buttons_without_words_have_a_tooltip_and_a_name(qtbot, toy_session, toy_jobs):
    viewer, docks = view.open_viewer(toy_jobs["reconstruct"])
    try:
        session = docks.session
        qtbot.waitUntil(lambda: session.is_ready and session.model is not None, timeout=60_000)
        docks.open_monitor()
        assert {name: nameless(w) for name, w in docks.widgets.items() if nameless(w)} == {}
    finally:
        viewer.close()


@pytest.mark.parametrize("name", DOCKS)
def test_every_dock_fits_a_small_laptop(qtbot, toy_session, toy_jobs, name):
    """1366 x 768, with the strip open; nothing is cut off at the right."""
    viewer, docks = view.open_viewer(toy_jobs["reconstruct"])
    try:
        session = docks.session
        qtbot.waitUntil(lambda: session.is_ready and session.model is not None, timeout=60_000)
        docks.open_monitor()
        docks.open_strip("Jobs")
        viewer.add_labels(np.ones((4, 4, 4), int))  # of all layers, the most controls
        docks.select(name)
        dock = docks.widgets[name]
        qtbot.waitUntil(dock.isVisible, timeout=10_000)
        window = dock.window()

        def fits() -> bool:
            window.resize(1366, 768)  # Qt makes it larger again if it must
            QApplication.processEvents()
            return (window.width(), window.height()) == (1366, 768)

        qtbot.waitUntil(fits, timeout=10_000)
        assert dock.widget().minimumSizeHint().width() <= dock.viewport().width()
    finally:
        viewer.close()


def test_what_is_remembered_is_declared_once_more_in_the_manifest():
    declared = PluginManifest.from_file(ROOT / "napari.yaml").contributions.configurations["docks"].properties
    assert {name: value.default for name, value in declared.items()} == FIRST


def test_choices_are_remembered_in_the_next_window(qtbot, viewer, toy_session, tmp_path):
    settings = Settings()
    try:
        first = Session(viewer)
        first.choose_project(tmp_path / "mine")
        train = TrainDock(first)
        qtbot.addWidget(train)
        train.preview_box.setChecked(False)
        train.panel.place_box.setCurrentIndex(1)
        train.panel.place_box.activated.emit(1)
        first.end()
        again = Settings()
        assert [again["project"], again["runs_in"], again["preview"]] == [
            str(tmp_path / "mine"),
            "process",
            False,
        ]
    finally:
        for name, value in FIRST.items():
            settings[name] = value


def test_the_plugins_menu_and_the_reader_load_no_torch():
    code = (
        "import sys, napari_flex3d.ui.plugin, napari_flex3d.ui.reader, napari_flex3d.ui.sample;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "name", ["Data", "Mesh", "Train", "Explore", "Reconstruct", "Monitor", "Jobs", "Help"]
)
def test_widgets_open_from_the_plugins_menu(qtbot, viewer, toy_session, name):
    _, widget = viewer.window.add_plugin_dock_widget("napari-flex3d", name)
    try:
        assert widget.session is Session.of(viewer)
        if hasattr(widget.dock, "panel"):
            qtbot.waitUntil(lambda: widget.dock.panel.form is not None, timeout=60_000)
    finally:
        Session.of(viewer).end()


@pytest.mark.skipif(
    napari.__version__.startswith("0.8."), reason="napari 0.8 aborts by itself: its status thread still runs"
)
def test_a_script_may_end_without_closing_its_window(toy_jobs):
    script = (
        "import sys; from pathlib import Path; from napari_flex3d.ui import view;"
        "viewer, docks = view.open_viewer(Path(sys.argv[1]));"
        "view._wait(lambda: docks.session.model is not None); view._wait(lambda: False, seconds=1); print('end')"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(toy_jobs["train"])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "end\n")
    assert "Traceback" not in run.stderr


def test_closing_the_window_ends_a_running_training(qtbot, toy_session, toy_jobs, tmp_path):
    viewer, docks = view.open_viewer(toy_jobs["mesh"])
    session = docks.session
    session.project = tmp_path  # the toys' own is for all tests
    panel = docks.widgets["Train"].panel
    qtbot.waitUntil(lambda: panel.form is not None, timeout=60_000)
    panel.form.fill({"seconds": 60.0})
    panel.start()
    run = session.run
    viewer.close()
    qtbot.waitUntil(lambda: run.is_over, timeout=30_000)
    assert session.viewer is None
