"""The explore dock on a real model, through its sliders, its scatter and its buttons."""

import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt

from napari_flex3d.ui.explore import ExploreDock
from napari_flex3d.ui.explore.courses import straight_courses
from napari_flex3d.ui.explore.live_surface import REST, SURFACE
from napari_flex3d.ui.explore.live_volume import NAMES
from napari_flex3d.ui.isosurface import low_passed
from napari_flex3d.ui.scatter import LatentScatter, smoothed

VOLUME, COARSE = NAMES["full"], NAMES["coarse"]
from_center = {"size": (240, 240), "flash": False}


def picture(session) -> np.ndarray:
    return session.viewer.screenshot(**from_center)[..., :3].astype(float)


def test_sliders_move_the_surface_as_the_model_says(dock, session):
    layer = session.viewer.layers[SURFACE]
    before, seen = layer.drawn_vertices.copy(), picture(session)
    dock.sliders[0].setValue(0.9)
    explorer, model = session.explorer, session.model
    assert explorer.latent[0] == pytest.approx(0.9, abs=0.01)
    expected = explorer.subject.grid.indices(
        model.move(explorer.live.surface.carried.points, explorer.latent)
    )
    np.testing.assert_allclose(layer.drawn_vertices, expected, atol=1e-3)
    moved = np.linalg.norm(layer.drawn_vertices - before, axis=1) * model.pixel_size
    assert moved.max() > 5  # Å: it bends
    assert np.abs(picture(session) - seen).mean() > 1  # grey levels: and it is seen
    # colours are displacements from the canonical map, in Å
    rest = explorer.subject.grid.indices(explorer.live.surface.carried.points)
    distance = np.linalg.norm(layer.drawn_vertices - rest, axis=1) * model.pixel_size
    np.testing.assert_allclose(layer.vertex_values, distance, atol=1e-2)
    dock.sliders[0].sliderReleased.emit()
    np.testing.assert_allclose(layer.data[0], layer.drawn_vertices)  # settled: pick, save, slice


def test_without_a_model_nothing_of_it_can_be_used(qtbot, session, toy_jobs):
    dock = ExploreDock(session)
    session.viewer.window.add_dock_widget(dock, name="Explore")
    parts = (
        dock.player.play_button,
        dock.mean_button,
        dock.look.show_box,
        dock.path_panel,
        dock.scatter_panel,
    )
    assert not any(part.isEnabled() for part in parts)
    assert "Choose a training job" in dock.state.text()
    with qtbot.waitSignal(session.explorer.model_taken, timeout=30_000):
        session.open(toy_jobs["train"])
    assert all(part.isEnabled() for part in parts)


def test_sliders_span_1_to_99_percent_of_the_particles(dock, session):
    ranges = [(s.minimum(), s.maximum()) for s in dock.sliders]
    np.testing.assert_allclose(ranges, np.percentile(session.model.latents, [1, 99], axis=0).T, atol=1e-2)


def test_the_map_lies_where_the_canonical_map_lies(dock, session):
    explorer, layer = session.explorer, session.viewer.layers[SURFACE]
    np.testing.assert_allclose(layer.scale, [4.0] * 3)
    np.testing.assert_allclose(layer.translate, [30.0, -20.0, 10.0])  # z, y, x of the header's origin
    inside = explorer.live.surface.carried.points.mean(0)
    centre = np.array([10.0, -20.0, 30.0]) + 16 * 4.0
    np.testing.assert_allclose(
        layer.data_to_world(explorer.subject.grid.indices(inside)), (centre + inside)[::-1]
    )


