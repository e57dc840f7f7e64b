"""Drawing on the scatter: paths, outlines, axes, colours and the hatched regions."""

import importlib.util
import sys

import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt

from napari_flex3d.generate.series import particles_near
from napari_flex3d.landscape import motion
from napari_flex3d.ops.planes import inside_polygon
from napari_flex3d.ui.explore.live_surface import SURFACE
from napari_flex3d.ui.explore.plane import EmbeddedPlane, LinearPlane, linear_axes
from napari_flex3d.ui.explore.support import Crowd

CIRCLE = np.linspace(0, 2 * np.pi, 24, endpoint=False)
RING = np.stack([0.3 + 0.4 * np.cos(CIRCLE), 0.4 * np.sin(CIRCLE)], 1)


def test_the_map_follows_a_path_while_it_is_drawn(dock, session, drag):
    seen = []
    session.explorer.latent_changed.connect(lambda z: seen.append(z.copy()))
    way = np.linspace([-0.6, -0.3], [0.6, 0.4], 12)
    drag(dock.scatter, way, Qt.KeyboardModifier.AltModifier)
    path = session.explorer.path.points
    assert path[[0, -1]] == pytest.approx(way[[0, -1]], abs=0.03)
    assert len(seen) > 8
    assert np.abs(np.array(seen)[:, 1] - np.interp(np.array(seen)[:, 0], *way.T)).max() < 0.05
    assert session.explorer.latent == pytest.approx(way[-1], abs=0.03)
    assert dock.pages.shown == "Path"
    assert dock.player.course_box.currentText() == "Path"
    assert dock.path_panel.table.rowCount() == len(path)


@pytest.mark.parametrize("tool", ["shift", "lasso"])
def test_a_lasso_chooses_what_it_encloses(dock, session, drag, tool):
    if tool == "lasso":
        dock.scatter_panel.tool_buttons["lasso"].click()
    drag(
        dock.scatter,
        RING,
        Qt.KeyboardModifier.ShiftModifier if tool == "shift" else Qt.KeyboardModifier.NoModifier,
    )
    selection = session.explorer.selection
    near_border = np.abs(np.hypot(*(session.model.latents - [0.3, 0]).T) - 0.4) < 0.05
    expected = inside_polygon(session.model.latents, RING)
    np.testing.assert_array_equal(selection.chosen[~near_border], expected[~near_border])
    assert 10 < selection.count < len(expected) - 10
    assert f"{selection.count:,} of 400" in dock.selection_panel.summary.text()


def test_box_and_polygon_choose_too_and_selections_are_combined(qtbot, dock, session, drag):
    panel, selection = dock.scatter_panel, session.explorer.selection
    z1, z2 = session.model.latents.T
    panel.tool_buttons["box"].click()
    drag(dock.scatter, np.array([[-0.5, -0.4], [0.0, 0.2], [0.5, 0.4]]))
    clear = (np.abs(np.abs(z1) - 0.5) > 0.03) & (np.abs(np.abs(z2) - 0.4) > 0.03)
    box = (np.abs(z1) < 0.5) & (np.abs(z2) < 0.4)
    np.testing.assert_array_equal(selection.chosen[clear], box[clear])
    dock.selection_panel.combine_box.setCurrentText("Take from it")
    panel.tool_buttons["polygon"].click()
    view = dock.scatter.getViewBox()
    for corner in ([-2, -2], [0, -2], [0, 2], [-2, 2], [-2, -2]):
        low, high = dock.scatter.span()
        place = np.clip(corner, low + 0.01 * (high - low), high - 0.01 * (high - low))
        at = dock.scatter.mapFromScene(view.mapViewToScene(QPointF(*place)))
        qtbot.mouseClick(dock.scatter.viewport(), Qt.MouseButton.LeftButton, pos=at)
        qtbot.wait(5)
    clear &= np.abs(z1) > 0.03
    np.testing.assert_array_equal(selection.chosen[clear], (box & (z1 > 0))[clear])
    count = selection.count
    dock.selection_panel.invert_button.click()
    assert selection.count == 400 - count
    dock.selection_panel.clear_button.click()
    assert selection.count == 0


def test_a_drag_without_a_tool_pans_and_chooses_nothing(dock, session, drag):
    low, _ = dock.scatter.span()
    drag(dock.scatter, np.linspace([0.9, 0.9], [0.5, 0.7], 8))
    assert dock.scatter.span()[0][0] > low[0] + 0.2
    assert session.explorer.selection.count == 0
    dock.scatter_panel.fit_button.click()
    assert dock.scatter.span()[0] == pytest.approx(low, abs=0.02)


def test_principal_components_lead_back_to_latents(dock, session):
    dock.scatter_panel.x_box.setCurrentText("PC1")
    dock.scatter_panel.y_box.setCurrentText("PC2")
    dock.scatter.picked.emit(np.array([0.4, -0.2]))
    latents = session.model.latents
    _, _, axes = np.linalg.svd(latents - latents.mean(0), full_matrices=False)
    found = (session.explorer.latent - latents.mean(0)) @ axes.T
    assert np.abs(found) == pytest.approx([0.4, 0.2], abs=1e-5)
    assert [dock.scatter._target.pos().x(), dock.scatter._target.pos().y()] == pytest.approx([0.4, -0.2])


