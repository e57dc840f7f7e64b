"""The path: its list, its length in Å, and playing along it."""

import csv

import numpy as np
import pytest

from napari_flex3d.generate.series import particles_near, read_latents
from napari_flex3d.landscape import lengths
from napari_flex3d.ui.explore import path_panel


def texts(table, column):
    return [table.item(row, column).text() for row in range(table.rowCount())]


@pytest.fixture
def panel(dock, session):
    for place in ([-0.8, 0.0], [-0.2, 0.3], [0.0, -0.3], [0.9, 0.2]):
        session.explorer.go_to(np.array(place))
        dock.path_panel.buttons["Add"].click()
    return dock.path_panel


def test_points_are_listed_with_their_way_and_their_particles(panel, session):
    path, model = session.explorer.path, session.model
    assert texts(panel.table, 0) == ["-0.80", "-0.20", "+0.00", "+0.90"]
    way = np.concatenate([[0], np.cumsum(lengths(model, path.points))])
    assert texts(panel.table, 2) == [f"{value:.1f}" for value in way]
    near = particles_near(path.points.astype(np.float32), model.latents)
    assert texts(panel.table, 3) == [f"{count:,}" for count in near]
    assert f"{way[-1]:.1f} Å of motion" in panel.summary.text()


def test_a_point_is_gone_to_and_taken_out(panel, session):
    panel.table.selectRow(1)
    assert session.explorer.latent == pytest.approx([-0.2, 0.3])
    panel.buttons["Remove"].click()
    assert len(session.explorer.path.points) == 3
    panel.buttons["Clear"].click()
    assert panel.table.rowCount() == 0
    assert not panel.buttons["Smooth"].isEnabled()


def test_equal_steps_are_equal_in_angstrom_and_smoothing_shortens(panel, session):
    path, model = session.explorer.path, session.model
    ends, whole = path.points[[0, -1]].copy(), path.gone[-1]
    panel.frames_box.setValue(25)
    panel.buttons["Equal steps"].click()
    steps = lengths(model, path.points)
    assert len(path.points) == 25
    assert (steps > 0.98 * np.median(steps)).sum() >= 24 - 2  # but for the two that cut a corner
    panel.buttons["Smooth"].click()
    np.testing.assert_allclose(path.points[[0, -1]], ends)
    assert path.gone[-1] < whole


def test_a_path_goes_out_as_a_table_and_comes_back(monkeypatch, panel, session, tmp_path):
    file = tmp_path / "way.csv"
    monkeypatch.setattr(path_panel.QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    monkeypatch.setattr(path_panel.QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    points = session.explorer.path.points.copy()
    panel.buttons["Save CSV…"].click()
    np.testing.assert_allclose(read_latents(file, 2), points, atol=1e-5)  # as generate --at reads it
    with file.open() as table:
        assert {"particles", "supported"} <= set(next(csv.reader(table)))
    panel.buttons["Clear"].click()
    panel.buttons["Open CSV…"].click()
    np.testing.assert_allclose(session.explorer.path.points, points, atol=1e-5)
    file.write_text("z1\n0.5\n")
    said = []
    panel.said.connect(lambda text, bad: said.append((text, bad)))
    panel.buttons["Open CSV…"].click()
    assert said[-1][1]
    assert "no column z2" in said[-1][0]


def test_playing_follows_the_path_at_an_even_pace(dock, panel, session):
    explorer, box = session.explorer, dock.player.course_box
    box.setCurrentText("Path")
    course = explorer.player.course
    np.testing.assert_allclose(
        [course.at(part, explorer.latent) for part in (0, 1)], explorer.path.points[[0, -1]]
    )
    way = np.array([course.at(part, explorer.latent) for part in np.linspace(0, 1, 41)])
    steps = lengths(session.model, way)
    assert (steps > 0.9 * np.median(steps)).sum() >= 40 - 2
    panel.buttons["Clear"].click()
    assert box.currentText() == "z1"


def test_playing_modes(dock, session):
    player, seen = session.explorer.player, []
    player.moved.connect(lambda z: seen.append(z[0]))
    low, high = np.percentile(session.model.latents[:, 0], [1, 99])
    for mode, parts in (("to and fro", [0.5, 1, 0.5, 0]), ("loop", [0.5, 0, 0.5, 0])):
        dock.player.mode_box.setCurrentText(mode)
        player._phase = 0.0
        seen.clear()
        for _ in range(4):
            player.go(1.0)  # seconds; to and fro takes four
        np.testing.assert_allclose(seen, low + np.array(parts) * (high - low), atol=1e-6)
    dock.player.mode_box.setCurrentText("once")
    player._phase = 0.0
    dock.player.play_button.click()
    for _ in range(4):
        player.go(1.0)
    assert not player.is_playing
    assert seen[-1] == pytest.approx(high)
    assert "Play" in dock.player.play_button.text()


def test_keys_step_along_the_path(panel, session):
    keys = {str(key): action for key, action in session.viewer.keymap.items()}
    panel.table.selectRow(0)
    keys["Alt+Right"](session.viewer)
    assert session.explorer.latent == pytest.approx([-0.2, 0.3])
    keys["Alt+Left"](session.viewer)
    assert session.explorer.latent == pytest.approx([-0.8, 0.0])