def test_a_click_on_the_scatter_goes_there(qtbot, dock, session):
    scatter = dock.scatter
    scatter.show()
    view = scatter.getViewBox()
    place = view.mapViewToScene(QPointF(0.5, -0.3))
    at = scatter.mapFromScene(place)
    qtbot.mouseClick(scatter.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert session.explorer.latent == pytest.approx([0.5, -0.3], abs=0.03)
    assert dock.sliders[0].value() == pytest.approx(0.5, abs=0.03)


def test_dragging_the_target_moves_the_map_live(dock, session):
    before = session.viewer.layers[SURFACE].drawn_vertices.copy()
    dock.scatter._target.setPos(0.7, 0.2)
    assert session.explorer.latent == pytest.approx([0.7, 0.2])
    assert np.abs(session.viewer.layers[SURFACE].drawn_vertices - before).max() > 0.5


def test_the_volume_follows_when_the_slider_is_let_go(qtbot, dock, session):
    dock.look.show_box.setCurrentText("Both")
    qtbot.waitUntil(lambda: VOLUME in session.viewer.layers, timeout=30_000)
    layer = session.viewer.layers[VOLUME]
    held = layer.data
    assert layer.visible
    dock.sliders[0].setValue(0.8)
    dock.sliders[0].sliderReleased.emit()
    expected = session.model.volume(session.explorer.latent)
    qtbot.waitUntil(lambda: np.allclose(layer.data, expected, atol=1e-4), timeout=30_000)
    assert layer.data is held  # written in place
    assert layer.data.sum() == pytest.approx(session.model.canonical[session.model.mask].sum(), rel=1e-3)
    dock.look.show_box.setCurrentText("Surface")
    assert not layer.visible


def test_the_contour_cuts_the_surface_elsewhere(dock, session):
    layer = session.viewer.layers[SURFACE]
    size = [np.ptp(layer.vertices, axis=0).prod()]
    for contour in (0.2, 0.8):
        dock.look.contour_slider.setValue(contour)
        assert session.explorer.contour == pytest.approx(contour, abs=0.01)
        size.append(np.ptp(layer.vertices, axis=0).prod())
    assert size[1] > size[2]


def test_playing_goes_to_and_fro_and_can_be_paused(qtbot, dock, session):
    seen: list[float] = []
    session.explorer.latent_changed.connect(lambda z: seen.append(float(z[0])))
    dock.player.speed_box.setCurrentText("2×")
    dock.player.play_button.click()
    assert "Pause" in dock.player.play_button.text()
    qtbot.waitUntil(lambda: len(seen) > 5, timeout=30_000)
    dock.player.play_button.click()
    count = len(seen)
    assert np.ptp(seen) > 0.05
    qtbot.wait(150)
    assert len(seen) == count


def test_plain_colour_and_the_map_at_rest(dock, session):
    layer = session.viewer.layers[SURFACE]
    dock.sliders[1].setValue(0.5)
    dock.look.color_box.setCurrentText("Plain")
    assert np.ptp(layer.vertex_values) == 0
    dock.look.rest_check.click()
    rest = session.viewer.layers[REST]
    np.testing.assert_allclose(
        rest.vertices,
        session.explorer.subject.grid.indices(session.explorer.live.surface.carried.points),
        atol=1e-3,
    )
    dock.look.rest_check.click()
    assert not rest.visible


def test_the_mean_button_returns_home(dock, session):
    dock.sliders[0].setValue(0.9)
    dock.mean_button.click()
    np.testing.assert_allclose(session.explorer.latent, session.model.latents.mean(0), atol=1e-5)


def test_a_deleted_layer_comes_back(dock, session):
    session.viewer.layers.remove(SURFACE)
    dock.sliders[0].setValue(0.4)
    assert SURFACE in session.viewer.layers


def test_one_latent_is_shown_as_a_histogram(qtbot):
    scatter, picked = LatentScatter(), []
    qtbot.addWidget(scatter)
    latents = np.random.default_rng(0).normal(size=(500, 1))
    scatter.show_points(latents, ("z1",))
    assert scatter.is_line
    assert scatter.counts().ndim == 1
    assert scatter.counts().sum() >= 495
    scatter.picked.connect(picked.append)
    scatter._line.setValue(0.4)
    scatter._line.sigDragged.emit(scatter._line)
    np.testing.assert_allclose(picked[-1], [0.4, 0.0])


def test_smoothing_keeps_the_counts():
    peak = np.zeros((64, 64))
    peak[32, 32] = 10
    assert smoothed(peak).sum() == pytest.approx(10, rel=1e-3)


def test_courses_run_through_the_particles():
    random = np.random.default_rng(0)
    latents = random.normal(size=(1000, 1)) * [[1.0, 1.0]] / np.sqrt(2) + 0.05 * random.normal(size=(1000, 2))
    found = {course.name: course for course in straight_courses(latents)}
    assert list(found) == ["z1", "z2", "PC1", "PC2"]
    assert abs(found["PC1"].direction @ [1, 1]) / np.sqrt(2) == pytest.approx(1, abs=0.01)
    here = np.array([0.1, 0.7])
    assert found["z1"].at(0.0, here) == pytest.approx([np.percentile(latents[:, 0], 1), 0.7])
    assert found["PC1"].at(1.0, here) == pytest.approx(
        latents.mean(0) + found["PC1"].high * found["PC1"].direction
    )


def test_the_map_can_be_filtered_for_the_eye(dock, session):
    sharp = session.explorer.subject.density.copy()
    dock.look.low_pass_box.setValue(20.0)
    smooth = session.explorer.subject.density
    np.testing.assert_array_equal(smooth, low_passed(sharp, 4.0, 20.0))
    np.testing.assert_array_equal(session.model.canonical, sharp)
    dock.look.low_pass_box.setValue(0.0)
    np.testing.assert_array_equal(session.explorer.subject.density, sharp)


def test_a_filter_to_a_resolution_leaves_half_of_the_amplitude_there():
    n, pixel_size, resolution = 64, 2.0, 16.0
    wave = np.cos(2 * np.pi * np.arange(n) * pixel_size / resolution)
    volume = np.broadcast_to(wave, (n, n, n)).astype(np.float32)
    filtered = low_passed(volume, pixel_size, resolution)
    inside = slice(20, 44)  # away from the box's edge
    ratio = filtered[inside, inside, inside] @ wave[inside] / (wave[inside] @ wave[inside])
    np.testing.assert_allclose(ratio, 0.5, atol=0.01)


def test_keys_play_and_go_home(dock, session):
    keys = {str(key): action for key, action in session.viewer.keymap.items()}
    assert {"Alt+P", "Alt+0", "Alt+.", "Alt+L", "Alt+D", "Alt+A", "Alt+B", "Alt+1"} <= set(keys)
    keys["Alt+P"](session.viewer)
    assert session.explorer.player.is_playing
    keys["Alt+P"](session.viewer)
    assert not session.explorer.player.is_playing
    viewer = session.viewer
    session.end()
    assert "Alt+P" not in map(str, viewer.keymap)


@pytest.mark.parametrize("dims", [1, 3])
def test_there_is_a_slider_for_every_latent(qtbot, session, run_toys, tmp_path, dims):
    jobs = run_toys(tmp_path / "toys", "train", latent_dims=dims, epochs=1)
    dock = ExploreDock(session)
    session.viewer.window.add_dock_widget(dock, name="Explore")
    with qtbot.waitSignal(session.explorer.model_taken, timeout=30_000):
        session.open(jobs["train"])
    assert len(dock.sliders) == dims
    assert dock.scatter.is_line == (dims == 1)
    before = session.viewer.layers[SURFACE].drawn_vertices.copy()
    dock.sliders[-1].setValue(0.6)
    assert session.explorer.latent == pytest.approx([0.0] * (dims - 1) + [0.6], abs=0.01)
    assert np.abs(session.viewer.layers[SURFACE].drawn_vertices - before).max() > 0.3
    if dims == 3:
        dock.scatter_panel.y_box.setCurrentText("z3")
        dock.scatter.picked.emit(np.array([0.1, 0.3]))
        assert session.explorer.latent == pytest.approx([0.1, 0.0, 0.3])  # z2 is not seen, and stays
        assert dock.scatter._target.pos().y() == pytest.approx(0.3)


def test_the_dock_opens_without_torch():
    code = "import sys, napari_flex3d.ui.explore; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
