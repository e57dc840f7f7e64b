"""What napari's manifest names. Importing this loads no torch; the docks load it in a thread."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtWidgets import QWidget

    from napari_flex3d.ui.session import Session

DOCKS = ("Data", "Mesh", "Train", "Explore", "Reconstruct")
"""Names of the docks, in the order of the work."""


def data_dock(viewer: "napari.viewer.Viewer") -> "QWidget":
    """Dock that prepares particles, map and mask."""
    return dock("Data", _session(viewer))


def mesh_dock(viewer: "napari.viewer.Viewer") -> "QWidget":
    """Dock that builds the mesh."""
    return dock("Mesh", _session(viewer))


def train_dock(viewer: "napari.viewer.Viewer") -> "QWidget":
    """Dock that trains the model."""
    return dock("Train", _session(viewer))


def explore_dock(viewer: "napari.viewer.Viewer") -> "QWidget":
    """Dock that steers the map through the latents."""
    return dock("Explore", _session(viewer))


def reconstruct_dock(viewer: "napari.viewer.Viewer") -> "QWidget":
    """Dock that reconstructs at full resolution."""
    return dock("Reconstruct", _session(viewer))


def monitor_dock(viewer: "napari.viewer.Viewer") -> "QWidget":
    """Strip with the curves of a training or reconstruction."""
    from napari_flex3d.ui.monitor import Monitor

    return Monitor(_session(viewer))


def dock(name: str, session: "Session") -> "QWidget":
    """Make the widget of a dock."""
    from napari_flex3d.ui.docks import DataDock, MeshDock, ReconstructDock, TrainDock
    from napari_flex3d.ui.explore import ExploreDock

    makers = {
        "Data": DataDock,
        "Mesh": MeshDock,
        "Train": TrainDock,
        "Explore": ExploreDock,
        "Reconstruct": ReconstructDock,
    }
    return makers[name](session)


def _session(viewer: "napari.viewer.Viewer") -> "Session":
    from napari_flex3d.ui.session import Session

    return Session.of(viewer)
