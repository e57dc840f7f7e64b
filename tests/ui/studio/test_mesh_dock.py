"""The Mesh dock in a real window: painting, proposals, joints, a motion to try, and the job that is built of it."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox

from napari_flex3d.io.mrc import read_map
from napari_flex3d.io.segments import Segments, write_labels
from napari_flex3d.jobs import read_job
from napari_flex3d.mesh import TetMesh
from napari_flex3d.stages import stage_named
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.studio.dock import MeshDock
from napari_flex3d.ui.studio.painting import MAP, SEGMENTS, SURFACE
from napari_flex3d.ui.studio.preview import OUTLINE
from napari_flex3d.ui.studio.table import MASS

LONG = 60_000


@pytest.fixture(scope="module")
def prep_job(tmp_path_factory, run_toys):
    return run_toys(tmp_path_factory.mktemp("prep"), "prep")["prep"]


@pytest.fixture
def mesh_session(viewer, toys, tmp_path):
    """A session on the real stage "mesh"."""
    session = Session(viewer, toys | {"mesh": stage_named("mesh")}, tmp_path / "project")
    yield session
    session.end()


@pytest.fixture
def dock(qtbot, mesh_session, prep_job):
    mesh_session.open(prep_job)
    dock = MeshDock(mesh_session)
    mesh_session.viewer.window.add_dock_widget(dock, name="Mesh")
    qtbot.waitUntil(lambda: dock.bench is not None, timeout=LONG)
    dock.panel.form.fill({"cells": 10})
    return dock


def click(button):
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def drafted(qtbot, dock, action, count=1):
    """Do something and wait until the mesh has followed; it has at least so many segments."""
    before = dock.design.draft
    action()
    qtbot.waitUntil(lambda: dock.design.draft is not before and dock.design.is_settled, timeout=LONG)
    assert len(dock.design.draft.facts) >= count
    return dock.design.draft


def halves(dock):
    """Paint both lobes, as a person would in slices."""
    labels = np.where(np.arange(32) < 18, 1, 2) * (read_map(dock.design.place[0] / "mask.mrc").data > 0.5)
    dock.design.roles = {1: "soft", 2: "soft"}
    dock.design.painting.replace(labels.astype(np.uint16))


def drag(viewer, start, end, modifiers=Qt.KeyboardModifier.NoModifier, steps=6):
    """Drag the mouse over the canvas from one point to another, in pixels."""
    canvas = viewer.window._qt_viewer.canvas.native
    points = [QPoint(*np.round(start + (end - start) * k / steps).astype(int)) for k in range(steps + 1)]
    QTest.mouseMove(canvas, points[0])
    QApplication.processEvents()
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, modifiers, points[0])
    for point in points[1:]:
        QApplication.processEvents()
        event_move(canvas, point, modifiers)
        QApplication.processEvents()
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, modifiers, points[-1])
    QApplication.processEvents()


def event_move(canvas, point, modifiers):
    buttons = Qt.MouseButton.LeftButton
    place = QPointF(point)
    event = QMouseEvent(QEvent.Type.MouseMove, place, canvas.mapToGlobal(place), buttons, buttons, modifiers)
    QApplication.sendEvent(canvas, event)


def test_a_stroke_in_slices_gives_a_mesh_and_undo_takes_it_back(qtbot, dock):
    bench, viewer = dock.bench, dock.session.viewer
    draft = drafted(qtbot, dock, lambda: click(bench.slices_button))
    assert len(draft.facts) == 1  # nothing is painted yet: one whole
    assert viewer.dims.ndisplay == 2
    painting = dock.design.painting
    assert painting.labels.mode == "paint"
    assert painting.labels.visible
    assert not painting.surface.visible
    click(bench.new_button)
    assert dock.design.selected == 2
    assert bench.table.ids() == [1, 2]
    drafted(qtbot, dock, lambda: painting.labels.paint((16, 16, 22), 2))
    assert painting.ids() == [2]
    dock.design.selected = 1
    draft = drafted(qtbot, dock, lambda: painting.labels.paint((16, 16, 10), 1), 2)
    assert {s.id for s in draft.facts} == {1, 2}
    assert (painting.labels.data == 1).sum() > 5  # a ball, not a disc
    assert len(np.unique(np.nonzero(painting.labels.data == 1)[0])) > 1
    assert len(viewer.layers[OUTLINE].data) > 50
    with qtbot.waitSignal(dock.design.drafted, timeout=LONG):
        click(bench.undo_button)
    assert painting.ids() == [2]


def test_the_brush_paints_on_the_surface_in_3d(qtbot, dock):
    bench, viewer = dock.bench, dock.session.viewer
    drafted(qtbot, dock, lambda: click(bench.solid_button))
    painting = dock.design.painting
    assert viewer.dims.ndisplay == 3
    assert painting.surface.visible
    assert not painting.labels.visible
    QApplication.processEvents()
    canvas = viewer.window._qt_viewer.canvas.native
    middle = np.array([canvas.width() / 2, canvas.height() / 2])
    angles = tuple(getattr(viewer, "scene", viewer).camera.angles)
    drafted(
        qtbot,
        dock,
        lambda: drag(
            viewer, middle - np.array([30, 0]), middle + np.array([30, 0]), Qt.KeyboardModifier.ShiftModifier
        ),
    )
    painted = np.asarray(painting.labels.data) == dock.design.selected
    assert painted.sum() > 20
    assert not painted[~painting.ground.mask].any()
    assert tuple(getattr(viewer, "scene", viewer).camera.angles) == angles  # the camera stays
    shades = painting.surface.vertex_values
    assert len(np.unique(shades)) == 2  # painted and bare
    painting.labels.undo()
    assert painting.ids() == []  # the whole stroke
    assert len(np.unique(painting.surface.vertex_values)) == 1


def test_a_watershed_follows_its_slider(qtbot, dock):
    bench = dock.bench
    bench.sources.choose("watershed")
    many = drafted(
        qtbot, dock, lambda: (bench.sources.size_slider.setValue(6), click(bench.sources.button)), 2
    )
    fewer = drafted(qtbot, dock, lambda: bench.sources.size_slider.setValue(60))
    assert len(fewer.facts) < len(many.facts)
    assert dock.design.ids == [s.id for s in fewer.facts]
    assert min(dock.design.ids) == 1
    assert bench.sentence.text() == "1 segment."
    assert len(np.unique(dock.design.painting.surface.vertex_values)) == 1


def test_an_undone_proposal_leaves_no_segments_and_comes_back_whole(qtbot, dock):
    bench, design = dock.bench, dock.design
    bench.sources.choose("watershed")
    drafted(qtbot, dock, lambda: (bench.sources.size_slider.setValue(6), click(bench.sources.button)), 2)
    proposed = bench.table.ids()
    design.name(proposed[-1], "arm")
    with qtbot.waitSignal(design.drafted, timeout=LONG):
        click(bench.undo_button)
    assert design.painting.ids() == []
    assert not set(proposed[1:]) & set(bench.table.ids())
    with qtbot.waitSignal(design.drafted, timeout=LONG):
        design.painting.labels.redo()
    assert bench.table.ids() == proposed
    assert design.names[proposed[-1]] == "arm"


def test_a_map_that_was_put_away_stays_away_when_the_view_turns(qtbot, dock):
    drafted(qtbot, dock, lambda: click(dock.bench.slices_button))
    painting, viewer = dock.design.painting, dock.session.viewer
    viewer.dims.ndisplay = 3
    assert painting.surface.visible  # it is on show, and follows
    for layer in viewer.layers:  # as every dock does that shows something else
        layer.visible = False
    viewer.dims.ndisplay = 2
    viewer.dims.ndisplay = 3
    assert not any(layer.visible for layer in (painting.image, painting.labels, painting.surface))
    click(dock.bench.solid_button)
    assert painting.surface.visible


def masses(table):
    return [table.item(row, MASS).text() for row in range(table.rowCount())]


def test_masses_stand_in_the_table_also_after_the_mesh_is_built(qtbot, dock):
    bench, session = dock.bench, dock.session
    drafted(qtbot, dock, lambda: click(bench.solid_button))
    assert masses(bench.table) == ["0"]  # begun, and nothing painted: the mesh is one whole
    draft = drafted(qtbot, dock, lambda: halves(dock), 2)
    seen = masses(bench.table)
    assert seen == [f"{s.mass_kDa:.0f}" for s in draft.facts]
    whole = sum(s.mass_kDa for s in draft.facts)
    assert f"{whole:,.0f} kDa" in bench.measure.text()
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        click(dock.panel.start_button)
    qtbot.waitUntil(lambda: dock.design.is_settled, timeout=LONG)
    assert masses(bench.table) == seen
    drafted(qtbot, dock, lambda: dock.design.assign(2, "ignored"))
    assert masses(bench.table) == [f"{whole:.0f}", "–"]
    drafted(qtbot, dock, lambda: click(bench.undo_button))
    assert masses(bench.table) == ["0"]


def test_segments_are_joined_and_parted_by_clicks(qtbot, dock):
    bench = dock.bench
    click(bench.slices_button)
    draft = drafted(qtbot, dock, lambda: halves(dock), 2)
    assert draft.built.mesh.components().max() == 0  # all that touch are joined
    graph = bench.joints.graph
    assert graph.joints.joined == {(1, 2)}
    middle = (graph.place_of(1) + graph.place_of(2)) / 2

    def on_line():
        QTest.mouseClick(graph, Qt.MouseButton.LeftButton, pos=middle.toPoint())

    draft = drafted(qtbot, dock, on_line, 2)
    assert bench.joints.text.text() == "none"
    assert draft.built.mesh.components().max() == 1
    assert graph.joints.joined == set()
    assert "they may slide or part" in bench.advice.text()
    assert dock.panel.form.value_of("connections") == "none"

    def circle_by_circle():
        for segment in (1, 2):
            QTest.mouseClick(graph, Qt.MouseButton.LeftButton, pos=graph.place_of(segment).toPoint())

    draft = drafted(qtbot, dock, circle_by_circle, 2)
    assert bench.joints.text.text() in ("1>2", "2>1")
    assert draft.built.mesh.components().max() == 0


def test_what_is_off_says_why_and_a_shorter_list_leaves_nothing_behind(qtbot, dock):
    bench = dock.bench
    assert not bench.try_button.isEnabled()
    assert "paint, or propose segments" in bench.try_button.toolTip()
    drafted(qtbot, dock, lambda: click(bench.slices_button))
    assert bench.try_button.isEnabled()
    assert "paint, or propose segments" not in bench.try_button.toolTip()
    for _ in range(3):
        click(bench.new_button)
    bench.design.remove(1)
    bench.design.remove(2)
    boxes = [box for box in bench.table.findChildren(QComboBox) if box.isVisibleTo(bench.table)]
    assert len(boxes) == bench.table.rowCount()


def test_a_list_that_is_no_tree_is_refused_with_its_pair(qtbot, dock):
    bench = dock.bench
    click(bench.slices_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    for text, why in (("1>2, 2>1", '"2>1": 1 is the root'), ("1>7", '"1>7": 7 is not in')):
        bench.joints.text.setText(text)
        with qtbot.waitSignal(dock.design.refused, timeout=LONG):
            bench.joints.text.editingFinished.emit()
        assert why in bench.joints.problem.text()
    bench.joints.text.setText("1>2")
    drafted(qtbot, dock, bench.joints.text.editingFinished.emit, 2)
    assert bench.joints.problem.text() == ""


def test_a_painted_design_is_built_and_edited_again(qtbot, dock):
    bench, session = dock.bench, dock.session
    click(bench.slices_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    bench.table.item(0, 1).setText("left lobe")
    box = bench.table.cellWidget(1, 3)
    box.setCurrentText("rigid")
    draft = drafted(qtbot, dock, lambda: box.activated.emit(1), 2)
    assert (draft.built.mesh.rigidity[draft.built.mesh.segment == 2] == 20).all()
    drafted(qtbot, dock, lambda: click(bench.joints.none_button), 2)
    with qtbot.waitSignal(session.run_ended, timeout=LONG) as ended:
        click(dock.panel.start_button)
    assert ended.args[1] == "done", ended.args[2]
    job = read_job(session.run_folder)
    assert job.record["params"]["connections"] == "none"
    assert [s["name"] for s in job.summary["segments"]] == ["left lobe", ""]
    made = TetMesh.load(job.folder / "mesh.npz")
    shown = dock.design.draft.built.mesh
    np.testing.assert_array_equal(made.cells, shown.cells)  # the job is what the preview showed
    np.testing.assert_array_equal(made.segment, shown.segment)
    np.testing.assert_array_equal(made.rigidity, shown.rigidity)
    painted = np.asarray(dock.design.painting.labels.data).copy()
    dock.design.leave()
    assert SEGMENTS not in session.viewer.layers
    drafted(qtbot, dock, dock.edit, 2)
    np.testing.assert_array_equal(dock.design.painting.labels.data, painted)
    assert dock.design.roles == {1: "soft", 2: "rigid"}
    assert dock.design.names[1] == "left lobe"
    assert dock.design.connections == "none"


def test_an_ignored_segment_goes_to_its_neighbours(qtbot, dock):
    click(dock.bench.slices_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    draft = drafted(qtbot, dock, lambda: dock.design.assign(2, "ignored"))
    assert [s.id for s in draft.facts] == [1]


@pytest.mark.parametrize("what", ["nothing", "everything", "one voxel", "outside"])
def test_whatever_is_painted_leaves_a_mesh_or_a_sentence(qtbot, dock, what):
    click(dock.bench.slices_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    mask = dock.design.painting.ground.mask
    labels = np.zeros(mask.shape, np.uint16)
    if what == "everything":
        labels[:] = 1
    elif what == "one voxel":
        labels[mask] = 1
        labels[tuple(np.argwhere(mask)[len(np.argwhere(mask)) // 2])] = 2
    elif what == "outside":
        labels[~mask] = 3
    if what == "outside":
        with qtbot.waitSignal(dock.design.refused, timeout=LONG):
            dock.design.painting.replace(labels)
        assert "no voxel inside the mask" in dock.bench.joints.problem.text()
        return
    draft = drafted(qtbot, dock, lambda: dock.design.painting.replace(labels))
    assert len(draft.facts) == 1
    if what == "one voxel":
        assert "Segment 2 (1 voxels) is too small for the lattice" in dock.bench.advice.text()


def test_a_dragged_segment_takes_mesh_and_map_along(qtbot, dock):
    bench, viewer = dock.bench, dock.session.viewer
    click(bench.slices_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    drafted(qtbot, dock, lambda: click(bench.joints.none_button), 2)
    click(bench.try_button)
    assert viewer.dims.ndisplay == 3
    trial = bench.trial
    rest, lines = dock.design.painting.surface.drawn_vertices.copy(), viewer.layers[OUTLINE].data.copy()
    trial.hold(2)
    with qtbot.waitSignal(trial.moved, timeout=LONG):
        trial.move(np.array([0.0, 20.0, 0.0]))
    moved = dock.design.painting.surface.drawn_vertices - rest
    far = rest[:, 2] > 20
    np.testing.assert_allclose(moved[far], np.tile([0, 5, 0], (far.sum(), 1)), atol=1e-3)  # 4 Å a voxel
    assert np.abs(moved[rest[:, 2] < 15]).max() < 1e-3
    assert np.abs(viewer.layers[OUTLINE].data - lines).max() == pytest.approx(5, abs=1e-3)
    assert "Segment 2 moved by 20.0 Å; 1 by up to 0.0 Å" in bench.sentence.text()
    click(bench.try_button)
    np.testing.assert_allclose(dock.design.painting.surface.drawn_vertices, rest, atol=1e-4)
    np.testing.assert_allclose(viewer.layers[OUTLINE].data, lines, atol=1e-4)


def test_a_segment_is_dragged_with_the_mouse(qtbot, dock):
    bench, viewer = dock.bench, dock.session.viewer
    click(bench.solid_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    drafted(qtbot, dock, lambda: click(bench.joints.none_button), 2)
    click(bench.try_button)
    QApplication.processEvents()
    assert len(np.unique(dock.design.painting.surface.vertex_values)) >= 2  # the map has the colours of both
    canvas = viewer.window._qt_viewer.canvas.native
    middle = np.array([canvas.width() / 2, canvas.height() / 2])
    for offset in product((-40, 40, 0, -80, 80), (0, -40, 40)):  # the lobes lie beside the middle
        QApplication.processEvents()
        start = middle + np.array(offset)
        drag(viewer, start, start + np.array([30, 0]))
        if bench.trial.held is not None:
            break
    assert bench.trial.held in (1, 2)
    qtbot.waitUntil(lambda: np.abs(bench.trial.displacements).max() > 1, timeout=LONG)


def test_a_drag_too_quick_for_vispy_ends_where_the_mouse_was_let_go(qtbot, dock):
    bench, viewer = dock.bench, dock.session.viewer
    drafted(qtbot, dock, lambda: click(bench.solid_button))
    click(bench.try_button)
    event = SimpleNamespace(
        position=np.zeros(3),
        view_direction=np.array([1.0, 0, 0]),
        modifiers=(),
        type="mouse_press",
        handled=False,
    )
    bench.trial.painting.voxel_under = lambda event: np.argwhere(bench.trial._cell_index >= 0)[0]
    held = bench.trial.drag(viewer, event)
    next(held)
    event.type, event.position = "mouse_release", np.array([0, 12.0, 0])  # z y x, Å; no move was delivered
    with qtbot.waitSignal(bench.trial.moved, timeout=LONG):
        assert next(held, "over") == "over"
    assert np.abs(bench.trial.displacements[:, 1]).max() == pytest.approx(12, abs=0.1)


def test_the_design_is_written_for_other_programs(qtbot, dock, tmp_path):
    bench = dock.bench
    click(bench.slices_button)
    assert not bench.export_button.isEnabled()
    drafted(qtbot, dock, lambda: halves(dock), 2)
    drafted(qtbot, dock, lambda: click(bench.joints.suggest_button), 2)
    for kind, names in (
        ("cryosparc", {"cryosparc_mesh.pkl", "cryosparc_segments.mrc"}),
        ("chimerax", {"mesh.bild", "mesh.cxc", "chimerax_segments.mrc"}),
        ("painted", {"painted_segments.mrc"}),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        bench.export_button.write(kind, folder)
        assert {p.name for p in folder.iterdir()} == names
        assert str(folder) in bench.sentence.text()
        if kind == "cryosparc":
            assert bench.sentence.text().endswith(("0>1.", "1>0."))


def test_a_file_comes_in_and_what_cannot_be_read_is_said(qtbot, dock, tmp_path):
    bench = dock.bench
    click(bench.slices_button)
    drafted(qtbot, dock, lambda: halves(dock), 2)
    painting = dock.design.painting
    labels = np.where(painting.ground.mask, np.arange(32) // 16, -1).astype(np.int32)
    write_labels(tmp_path / "seg.mrc", Segments(labels, (0, 1)), painting.ground.density)
    drafted(qtbot, dock, lambda: bench.sources.wanted.emit({"segments": tmp_path / "seg.mrc"}), 2)
    np.testing.assert_array_equal(painting.labels.data, labels + 1)  # its 0 is our 1
    with qtbot.waitSignal(dock.design.proposed, timeout=LONG):
        bench.sources.wanted.emit({"segments": tmp_path / "none.seg"})
    assert "no such file" in bench.sentence.text()


def test_a_dock_of_the_plugins_menu_works_on_a_proxy(qtbot, viewer, toys, prep_job, tmp_path):
    session = Session(PublicOnlyProxy(viewer), toys | {"mesh": stage_named("mesh")}, tmp_path / "project")
    session.open(prep_job)
    dock = MeshDock(session)
    viewer.window.add_dock_widget(dock, name="Mesh")
    qtbot.waitUntil(lambda: dock.bench is not None, timeout=LONG)
    dock.panel.form.fill({"cells": 10})
    drafted(qtbot, dock, lambda: click(dock.bench.solid_button))
    drafted(qtbot, dock, lambda: halves(dock), 2)
    assert {MAP, SEGMENTS, SURFACE, OUTLINE} <= {layer.name for layer in viewer.layers}
    again = MeshDock(session)  # opened a second time: the same design
    viewer.window.add_dock_widget(again, name="Mesh again")
    assert again.bench is not None
    assert again.bench.table.ids() == [1, 2]
    session.end()
