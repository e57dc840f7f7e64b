"""What a layer was drawn with is freed where it was made."""

import napari
import numpy as np
from qtpy.QtGui import QOpenGLContext
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

from napari_flex3d.ui.canvas_context import CanvasContext
from napari_flex3d.ui.session import Session


def test_a_layer_is_removed_in_the_context_of_the_canvas(qtbot, toys, tmp_path, monkeypatch):
    viewer = napari.Viewer(show=True)
    session = Session(viewer, toys, tmp_path / "project")
    frame = viewer.window.add_dock_widget(QWidget(), name="any")
    session.attach(frame.window())
    canvas = frame.window().findChild(QOpenGLWidget)
    used = []
    viewer.layers.events.removed.connect(lambda: used.append(QOpenGLContext.currentContext()))
    for name in "ab":
        viewer.add_image(np.eye(8), name=name)
    qtbot.waitUntil(lambda: canvas.isValid(), timeout=20_000)
    for remove in (lambda: viewer.layers.remove("a"), viewer.layers.clear):
        canvas.doneCurrent()
        assert QOpenGLContext.currentContext() is not canvas.context()
        remove()
    assert used == [canvas.context()] * 2
    if "end_batch" in viewer.layers.events.emitters:  # napari 0.9 frees now what it could not before
        vispy = viewer.window._qt_viewer.canvas._scene_canvas.context
        monkeypatch.setattr(vispy, "finish", lambda: used.append(QOpenGLContext.currentContext()))
        canvas.doneCurrent()
        viewer.layers.clear()
        assert used[2:] == [canvas.context()]
    assert CanvasContext.keep(viewer, frame.window()) is CanvasContext.keep(viewer, frame.window())
    session.end()
    viewer.close()
