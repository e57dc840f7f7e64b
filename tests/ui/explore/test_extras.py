"""What moves with the map, other maps, and two states compared."""

import gemmi
import numpy as np
import pytest

from napari_flex3d.io.models import coordinates, read_model, write_calpha
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.landscape import rms_between
from napari_flex3d.ui.explore import extras_panel, look_panel
from napari_flex3d.ui.explore.atoms import MODEL
from napari_flex3d.ui.explore.followers import ARROWS, MESH
from napari_flex3d.ui.explore.live_surface import SURFACE
from napari_flex3d.ui.explore.ribbon import PER_RESIDUE, SIDES, WIDTH, ribbon

ORIGIN, PIXEL_SIZE, BOX = np.array([10.0, -20.0, 30.0]), 4.0, 32
CENTRE = ORIGIN + BOX // 2 * PIXEL_SIZE


@pytest.fixture
def model_file(tmp_path):
    """A chain through both lobes, and one with a gap, in the frame of the map's file."""
    x = np.arange(-24.0, 28.0, 2.0)
    first = np.stack([x, 2 * np.sin(x), 2 * np.cos(x)], 1) + CENTRE
    second = first + np.array([0, 6, 0])
    second[len(x) // 2 :] += np.array([12.0, 0, 0])
    path = tmp_path / "model.pdb"
    write_calpha(path, np.concatenate([first, second]), "A" * len(x) + "B" * len(x))
    return path


@pytest.fixture
def opened(monkeypatch, dock, model_file):
    monkeypatch.setattr(extras_panel.QFileDialog, "getOpenFileName", lambda *_: (str(model_file), ""))
    dock.extras.atoms_button.click()
    return dock.extras.atoms


def test_a_model_lies_in_the_map_and_moves_with_it(dock, session, opened, on_screen, tmp_path, model_file):
    layer = session.viewer.layers[MODEL]
    assert dock.extras.atoms_check.isChecked()
    assert session.viewer.layers[SURFACE].opacity < 1
    atoms = coordinates(read_model(model_file))
    rings = layer.vertices[: ((len(atoms) // 2 - 1) * PER_RESIDUE + 1) * SIDES : PER_RESIDUE * SIDES]
    world = np.array([layer.data_to_world(point) for point in rings])[:, ::-1]
    nearest = np.linalg.norm(world[:, None] - atoms[None], axis=-1).min(1)
    assert nearest.max() < WIDTH + 0.1  # the ribbon lies on the atoms, Å
    dock.sliders[0].setValue(0.9)
    on_screen()
    rest = opened._points
    expected = session.model.move(rest, session.explorer.latent)
    grid = session.explorer.subject.grid
    np.testing.assert_allclose(layer.drawn_vertices, grid.indices(expected), atol=1e-3)
    assert np.linalg.norm(expected - rest, axis=1).max() > 3
    opened.save(tmp_path / "moved.cif", session.explorer.latent)
    moved = coordinates(read_model(tmp_path / "moved.cif"))
    np.testing.assert_allclose(
        moved - CENTRE, session.model.move(atoms - CENTRE, session.explorer.latent), atol=2e-3
    )
    dock.extras.atoms_check.click()
    assert not layer.visible


def test_what_is_no_model_or_lies_elsewhere_is_said(monkeypatch, dock, session, tmp_path, model_file):
    bad = tmp_path / "bad.pdb"
    bad.write_text("HEADER\n")
    monkeypatch.setattr(extras_panel.QFileDialog, "getOpenFileName", lambda *_: (str(bad), ""))
    dock.extras.atoms_button.click()
    assert "bad.pdb" in dock.state.text()
    assert not dock.extras.atoms_check.isEnabled()
    away = tmp_path / "away.pdb"
    structure = read_model(model_file)
    for site in structure[0].all():
        site.atom.pos += gemmi.Position(300, 0, 0)
    structure.write_pdb(str(away))
    monkeypatch.setattr(extras_panel.QFileDialog, "getOpenFileName", lambda *_: (str(away), ""))
    dock.extras.atoms_button.click()
    assert "Only 0 % of the atoms lie in the mask" in dock.state.text()


def test_ribbons_are_broken_where_the_chain_is(model_file):
    structure = read_model(model_file)
    made = ribbon(structure)
    residues = len(structure[0]["A"])
    assert set(made.chain) == {0, 1}
    rings = lambda count: ((count - 1) * PER_RESIDUE + 1) * SIDES  # noqa: E731
    half = residues // 2
    assert len(made.points) == rings(residues) + rings(half) + rings(residues - half)
    edges = np.sort(
        np.concatenate([made.faces[:, [0, 1]], made.faces[:, [1, 2]], made.faces[:, [2, 0]]]), axis=1
    )
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all()  # closed
    length = np.linalg.norm(np.diff(made.points[made.faces][:, [0, 1]], axis=1), axis=-1)
    assert length.max() < 4


def test_the_mesh_moves_with_the_map(dock, session, on_screen):
    dock.extras.mesh_check.click()
    layer = session.viewer.layers[MESH]
    assert layer.wireframe.visible
    dock.sliders[0].setValue(0.8)
    on_screen()
    model, latent = session.model, session.explorer.latent
    expected = session.explorer.subject.grid.indices(model.mesh.vertices + model.displacements(latent))
    np.testing.assert_allclose(layer.drawn_vertices, expected, atol=1e-3)
    dock.extras.mesh_check.click()
    assert not layer.visible


def test_arrows_lead_from_rest_to_where_the_map_is(dock, session):
    dock.extras.arrows_check.click()
    dock.sliders[0].setValue(0.8)
    dock.sliders[0].sliderReleased.emit()
    arrows = session.viewer.layers[ARROWS].data
    model, grid = session.model, session.explorer.subject.grid
    start = (arrows[:, 0] - grid.box_size // 2)[:, ::-1] * grid.pixel_size
    expected = grid.indices(model.move(start, session.explorer.latent))
    np.testing.assert_allclose(arrows.sum(1), expected, atol=1e-3)
    assert len(arrows) > 20
    dock.extras.arrows_check.click()
    assert ARROWS not in session.viewer.layers


def test_the_map_of_a_reconstruction_moves_under_the_same_sliders(dock, session, toy_jobs, on_screen):
    session.open(toy_jobs["reconstruct"])
    box = dock.look.map_box
    assert [box.itemText(k) for k in range(box.count())] == [
        "Canonical map",
        "Consensus map",
        "J4-reconstruct, flexible",
        "Other file…",
    ]
    explorer = session.explorer
    enclosed = explorer.subject.enclosed(explorer.contour)
    box.setCurrentIndex(2)
    box.activated.emit(2)
    volume = read_map(toy_jobs["reconstruct"] / "flex.mrc").data
    np.testing.assert_array_equal(explorer.subject.density, volume)
    assert explorer.subject.enclosed(explorer.contour) == pytest.approx(enclosed, rel=0.02)
    dock.sliders[0].setValue(0.8)
    on_screen()
    layer = session.viewer.layers[SURFACE]
    expected = session.model.move(explorer.live.surface.carried.points, explorer.latent)
    np.testing.assert_allclose(layer.drawn_vertices, explorer.subject.grid.indices(expected), atol=1e-3)


def test_a_finer_map_lies_in_the_same_place(monkeypatch, dock, session, tmp_path):
    fine = np.kron(session.model.canonical, np.ones((2, 2, 2), np.float32))
    write_map(tmp_path / "fine.mrc", fine, pixel_size=PIXEL_SIZE / 2, origin=(0, 0, 0))
    monkeypatch.setattr(
        look_panel.QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "fine.mrc"), "")
    )
    layer = session.viewer.layers[SURFACE]
    before = np.array([layer.data_to_world(end) for end in (layer.vertices.min(0), layer.vertices.max(0))])
    box = dock.look.map_box
    box.setCurrentText("Other file…")
    box.activated.emit(box.currentIndex())
    assert box.currentText() == "fine.mrc"
    layer = session.viewer.layers[SURFACE]
    assert len(layer.vertices) > 3 * 500
    after = np.array([layer.data_to_world(end) for end in (layer.vertices.min(0), layer.vertices.max(0))])
    np.testing.assert_allclose(after, before, atol=PIXEL_SIZE)


def test_a_map_that_does_not_fit_is_refused_in_words(monkeypatch, dock, session, tmp_path):
    write_map(tmp_path / "small.mrc", np.ones((16, 16, 16), np.float32), pixel_size=1.0, origin=(0, 0, 0))
    monkeypatch.setattr(
        look_panel.QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "small.mrc"), "")
    )
    box = dock.look.map_box
    box.setCurrentText("Other file…")
    box.activated.emit(box.currentIndex())
    assert "does not hold the mask" in dock.state.text()
    assert box.currentText() == "Canonical map"


def test_two_states_are_compared(dock, session, on_screen):
    states = {"A": np.array([-0.8, 0.1]), "B": np.array([0.8, -0.2])}
    panel = dock.compare_panel
    assert not panel.mode_buttons["overlay"].isEnabled()
    for name, state in states.items():
        session.explorer.go_to(state)
        panel.set_buttons[name].click()
    apart = rms_between(session.model, states["A"][None], states["B"][None])[0]
    assert f"{apart:.1f} Å rms" in panel.sentence.text()
    panel.mode_buttons["overlay"].click()
    carried, grid = session.explorer.live.surface.carried, session.explorer.subject.grid
    for name, state in states.items():
        layer = session.viewer.layers[f"State {name}"]
        assert layer.visible
        np.testing.assert_allclose(
            layer.vertices, grid.indices(session.model.move(carried.points, state)), atol=1e-3
        )
    assert not session.viewer.layers[SURFACE].visible
    camera = getattr(session.viewer, "scene", session.viewer).camera
    zoom = camera.zoom
    panel.mode_buttons["side"].click()
    assert camera.zoom < 0.7 * zoom  # both are seen whole
    assert getattr(session.viewer, "canvas", session.viewer).grid.enabled
    dock.sliders[0].setValue(0.3)  # and the live map is back
    on_screen()
    assert not getattr(session.viewer, "canvas", session.viewer).grid.enabled
    assert session.viewer.layers[SURFACE].visible
    assert not session.viewer.layers["State A"].visible
    assert camera.zoom == pytest.approx(zoom)
    assert panel.mode_buttons["live"].isChecked()
    panel.go_buttons["B"].click()
    assert session.explorer.latent == pytest.approx(states["B"])
