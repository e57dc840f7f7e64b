"""What the canvas shows of the moving map: surface, volume and followers, one frame at a time."""

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_flex3d.ui.explore.frames import Frames, Kind, Pace
from napari_flex3d.ui.explore.live_surface import LiveSurface
from napari_flex3d.ui.explore.live_volume import LiveVolume
from napari_flex3d.ui.explore.maps import Subject
from napari_flex3d.ui.explore.support import Support

Shown = Literal["surface", "volume", "both"]
IN_WORDS: dict[Kind, str] = {"surface": "surface", "coarse": "coarse volume", "full": "volume"}


class Follower(Protocol):
    """Something else that moves with the map."""

    is_shown: bool

    def take(self, model: Any, subject: Subject) -> None:
        """Lie on another model."""

    def move(self, displacements: np.ndarray) -> None:
        """Follow the mesh's vertices, (P, 3) Å."""

    def settle(self) -> None:
        """Make what is drawn the layer's data."""

    def show(self, on: bool) -> None:
        """Show or hide it."""


class LiveMap(QObject):
    """Draws the map at the newest latent, as the drawing keeps up.

    Parameters
    ----------
    viewer
        The viewer.
    state
        Gives model, map, contour, latent and its support as they are now; None when there is no model.
    parent
        Owner in Qt's sense.
    """

    measured = Signal(str)
    """Numbers about the last frame."""

    def __init__(
        self,
        viewer: Any,
        state: Callable[[], tuple[Any, Subject, float, np.ndarray, Support] | None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._state = viewer, state
        self._kind: Kind = "surface"
        self._is_behind = self._is_moving = False
        self._aside: np.ndarray | None = None
        self.shown: Shown = "surface"
        self.frames = Frames(self._draw, self)
        self.frames.shown.connect(self._on_frame)
        self.pace = Pace()
        self.surface = LiveSurface(viewer)
        self.surface.on_drawn = self.frames.drawn
        self.volume = LiveVolume(viewer, self)
        self.volume.written.connect(self._on_volume)
        self.volume.failed.connect(self._on_failure)
        self.followers: list[Follower] = []

    def close(self) -> None:
        """End the thread and the timers."""
        self.frames.stop()
        self.volume.close()
        self.followers.clear()

    def take(self, model: Any, subject: Subject) -> None:
        """Draw another model."""
        self.surface.take(model)
        if self._aside is not None and len(self._aside) != model.latent_dims:
            self._aside = None
        self.recut()
        for follower in self.followers:
            follower.take(model, subject)

    def recut(self) -> None:
        """Cut the surface anew: map or contour are others."""
        state = self._state()
        if state is None:
            return
        _, subject, contour, latent, _ = state
        if self._is_behind and self.surface.layer() is None:
            self.surface.set_visible(False)
        if not self.surface.cut(subject, contour, latent if self._aside is None else self._aside):
            self.measured.emit("The map does not reach this contour.")
        self._show_layers()

    def forget_volumes(self) -> None:
        """Take volumes and what they cost away: another map is moved."""
        self.volume.forget()
        self.pace.forget()

    def move(self) -> None:
        """Draw the latent as it is now: at once if nothing is being drawn, else as soon as that is over."""
        self._is_moving, self._aside = True, None
        self.frames.want()

    def glance(self, latent: np.ndarray) -> None:
        """Draw the surface at another latent (K), until the next move."""
        self._aside = latent
        self.frames.want()

    def settle(self) -> None:
        """Show the whole volume, and make the surface's shape its layer's data: the latent was let go."""
        self._is_moving = False
        self.frames.flush()
        self.surface.settle()
        for follower in self.followers:
            follower.settle()
        if self.shown != "surface":
            self.frames.want()  # what is on show stays until the whole volume is there
        else:
            self._kind = "surface"
            self._show_layers()

    def step_back(self) -> None:
        """Leave the canvas to another stage."""
        self._is_behind = True

    @property
    def is_behind(self) -> bool:
        """Whether another stage has the canvas."""
        return self._is_behind

    def step_forward(self) -> None:
        """Take the canvas, and hide what other stages have put there."""
        self._is_behind = False
        for layer in self._viewer.layers:
            layer.visible = False
        self._viewer.dims.ndisplay = 3
        self._show_layers()
        self.surface.set_compare(self.surface.compare)
        for follower in self.followers:
            follower.show(follower.is_shown)

    def follow(self, follower: Follower, on: bool) -> None:
        """Show something else that moves with the map, or hide it."""
        state = self._state()
        if on and follower not in self.followers:
            self.followers.append(follower)
            if state is not None:
                follower.take(state[0], state[1])
        follower.show(on)
        if state is not None:
            follower.move(state[0].displacements(state[3]))
            follower.settle()

    def _show_layers(self) -> None:
        """Show what the last frame has brought up to date, and nothing else."""
        if not self._is_behind:
            self.surface.set_visible(self.shown != "volume" or self._kind == "surface")
            self.volume.set_visible(self._kind)

    def _draw(self) -> None:
        """Begin a frame of the latent as it is now."""
        state = self._state()
        if state is None:
            return
        begun = time.perf_counter()
        model, subject, contour, latent, support = state
        kind: Kind = (
            "surface" if self.shown == "surface" else self.pace.choose() if self._is_moving else "full"
        )
        if self._aside is not None:
            kind, latent = "surface", self._aside
        moved = model.displacements(latent)
        self.surface.move(moved, subject, contour, support.lack)
        for follower in self.followers:
            follower.move(moved)
        self.volume.tint(support.lack > 0)
        self.frames.own(time.perf_counter() - begun)
        if kind == "surface":
            self._kind = kind
            self._show_layers()
            self.frames.ready()
        else:
            self.volume.ask(kind, model, subject, latent)

    def _on_volume(self, kind: Kind, took: float) -> None:
        self.frames.own(took / 1000)
        self._kind = kind
        self._show_layers()
        self.frames.ready()

    def _on_failure(self, text: str) -> None:
        self.frames.stop()
        self.measured.emit(text)

    def _on_frame(self, own: float, took: float) -> None:
        self.pace.note(self._kind, took)
        state = self._state()
        if state is None or self._aside is not None:  # the numbers are those of the latent that one is at
            return
        _, subject, _, _, support = state
        text = (
            f"{len(subject.density)}³ {IN_WORDS[self._kind]} · {own:.0f} ms compute · {took:.0f} ms to screen"
        )
        self.measured.emit(f"{text}\nUp to {self.surface.farthest:.1f} Å from rest · {support.sentence}")
