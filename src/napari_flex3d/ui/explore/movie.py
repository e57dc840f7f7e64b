"""A movie of the canvas along a course, with a moving camera."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from scipy.spatial.transform import Rotation

from napari_flex3d.io.movies import write_gif, write_movie
from napari_flex3d.ui.explore.courses import Course
from napari_flex3d.ui.explore.explorer import Explorer

Camera = Literal["still", "turn", "rock", "zoom"]
FPS = 20
ROCK = 25.0
"""Degrees to each side."""
ZOOM = 1.6


class Movie(QObject):
    """Takes one picture after the other, between the window's other work, and writes the file in a thread.

    Parameters
    ----------
    explorer
        What is filmed.
    """

    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""
    ended = Signal()

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self.explorer = explorer
        self._frames: list[np.ndarray] = []
        self._latents = np.zeros((0, 1))
        self._path = Path()
        self._move: Camera = "still"
        self._back: Callable[[], None] = lambda: None
        self._start: tuple[Any, Any, float] = (None, None, 1.0)
        self.is_running = False
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._next)
        explorer.session.ending.connect(self._timer.stop)

    def record(self, path: Path, course: Course, frames: int, move: Camera, *, to_and_fro: bool) -> None:
        """Begin a movie of so many frames.

        Parameters
        ----------
        path
            The new file, .mp4 or .gif.
        course
            What to go along.
        frames
            How many; with ``to_and_fro`` so many to and fro.
        move
            What the camera does meanwhile: nothing, one turn, rock, or come nearer.
        to_and_fro
            Whether to come back, so that the movie can be looped.
        """
        parts = np.linspace(0, 1, frames)
        if to_and_fro:
            parts = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frames) / frames)
        explorer = self.explorer
        explorer.player.play(False)
        here, camera = explorer.latent.copy(), self._camera
        self._latents = np.array([course.at(float(part), here) for part in parts])
        self._frames, self._path, self._move = [], path, move
        self._start = (np.array(camera.view_direction), np.array(camera.up_direction), camera.zoom)
        angles = camera.angles

        def back() -> None:
            self._camera.angles, self._camera.zoom = angles, self._start[2]
            explorer.go_to(here)
            explorer.settle()

        self._back = back
        self.is_running = True
        self._show(0)
        self._timer.start()

    def stop(self) -> None:
        """Give up; no file is written."""
        if self.is_running and self._timer.isActive():
            self._timer.stop()
            self._back()
            self.is_running = False
            self.said.emit("The movie was stopped.", False)
            self.ended.emit()

    @property
    def _camera(self) -> Any:
        viewer = self.explorer.session.viewer
        return getattr(viewer, "scene", viewer).camera  # napari 0.8 has no scene

    def _show(self, frame: int) -> None:
        """Go to a frame's latent and put the camera where it belongs."""
        view, up, zoom = self._start
        part, camera = frame / len(self._latents), self._camera
        angle = {"turn": 360 * part, "rock": ROCK * np.sin(2 * np.pi * part)}.get(self._move, 0.0)
        if self._move in ("turn", "rock"):
            camera.set_view_direction(Rotation.from_rotvec(np.radians(angle) * up).apply(view), up)
        elif self._move == "zoom":
            camera.zoom = zoom * ZOOM ** (0.5 - 0.5 * np.cos(2 * np.pi * part))
        self.explorer.go_to(self._latents[frame])
        self.explorer.settle()

    def _next(self) -> None:
        """Take the picture of a frame once it is on the screen."""
        if not self.explorer.live.frames.is_idle:
            return
        picture = self.explorer.session.viewer.screenshot(canvas_only=True, flash=False)
        self._frames.append(np.ascontiguousarray(picture[..., :3]))
        done, total = len(self._frames), len(self._latents)
        self.said.emit(f"Movie: picture {done} of {total}", False)
        if done < total:
            self._show(done)
            return
        self._timer.stop()
        self._back()
        worker: Any = create_worker(
            _write, self._path, self._frames, _start_thread=False, _ignore_errors=True
        )
        worker.returned.connect(
            lambda _: self.said.emit(f"{total} pictures are in {self._path}, {total / FPS:.1f} s.", False)
        )
        worker.errored.connect(lambda error: self.said.emit(f"{self._path} cannot be written: {error}", True))
        worker.finished.connect(self._on_written)
        worker.start()

    def _on_written(self) -> None:
        self._frames = []
        self.is_running = False
        self.ended.emit()


def _write(path: Path, frames: list[np.ndarray]) -> None:
    write = write_gif if path.suffix == ".gif" else write_movie
    write(path, np.stack(frames), fps=FPS)