def test_a_plane_and_its_inverse():
    latents = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    axes = {axis.name: axis for axis in linear_axes(latents)}
    here = np.array([0.1, 0.2, 0.3, 0.4])
    for names in (("z3", "z1"), ("PC1", "PC2"), ("z2", "PC1")):
        plane = LinearPlane(latents, tuple(axes[name] for name in names))
        there = plane.latent_at(np.array([0.5, -0.7]), here)
        np.testing.assert_allclose(plane.place(there), [0.5, -0.7], atol=1e-6)
        np.testing.assert_allclose(plane.place(latents), plane.points, atol=1e-5)
    z = LinearPlane(latents, (axes["z3"], axes["z1"])).latent_at(np.array([9.0, 8.0]), here)
    np.testing.assert_allclose(z, [8.0, 0.2, 9.0, 0.4])  # the others stay


def test_an_embedding_leads_from_a_particle_to_itself():
    latents = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    plane = EmbeddedPlane(latents, latents[:, :2] ** 3)
    np.testing.assert_allclose(plane.place(latents[7]), plane.points[7], atol=1e-4)
    np.testing.assert_allclose(plane.latent_at(plane.points[7], np.zeros(3)), latents[7], atol=1e-4)


def test_umap_says_what_is_missing(dock):
    item = dock.scatter_panel.x_box.model().item(dock.scatter_panel.x_box.findText("UMAP"))
    if importlib.util.find_spec("umap") is None:
        assert not item.isEnabled()
        assert "pip install umap-learn" in item.toolTip()


STAND_IN = """
class UMAP:
    def __init__(self, **options):
        assert options["n_neighbors"] == 15
    def fit_transform(self, latents):
        return latents[:, :2] ** 3
"""


@pytest.fixture
def umap_stands_in(monkeypatch, tmp_path):
    """A package in the place of umap-learn, whose embedding is known and takes no minutes."""
    (tmp_path / "umap.py").write_text(STAND_IN)
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("umap", None)


def test_umap_is_chosen_and_left(qtbot, umap_stands_in, dock, session):
    panel = dock.scatter_panel
    panel.x_box.setCurrentText("UMAP")
    assert panel.y_box.currentText() == "UMAP"
    qtbot.waitUntil(lambda: panel.plane.names[0] == "UMAP 1", timeout=120_000)
    latents = session.model.latents
    np.testing.assert_allclose(panel.plane.points, (latents / latents.std(0)) ** 3, atol=1e-3)
    panel.x_box.setCurrentText("z1")
    assert panel.plane.names == ("z1", "z1")


def test_colours_show_the_mean_of_a_value(qtbot, dock, session):
    dock.scatter_panel.color_box.setCurrentText("displacement (Å)")
    qtbot.waitUntil(lambda: dock.scatter_panel.color_box.scale.isVisibleTo(dock), timeout=30_000)
    low, high = map(float, dock.scatter_panel.color_box.scale._ends)
    expected = np.percentile(motion(session.model, session.model.latents), [2, 98])
    assert [low, high] == pytest.approx(expected, rel=0.01)
    picture = dock.scatter._image.image
    assert picture.shape[-1] == 4
    x = np.linspace(*(end[0] for end in dock.scatter.span()), len(picture))
    drawn = picture[..., 3] > 128
    red = np.array(
        [picture[np.abs(x - at) < 0.2][drawn[np.abs(x - at) < 0.2]][:, 0].mean() for at in (0, 0.9)]
    )
    assert red[1] > red[0] + 30  # plasma grows red with the displacement, which grows with |z1|
    dock.scatter_panel.color_box.setCurrentText("density")
    assert not dock.scatter_panel.color_box.scale.isVisibleTo(dock)


def test_where_there_are_few_particles_is_hatched_and_the_map_tinted(qtbot, dock, session, on_screen):
    dock.scatter.bin()
    qtbot.waitUntil(lambda: dock.scatter.shaded().shape[0] > 1, timeout=10_000)
    low, high = dock.scatter.span()
    shade = dock.scatter.shaded()[..., 3] > 0
    for place in ([0.0, 0.0], [low[0] + 0.02, low[1] + 0.02]):
        near = particles_near(np.array([place]), session.model.latents)[0]
        i, j = ((np.array(place) - low) / (high - low) * shade.shape).astype(int)
        assert shade[i, j] == (near < 5)
    layer = session.viewer.layers[SURFACE]
    session.explorer.go_to(np.array([0.0, 0.0]))
    on_screen()
    assert layer.tint[3] == 0
    assert "few" not in dock.state.text()
    session.explorer.go_to(np.array([3.0, 3.0]))
    on_screen()
    assert layer.tint[3] > 0.3
    assert "few particles: 0 near, 5 needed; the map is interpolated" in dock.state.text()


def test_the_counts_behind_the_hatching_are_those_of_generate():
    latents = np.random.default_rng(3).normal(size=(3000, 3)).astype(np.float32)
    crowd, axes = Crowd(latents), linear_axes(latents)
    here = np.array([0.0, 0.0, 0.8])
    plane = LinearPlane(latents, tuple(axes[:2]))
    low, high = np.array([-4.0, -4.0]), np.array([4.0, 4.0])
    lacking = crowd.lacking(plane, low, high, here)
    part = (np.arange(len(lacking)) + 0.5) / len(lacking) * 8 - 4
    for i, j in ((32, 32), (40, 20), (10, 50), (48, 48), (20, 32)):
        near = particles_near(np.array([[part[i], part[j], 0.8]]), latents)[0]
        assert lacking[i, j] == (near < crowd.needed)
        assert crowd.at(np.array([part[i], part[j], 0.8])).near == near
