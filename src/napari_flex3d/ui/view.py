"""Open napari with all docks, at a job; or write a picture of that window.

python -m napari_flex3d.ui.view [JOB] [--screenshot out.png] [--tab Explore] [--at 0.8,-0.2] [--size 1366x768]
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import Job
from napari_flex3d.ui.dock import WIDTH
from napari_flex3d.ui.layers import MESH_EDGES
from napari_flex3d.ui.monitor import HEIGHT
from napari_flex3d.ui.plugin import DOCKS, STRIP, dock
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.wording import DOCK_OF

TAB_OF = {**DOCK_OF, "train": "Explore"}
TILTED = (12.0, 24.0, 100.0)
PATIENCE = 120.0
"""Seconds that a picture waits for the stages and the model to load."""


class Docks:
    """The docks of a viewer: five tabs at the right, and the strip with the curves below.

    Parameters
    ----------
    viewer
        The viewer.
    session
        Its session.
    """

    def __init__(self, viewer: Any, session: Session) -> None:
        self.viewer, self.session = viewer, session
        session.docks = self
        self.widgets: dict[str, Any] = {}
        self._frames: dict[str, QDockWidget] = {}
        for name in DOCKS:
            self.widgets[name] = dock(name, session)
            self._frames[name] = viewer.window.add_dock_widget(
                self.widgets[name], name=name, area="right", tabify=bool(self._frames)
            )
        window: Any = self._frames["Data"].window()
        session.attach(window)
        # forms and layer controls need the height more than the strip needs the width
        window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        with contextlib.suppress(AttributeError):
            window.resizeDocks([self._frames["Data"]], [WIDTH + 20], Qt.Orientation.Horizontal)
        session.want_monitor.connect(lambda: self.open_monitor() if session.docks is self else None)
        session.file_dropped.connect(lambda kind, _: self._on_file(kind))
        self.open_strip("Help")
        self.open_strip("Jobs")
        self.select("Data")

    @staticmethod
    def of(viewer: Any) -> "Docks":
        """Find the docks of a viewer; they are made when they are first asked for, or after they were closed."""
        viewer = getattr(
            viewer, "__wrapped__", viewer
        )  # a plugin's command gets a proxy, and Qt no frames from it
        session = Session.of(viewer)
        known = session.docks
        if known is None or not known.is_there:
            return Docks(viewer, session)
        return known

    @property
    def is_there(self) -> bool:
        """Whether the docks are in the window; a person may have closed them."""
        return self.widgets["Data"].parent() is not None

    def _on_file(self, kind: str) -> None:
        if kind == "particles" and self.is_there:
            self.select("Data")

    def select(self, name: str) -> None:
        """Bring a tab to the front."""
        self._frames[name].raise_()
        QTimer.singleShot(0, self._frames[name].raise_)  # again when the window has put its tabs in order

    def open_monitor(self) -> None:
        """Bring the curves to the front."""
        self.open_strip("Monitor")

    def open_strip(self, name: str) -> None:
        """Bring a dock of the strip at the bottom to the front; the strip is opened if it is not there."""
        if name not in self.widgets or self.widgets[name].parent() is None:
            self.widgets[name] = dock(name, self.session)
            others = [
                n for n in STRIP if n in self._frames and self.widgets[n].parent() is not None and n != name
            ]
            self._frames[name] = frame = self.viewer.window.add_dock_widget(
                self.widgets[name], name=name, area="bottom", tabify=bool(others)
            )
            window: Any = frame.window()
            window.resizeDocks([frame], [HEIGHT], Qt.Orientation.Vertical)
        self.select(name)

    def frame_view(self) -> None:
        """Fit the canvas to what is in it; a mesh is turned a little, or its cells hide behind each other."""
        self.viewer.reset_view()
        if MESH_EDGES in self.viewer.layers and self.viewer.layers[MESH_EDGES].visible:
            getattr(self.viewer, "scene", self.viewer).camera.angles = TILTED  # napari 0.8 has no scene

    def show(self, job: Job) -> None:
        """Select the tab that a job belongs to and put its maps into the canvas."""
        self.select(TAB_OF[job.stage])
        if job.stage == "train" or job.state == "running":
            self.open_monitor()
        if job.stage not in ("motions", "train", "generate") and job.state == "done":
            self.widgets[TAB_OF[job.stage]].show_layers()
            self.frame_view()


def open_viewer(job: Path | None = None, *, show: bool = True) -> tuple[Any, Docks]:
    """Open napari with all docks, at a job.

    Raises
    ------
    InputError
        If the folder is no job.
    """
    viewer = napari.Viewer(title="napari-flex3d", ndisplay=3, show=show)
    session = Session.of(viewer)
    docks = Docks(viewer, session)
    if job is not None:
        try:
            docks.show(session.open(job))
        except InputError:
            viewer.close()
            raise
        if session.project != job.resolve().parent:
            session.project = job.resolve().parent
            session.jobs_changed.emit()
    return viewer, docks


def view(job: Path | None = None) -> None:
    """Open napari with all docks, at a job, until the person closes it.

    Raises
    ------
    InputError
        If the folder is no job.
    """
    open_viewer(job)
    napari.run()


def screenshot(
    job: Path | None,
    path: Path,
    *,
    tab: str = "",
    at: Sequence[float] | None = None,
    size: tuple[int, int] = (1366, 768),
    compare: bool = False,
) -> None:
    """Write a picture of the window at a job, docks included.

    Parameters
    ----------
    job
        The job; an empty window when None.
    path
        Where to write the PNG.
    tab
        Dock to bring to the front; that of the job when empty.
    at
        Latent to go to.
    size
        Width and height of the window, px.
    compare
        Whether to show the map at rest as well.
    """
    viewer, docks = open_viewer(job)
    viewer.window.resize(*size)
    session = docks.session
    try:
        _wait(lambda: session.is_ready and (session.model_job is None or session.model is not None))
        if tab:
            docks.select(tab)
        explorer = session.explorer
        if explorer.model is not None:
            docks.widgets["Explore"].look.rest_check.setChecked(compare)
            if at is not None:
                explorer.go_to(np.array(at, float))
                explorer.settle()
        docks.frame_view()
        _wait(lambda: False, seconds=1.0)
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    finally:
        viewer.close()


def _wait(done: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Let the window work until something is true."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_flex3d.ui.view", description=__doc__.splitlines()[0]
    )
    parser.add_argument("job", nargs="?", type=Path, help="job folder to open")
    parser.add_argument("--screenshot", type=Path, help="write a picture of the window here and end")
    parser.add_argument("--tab", default="", choices=["", *DOCKS], help="dock to bring to the front")
    parser.add_argument("--at", help="latent to go to, such as 0.8,-0.2")
    parser.add_argument("--size", default="1366x768", help="width and height of the window, px")
    parser.add_argument("--compare", action="store_true", help="show the map at rest as well")
    given = parser.parse_args(arguments)
    try:
        if given.screenshot is None:
            view(given.job)
        else:
            width, height = (int(n) for n in given.size.split("x"))
            at = [float(v) for v in given.at.split(",")] if given.at else None
            screenshot(
                given.job, given.screenshot, tab=given.tab, at=at, size=(width, height), compare=given.compare
            )
    except InputError as error:
        print(f"flex3d view: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
