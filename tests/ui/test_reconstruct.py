"""The dock "Reconstruct" through its widgets, on a toy reconstruction whose right lobe the rigid twin smears."""

import numpy as np
import pytest
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QLineEdit

from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import read_job
from napari_flex3d.stages import stage_named
from napari_flex3d.ui.reconstruct import ReconstructDock
from napari_flex3d.ui.twin_maps import noticeable, scale_to
from napari_flex3d.ui.twins import HALVES, LESS, MAPS, MORE, TWIN_KEY

LONG = 60_000
FLEX, RIGID = MAPS["flex"], MAPS["rigid"]


def opened(qtbot, session) -> ReconstructDock:
    dock = ReconstructDock(session)
    session.viewer.window.add_dock_widget(dock, name="Reconstruct")
    qtbot.waitUntil(lambda: dock.panel.form is not None, timeout=LONG)
    return dock


@pytest.fixture
def dock(qtbot, session, toy_jobs) -> ReconstructDock:
    """The dock at a finished reconstruction, its maps on show."""
    dock = opened(qtbot, session)
    session.open(toy_jobs["reconstruct"])
    dock.show_layers()
    return dock


def shown(session) -> set[str]:
    return {layer.name for layer in session.viewer.layers if layer.visible}


def choose(box: QComboBox, text: str) -> None:
    """Choose an entry as a person does."""
    box.setCurrentIndex(box.findText(text))
    box.activated.emit(box.currentIndex())


def press_key(viewer) -> None:
    """Press the key over the canvas."""
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_W)


def is_bound(viewer) -> bool:
    return TWIN_KEY in {str(key) for key in viewer.keymap}


def test_the_key_goes_to_the_twin_and_back_with_camera_and_contour_kept(session, dock):
    camera = getattr(session.viewer, "scene", session.viewer).camera
    camera.angles, camera.zoom = (20.0, 30.0, 40.0), 2.5
    centre, contour = camera.center, dock.twins.contour
    assert shown(session) == {FLEX}
    press_key(session.viewer)
    assert shown(session) == {RIGID}
    assert dock.kind_buttons["rigid"].isChecked()
    assert session.viewer.layers[RIGID].metadata["contour"] == contour
    press_key(session.viewer)
    assert shown(session) == {FLEX}
    assert dock.twins.contour == session.viewer.layers[FLEX].metadata["contour"] == contour
    assert (camera.angles, camera.zoom, camera.center) == ((20.0, 30.0, 40.0), 2.5, centre)


def test_napari_leaves_the_key_free():
    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    assert TWIN_KEY not in taken
    assert "V" in taken  # as napari writes them


def test_the_key_works_in_the_dock_but_not_where_one_types(qtbot, session, dock):
    dock.window().activateWindow()
    QApplication.setActiveWindow(dock.window())
    dock.view_box.setFocus()
    qtbot.waitUntil(dock.view_box.hasFocus, timeout=5000)
    qtbot.keyClick(dock.view_box, Qt.Key.Key_W)
    assert shown(session) == {RIGID}
    number = dock.contour_slider.findChild(QLineEdit)
    number.setFocus()
    qtbot.keyClick(number, Qt.Key.Key_W)
    assert shown(session) == {RIGID}


def test_what_others_have_put_into_the_canvas_stays_when_the_twins_change(session, dock):
    session.viewer.add_points(np.zeros((1, 3)), name="Atoms")
    press_key(session.viewer)
    choose(dock.view_box, "Both half-maps")
    assert "Atoms" in shown(session)
    dock.show_layers()
    assert "Atoms" not in shown(session)


def test_one_contour_cuts_both_twins_and_all_half_maps(session, dock):
    layers = session.viewer.layers
    press_key(session.viewer)
    before = {name: len(layers[name].vertices) for name in (FLEX, RIGID)}
    dock.contour_slider.setValue(0.5 * dock.twins.contour)
    press_key(session.viewer)
    choose(dock.view_box, "Both half-maps")
    contours = {layers[name].metadata["contour"] for name in (FLEX, RIGID, *HALVES["flex"])}
    assert contours == {dock.twins.contour}
    assert len(layers[FLEX].vertices) > before[FLEX]
    assert len(layers[RIGID].vertices) > before[RIGID]


def test_a_twin_that_the_layer_list_shows_is_cut_at_the_present_contour(session, dock):
    press_key(session.viewer)
    dock.contour_slider.setValue(0.6 * dock.twins.contour)
    session.viewer.layers[FLEX].visible = True  # the eye in napari's list
    assert session.viewer.layers[FLEX].metadata["contour"] == dock.twins.contour


def test_half_maps_are_shown_in_pairs_of_one_kind(session, dock):
    choose(dock.view_box, "Both half-maps")
    assert shown(session) == set(HALVES["flex"])
    press_key(session.viewer)
    assert shown(session) == set(HALVES["rigid"])
    assert "rigid" in dock.state.text()


