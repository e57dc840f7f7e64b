"""A map's surface that swings along a motion found before any training: there is no model yet."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from napari.layers import Layer
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.io.errors import sentence_of
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import input_of
from napari_flex3d.ui.explore.color_scale import DISPLACEMENT_COLORS
from napari_flex3d.ui.explore.player import INTERVAL, PERIOD
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.isosurface import CarriedSurface, default_contour
from napari_flex3d.ui.layers import grid_of
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.surface import FlexSurface

LAYER = "Motion before training"
FARTHEST = 2.0
"""Standard deviations that the surface goes to either side."""


@dataclass(frozen=True)
class Scene:
    """What the motions of a job move.

    Parameters
    ----------
    carried
        The consensus map's surface, tied to the mesh.
    grid
        The map's box.
    fields
        Displacement of every mesh vertex at one standard deviation of each motion, Å (M, P, 3).
    """

    carried: CarriedSurface
    grid: Grid
    fields: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> "Scene":
        """Read the motions of a job, and cut the map that they were found about; loads torch."""
        from napari_flex3d.mesh import TetMesh

        mesh_job = input_of(folder, "mesh")
        volume = read_map(input_of(mesh_job, "prep") / "map_train.mrc")
        mesh, grid = TetMesh.load(mesh_job / "mesh.npz"), grid_of(volume)
        carried = CarriedSurface.of(volume.data, grid.pixel_size, default_contour(volume.data), mesh)
        with np.load(folder / "motions.npz", allow_pickle=False) as file:
            return cls(carried, grid, file["fields"])


class MotionSurface(QObject):
    """Plays one motion on the canvas, and gives the canvas back as it was.

    Parameters
    ----------
    session
        The viewer's session.
    parent
        Owner in Qt's sense.
    """

    changed = Signal()
    """Another motion is played, or none."""

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self.session = session
        self.playing: int | None = None
        self.folder: Path | None = None
        self._scene: Scene | None = None
        self._layer: FlexSurface | None = None
        self._before: WeakSet[Layer] = WeakSet()
        self._explored = False
        self._shift = np.zeros((0, 3), np.float32)
        self._length = np.zeros(0, np.float32)
        self._begun = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self._on_time)
        session.model_changed.connect(self.stop)
        session.run_changed.connect(self._on_run)
        session.ending.connect(self._on_ending)

    def play(self, folder: Path, number: int) -> None:
        """Play a motion of a job, by its number from 0; the map is cut in a thread the first time."""
        self.playing = number
        if folder == self.folder and self._scene is not None:
            self._begin()
        elif folder != self.folder:
            self.folder, self._scene = folder, None
            worker: Any = create_worker(Scene.of, folder, _start_thread=False, _ignore_errors=True)
            worker.returned.connect(lambda scene: self._on_scene(folder, scene))
            worker.errored.connect(lambda error: self._on_error(folder, error))
            worker.start()
        self.changed.emit()

    def stop(self, *_: object) -> None:
        """Take the surface away, and show again what was seen before if nobody else has taken the canvas."""
        self._timer.stop()
        was_on_show, layer, self._layer = self.is_on_show, self._layer, None
        if layer is not None and self.session.viewer is not None:
            layers = self.session.viewer.layers
            if layer in layers:
                layers.remove(layer)
            if was_on_show:
                if self._explored:
                    self.session.explorer.step_forward()
                for other in layers:
                    if other in self._before:
                        other.visible = True
        self._before.clear()
        if self.playing is not None:
            self.playing = None
            self.changed.emit()

    @property
    def is_on_show(self) -> bool:
        """Whether the surface is in the canvas and visible."""
        viewer, layer = self.session.viewer, self._layer
        return viewer is not None and layer is not None and layer in viewer.layers and layer.visible

    def show_at(self, latent: float) -> None:
        """Show the motion that is played at a latent, in standard deviations from the mean."""
        if self._layer is not None and self._scene is not None:
            moved = self._scene.carried.points + np.float32(latent) * self._shift
            self._layer.move(self._scene.grid.indices(moved), abs(latent) * self._length)

    def _on_scene(self, folder: Path, scene: Scene) -> None:
        if folder == self.folder and self.session.viewer is not None:
            self._scene = scene
            if self.playing is not None:
                self._begin()

    def _on_error(self, folder: Path, error: Exception) -> None:
        if folder == self.folder:
            self.folder = None
            self.stop()
            self.session.said.emit(sentence_of(error))

    def _begin(self) -> None:
        assert self._scene is not None
        assert self.playing is not None
        self._shift = self._scene.carried.displacements(self._scene.fields[self.playing])
        self._length = np.linalg.norm(self._shift, axis=1)
        largest = max(FARTHEST * float(self._length.max(initial=0.0)), 1e-3)
        if not self.is_on_show:
            self._take_canvas()
        assert self._layer is not None
        self._layer.contrast_limits = (0.0, largest)
        self._begun = time.monotonic()
        self._timer.start()

    def _take_canvas(self) -> None:
        scene, viewer = self._scene, self.session.viewer
        assert scene is not None
        if self._layer is not None and self._layer in viewer.layers:
            viewer.layers.remove(self._layer)
        explorer = self.session.explorer
        self._explored = explorer.model is not None and not explorer.live.is_behind
        explorer.step_back()
        self._before = WeakSet(layer for layer in viewer.layers if layer.visible)
        for layer in viewer.layers:
            layer.visible = False
        data = (scene.grid.indices(scene.carried.points), scene.carried.faces, self._length)
        self._layer = FlexSurface(
            data, name=LAYER, colormap=DISPLACEMENT_COLORS, shading="smooth", **scene.grid.placement
        )
        viewer.add_layer(self._layer)
        viewer.dims.ndisplay = 3
        if not self._before:
            viewer.reset_view()

    def _on_time(self) -> None:
        if not self.is_on_show:  # the person has hidden or deleted it, or another stage shows its maps
            self.stop()
            return
        seconds = time.monotonic() - self._begun
        self.show_at(FARTHEST * float(np.sin(2 * np.pi * seconds / PERIOD)))

    def _on_run(self) -> None:
        if self.session.is_running and self.session.run_stage == "train":
            self.stop()

    def _on_ending(self) -> None:
        self._timer.stop()
        self._layer = self._scene = None  # they hold the canvas
