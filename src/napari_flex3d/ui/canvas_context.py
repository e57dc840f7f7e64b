"""The OpenGL context of napari's canvas, current when a layer goes.

napari (0.6.3 to 0.9.2 at least) frees what a removed layer was drawn with at once, in whichever OpenGL context
happens to be current: mostly the one in which Qt has put the window together. Mesa (22.3) then takes the shaders
away from what is drawn next, and the program dies.
"""

from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget


class CanvasContext(QObject):
    """Makes the canvas's own context current before a layer is removed; one lives in each window.

    Parameters
    ----------
    viewer
        The viewer; a plugin's proxy of it will do.
    window
        Its window.
    """

    def __init__(self, viewer: Any, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        viewer.layers.events.removing.connect(self.make_current)

    @staticmethod
    def keep(viewer: Any, window: QWidget) -> "CanvasContext":
        """Find the one of a window; it is made when it is first asked for."""
        return window.findChild(CanvasContext) or CanvasContext(viewer, window)

    def make_current(self, event: Any = None) -> None:
        """Make the canvas's context current."""
        canvas = self._window.findChild(QOpenGLWidget)
        if canvas is not None:
            canvas.makeCurrent()
