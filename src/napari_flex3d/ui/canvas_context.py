"""The OpenGL context of napari's canvas, current when what layers were drawn with is freed.

napari (0.6.3 to 0.9.2 at least) frees what a removed layer was drawn with at once, in whichever OpenGL context
happens to be current: mostly the one in which Qt has put the window together. Mesa (22.3) then takes the shaders
away from what is drawn next, and the program dies. The same happens, with whatever Python's collector has found until
then, when a list of layers is cleared that has none (napari 0.9).
"""

from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

FREEING = ("removing", "begin_batch")
"""Events of the list of layers that come before napari frees; at the later ones napari's own callbacks come first."""


class CanvasContext(QObject):
    """Makes the canvas's own context current before napari frees anything; one lives in each window.

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
        events = viewer.layers.events
        for name in FREEING:
            if name in events.emitters:
                events[name].connect(self.make_current)

    @staticmethod
    def keep(viewer: Any, window: QWidget) -> "CanvasContext":
        """Find the one of a window; it is made when it is first asked for."""
        return window.findChild(CanvasContext) or CanvasContext(viewer, window)

    def make_current(self, event: Any = None) -> None:
        """Make the canvas's context current."""
        canvas = self._window.findChild(QOpenGLWidget)
        if canvas is not None:
            canvas.makeCurrent()
