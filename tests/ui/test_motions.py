"""Motions before any training, through the buttons of the dock "Train"."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_flex3d import stages
from napari_flex3d.mesh import TetMesh
from napari_flex3d.ui.motion_surface import LAYER
from napari_flex3d.ui.train_dock import TrainDock

LONG = 60_000


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


@pytest.fixture
def train(qtbot, session, toy_jobs) -> TrainDock:
    session.open(toy_jobs["mesh"])
    dock = TrainDock(session)
    session.viewer.window.add_dock_widget(dock, name="Train")
    qtbot.waitUntil(lambda: dock.panel.form is not None, timeout=LONG)
    return dock


@pytest.fixture
def found(qtbot, session, train):
    """The panel after a search."""
    panel = train.motions
    assert not panel.found.isVisibleTo(panel)
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        click(qtbot, panel.run.start_button)
        assert panel.run.stop_button.isVisibleTo(panel)
        assert not train.panel.start_button.isEnabled()
    assert ended.args[:2] == ["motions", "done"]
    assert panel.found.isVisibleTo(panel)
    return panel


def moved(session):
    """How far the surface has been moved, Å, each of its points."""
    layer = session.viewer.layers[LAYER]
    return np.linalg.norm(layer.drawn_vertices - layer.vertices, axis=1) * layer.scale[0]


def test_supported_motions_are_taken_unless_dropped(qtbot, train, found):
    form = train.panel.form
    assert [tick.isChecked() for tick in found.ticks] == [True, True, False]
    assert "2 of 3 motions are supported" in found.sentence.text()
    assert form.value_of("motions") == ()
    found.ticks[0].click()
    assert form.value_of("motions") == (2,)
    found.ticks[2].click()
    assert form.value_of("motions") == (2, 3)
    found.ticks[1].click()
    found.ticks[2].click()
    assert (form.value_of("motions"), form.value_of("start")) == ((), "random")
    found.ticks[0].click()
    found.ticks[1].click()
    assert (form.value_of("motions"), form.value_of("start")) == ((), "motions")


def test_what_the_form_names_is_ticked(train, found):
    train.panel.form.fill({"motions": (3,)})
    assert [tick.isChecked() for tick in found.ticks] == [False, False, True]
    train.panel.form.fill({"start": "random"})
    assert not any(tick.isChecked() for tick in found.ticks)


def test_the_scree_plot_has_every_motion_and_the_level_of_noise(found):
    bars, null = found.scree._items
    np.testing.assert_allclose(bars.opts["height"], [1.6, 0.8, 0.16])
    assert null.value() == pytest.approx(0.3)


def test_a_motion_is_played_and_the_canvas_given_back(qtbot, session, train, found):
    viewer = session.viewer
    other = viewer.add_image(np.zeros((4, 4, 4), np.float32), name="Other")
    hidden = viewer.add_image(np.zeros((4, 4, 4), np.float32), name="Hidden", visible=False)
    click(qtbot, found.show_buttons[0])
    qtbot.waitUntil(lambda: LAYER in viewer.layers, timeout=LONG)
    assert not other.visible
    qtbot.waitUntil(lambda: moved(session).max() > 1, timeout=LONG)
    first = viewer.layers[LAYER]
    click(qtbot, found.show_buttons[1])
    assert [button.text() for button in found.show_buttons] == ["Show", "Stop", "Show"]
    assert viewer.layers[LAYER] is first  # one layer for all
    click(qtbot, found.show_buttons[1])
    assert LAYER not in viewer.layers
    assert other.visible
    assert not hidden.visible


def test_the_surface_goes_two_deviations_to_either_side(qtbot, session, train, found):
    click(qtbot, found.show_buttons[0])
    qtbot.waitUntil(lambda: LAYER in session.viewer.layers, timeout=LONG)
    found.surface._timer.stop()
    with np.load(session.run_folder / "motions.npz") as file:
        field = file["fields"][0]
    mesh = TetMesh.load(session.current["mesh"] / "mesh.npz")
    bound = np.linalg.norm(field, axis=1).max()
    found.surface.show_at(2.0)
    there = session.viewer.layers[LAYER].drawn_vertices
    assert bound < moved(session).max() < 2.01 * bound
    assert len(mesh.vertices) == len(field)
    found.surface.show_at(-2.0)
    back = session.viewer.layers[LAYER].drawn_vertices
    np.testing.assert_allclose((there + back) / 2, session.viewer.layers[LAYER].vertices, atol=1e-3)
    limits = session.viewer.layers[LAYER].contrast_limits
    assert limits[1] == pytest.approx(moved(session).max(), rel=1e-3)
    click(qtbot, found.show_buttons[0])


def test_a_layer_that_was_deleted_or_hidden_stops_the_motion(qtbot, session, train, found):
    for end in (
        lambda: session.viewer.layers.remove(LAYER),
        lambda: setattr(session.viewer.layers[LAYER], "visible", False),
    ):
        click(qtbot, found.show_buttons[0])
        qtbot.waitUntil(lambda: LAYER in session.viewer.layers, timeout=LONG)
        end()
        qtbot.waitUntil(lambda: found.surface.playing is None, timeout=LONG)
        assert LAYER not in session.viewer.layers
        assert not found.show_buttons[0].isChecked()


def test_a_training_takes_the_canvas(qtbot, session, train, found):
    click(qtbot, found.show_buttons[0])
    qtbot.waitUntil(lambda: LAYER in session.viewer.layers, timeout=LONG)
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        click(qtbot, train.panel.start_button)
        assert LAYER not in session.viewer.layers


def test_motions_of_a_job_that_is_opened_are_shown_with_what_it_took(
    qtbot, session, train, toys, toy_jobs, tmp_path
):
    session.project = tmp_path / "other"
    search = toys["motions"]
    for _ in stages.run(search, search.params(mesh=toy_jobs["mesh"]), tmp_path / "J1-motions"):
        pass
    session.open(tmp_path / "J1-motions")
    panel = train.motions
    assert panel.folder == (tmp_path / "J1-motions").resolve()
    assert panel.found.isVisibleTo(panel)
    train.panel.form.fill({"motions": (2,)})
    mesh = toys["mesh"]
    for _ in stages.run(mesh, mesh.params(prep=toy_jobs["prep"]), tmp_path / "J2-mesh"):
        pass
    session.open(tmp_path / "J2-mesh")  # numbers of motions are those of one mesh
    assert train.panel.form.value_of("motions") == ()
    assert not panel.found.isVisibleTo(panel)
