"""What napari's manifest names. Importing this loads no torch; the docks load it in a thread."""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

if TYPE_CHECKING:
    import napari.viewer

    from napari_flex3d.ui.session import Session

DOCKS = ("Data", "Mesh", "Train", "Explore", "Reconstruct")
"""Names of the docks, in the order of the work."""

STRIP = ("Monitor", "Jobs", "Help")
"""Names of the docks that are low and wide."""


class PluginDock(QWidget):
    """What the Plugins menu opens: the dock of one stage, on the session of the viewer.

    Parameters
    ----------
    viewer
        The viewer, given by napari.
    """

    name = ""

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        from napari_flex3d.ui.session import Session

        self.session = Session.of(viewer)
        self.dock = dock(self.name, self.session)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.dock)


class DataWidget(PluginDock):
    """Prepare particles, map and mask."""

    name = "Data"


class MeshWidget(PluginDock):
    """Paint segments and build the mesh."""

    name = "Mesh"


class TrainWidget(PluginDock):
    """Train the model."""

    name = "Train"


class ExploreWidget(PluginDock):
    """Steer the map through the latents."""

    name = "Explore"


class ReconstructWidget(PluginDock):
    """Reconstruct at full resolution."""

    name = "Reconstruct"


class MonitorWidget(PluginDock):
    """Watch the curves of a training or a reconstruction."""

    name = "Monitor"


class JobsWidget(PluginDock):
    """List the jobs of the project folder."""

    name = "Jobs"


class HelpWidget(PluginDock):
    """Show the way and the keys."""

    name = "Help"


class AllWidget(QWidget):
    """What the Plugins menu opens for "All docks": it opens them, and goes.

    Parameters
    ----------
    viewer
        The viewer, given by napari.
    """

    def __init__(self, viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self._viewer = viewer
        QTimer.singleShot(0, self._open)  # napari is still putting this one into the window

    def _open(self) -> None:
        self._viewer.window.remove_dock_widget(self)  # type: ignore[arg-type]
        open_all(self._viewer)


def open_all(viewer: "napari.viewer.Viewer") -> None:
    """Open all docks, or bring them to the front; those that were opened one by one go."""
    from napari_flex3d.ui.view import Docks

    for widget in list(viewer.window.dock_widgets.values()):
        if isinstance(widget, PluginDock):
            viewer.window.remove_dock_widget(widget)  # type: ignore[arg-type]
    Docks.of(viewer).select("Data")


def dock(name: str, session: "Session") -> "QWidget":
    """Make the widget of a dock."""
    from napari_flex3d.ui.docks import DataDock
    from napari_flex3d.ui.explore import ExploreDock
    from napari_flex3d.ui.help import HelpDock
    from napari_flex3d.ui.job_table import JobsDock
    from napari_flex3d.ui.monitor import Monitor
    from napari_flex3d.ui.reconstruct import ReconstructDock
    from napari_flex3d.ui.studio.dock import MeshDock
    from napari_flex3d.ui.train_dock import TrainDock

    makers: dict[str, Any] = {
        "Data": DataDock,
        "Mesh": MeshDock,
        "Train": TrainDock,
        "Explore": ExploreDock,
        "Reconstruct": ReconstructDock,
        "Monitor": Monitor,
        "Jobs": JobsDock,
        "Help": HelpDock,
    }
    made = makers[name](session)
    _own_menus(made)
    return made


def _own_menus(dock: "QWidget") -> None:
    """Give the dock the menus of its plots, which pyqtgraph makes without an owner: they would outlive the window."""
    from pyqtgraph import PlotWidget

    for plot in dock.findChildren(PlotWidget):
        menu = plot.getPlotItem().ctrlMenu
        menu.setParent(plot, menu.windowFlags())