def test_the_difference_lies_where_the_rigid_map_is_smeared(session, dock, toy_jobs):
    choose(dock.view_box, "Difference, flexible minus rigid")
    assert shown(session) == {FLEX, MORE, LESS}
    layers = session.viewer.layers
    assert layers[FLEX].opacity < 0.5
    assert layers.index(FLEX) > max(layers.index(MORE), layers.index(LESS))  # drawn over what it holds
    half = read_map(toy_jobs["reconstruct"] / "flex.mrc").data.shape[0] // 2
    for name, sign in ((MORE, 1), (LESS, -1)):
        assert layers[name].vertices[:, 2].min() > half - 1  # z, y, x: nothing in the left lobe
        assert layers[name].metadata["contour"] == sign * dock.twins.level
    assert dock.level_slider.isVisibleTo(dock)
    before = len(layers[MORE].vertices)
    dock.level_slider.setValue(0.3 * dock.twins.level)
    assert len(layers[MORE].vertices) > before
    choose(dock.view_box, "Map")
    assert layers[FLEX].opacity == 1
    assert not dock.level_slider.isVisibleTo(dock)


def test_the_gain_is_painted_on_the_map(session, dock):
    choose(dock.view_box, "Gain in local resolution")
    layer = session.viewer.layers[FLEX]
    right = layer.vertices[:, 2] > layer.vertices[:, 2].mean() + 2
    assert layer.vertex_values[right].max() == pytest.approx(4.0)
    assert layer.vertex_values[~right].min() == pytest.approx(-0.2)
    assert layer.contrast_limits == [-4.0, 4.0]
    assert "4.0 Å" in dock.state.text()
    choose(dock.view_box, "Map")
    assert layer.contrast_limits == [0.0, 1.0]
    assert set(layer.vertex_values) == {1.0}


def test_the_correlation_of_each_part_can_be_chosen(dock):
    box, curves = dock.correlation.part_box, dock.correlation.curves
    assert [box.itemText(k) for k in range(box.count())] == ["whole", "moving", "still"]
    frequency, whole = curves.lines["flexible"].getData()
    np.testing.assert_allclose(whole, np.exp(-((frequency / 0.08) ** 4)))
    box.setCurrentText("moving")
    np.testing.assert_allclose(curves.lines["rigid"].getData()[1], np.exp(-((frequency / (0.7 * 0.06)) ** 4)))
    marks = {mark.label.format: mark.value() for mark in dock.correlation._marks}
    assert marks == {"0.143": 0.143, "0.5": 0.5, "training, 12 Å": pytest.approx(1 / 12)}
    for text in ("FSC 0.143 (Å)", "moving", "15.10", "20.20", "still", "<b>9.60</b>"):
        assert text in dock.table.text()


def test_the_key_is_let_go_when_the_dock_is_closed(qtbot, session, dock):
    qtbot.waitUntil(dock.isVisible, timeout=5000)
    assert is_bound(session.viewer)
    session.viewer.window.remove_dock_widget(dock)
    assert not is_bound(session.viewer)


def test_a_reconstruction_without_a_twin_offers_no_comparison(qtbot, session, run_toys, tmp_path):
    jobs = run_toys(tmp_path / "alone", reconstruct={"rigid_twin": False})
    dock = opened(qtbot, session)
    session.open(jobs["reconstruct"])
    dock.show_layers()
    assert not dock.kind_buttons["rigid"].isEnabled()
    assert [dock.view_box.itemText(k) for k in range(dock.view_box.count())] == ["Map", "Both half-maps"]
    press_key(session.viewer)
    assert shown(session) == {FLEX}
    assert set(dock.correlation.curves.lines) == {"flexible"}


def test_a_reconstruction_is_stopped_and_resumed(qtbot, session, toy_jobs):
    assert stage_named("reconstruct").resumable  # the real one, as the toy
    dock = opened(qtbot, session)
    session.open(toy_jobs["train"])
    dock.panel.form.fill({"seconds": 60.0})
    qtbot.mouseClick(dock.panel.start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "iteration 0" in dock.panel.sentence.text(), timeout=LONG)
    folder = session.run_folder
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        qtbot.mouseClick(dock.panel.stop_button, Qt.MouseButton.LeftButton)
    assert read_job(folder).state == "stopped"
    assert dock.panel.resume_button.isVisibleTo(dock.panel)
    with qtbot.waitSignal(session.run_changed, timeout=LONG):
        qtbot.mouseClick(dock.panel.resume_button, Qt.MouseButton.LeftButton)
    assert session.run_folder == folder
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        session.stop()


def test_every_control_is_named_and_fits_a_small_laptop(session, dock):
    for button in dock.results.findChildren(QAbstractButton):
        if button.isVisibleTo(dock):
            assert button.text() or button.accessibleName()
    for field in (dock.view_box, dock.contour_slider, dock.level_slider, dock.correlation.part_box):
        assert field.accessibleName()
        assert field.toolTip()
    assert TWIN_KEY in dock.kind_buttons["rigid"].toolTip()
    QApplication.processEvents()
    assert dock.results.minimumSizeHint().width() <= dock.minimumWidth()


def test_least_squares_scale_and_level_of_a_difference():
    rng = np.random.default_rng(0)
    other = rng.normal(size=(8, 8, 8)).astype(np.float32)
    noise = rng.normal(size=other.shape).astype(np.float32)
    noise -= scale_to(noise, other) * other
    assert scale_to(3 * other + noise, other) == pytest.approx(3, rel=1e-5)
    assert scale_to(other, np.zeros_like(other)) == 0
    assert noticeable(np.zeros((2, 2, 2))) == 1
    assert noticeable(noise) == pytest.approx(3 * noise.std(), rel=1e-3)
