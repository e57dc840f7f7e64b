"""The motion on the canvas while a training goes on: frame by frame, as few as the training hardly notices."""

from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_flex3d.ui.session import Session

SHARE = 0.01
"""Share of the time that frames are drawn at most: drawing takes the processor from the training."""

QUICKEST = 100
"""Milliseconds between two frames, where drawing costs nothing."""

STEP = 1 / 24
"""Part of the way to and fro that one frame goes on."""


class Preview(QObject):
    """Moves the map of the training that runs, a frame at a time, each after a wait that its cost has earned.

    The latent of the person stays where it is: as soon as it is moved, the map is there again.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session = session
        self.is_on = bool(session.settings["preview"])
        self.frames = 0
        self._phase = 0.0
        self._is_ours = False
        self._next = QTimer(self)
        self._next.setSingleShot(True)
        self._next.timeout.connect(self._draw)
        session.explorer.model_taken.connect(self._on_model)
        session.explorer.live.frames.shown.connect(self._on_frame)
        session.run_ended.connect(lambda *_: self._stop())
        session.ending.connect(self._next.stop)

    @staticmethod
    def of(session: Session) -> "Preview":
        """Find the preview of a session; it is made when it is first asked for."""
        return session.findChild(Preview) or Preview(session)

    def set_on(self, on: bool) -> None:
        """Move the map, or not."""
        self.is_on = self.session.settings["preview"] = on
        if on:
            self._on_model(None)
        else:
            self._stop()

    def _on_model(self, model: Any) -> None:
        """A checkpoint is on show, at the latent of the last frame: go on from there when the next one is due."""
        session = self.session
        if self._next.isActive():
            return
        if self.is_on and session.model is not None and session.is_running and session.run_stage == "train":
            self._next.start(QUICKEST)

    def _draw(self) -> None:
        explorer = self.session.explorer
        course, live = explorer.player.course, explorer.live
        if course is None or live.is_behind or explorer.is_held or not live.frames.is_idle:
            self._next.start(round(QUICKEST / SHARE))  # whoever steers by hand is left alone
            return
        self._phase = (self._phase + STEP) % 1
        self._is_ours = True
        live.glance(course.at(0.5 - 0.5 * float(np.cos(2 * np.pi * self._phase)), explorer.latent))

    def _on_frame(self, own: float, took: float) -> None:
        """Wait as long as the frame has earned, ms."""
        if self._is_ours:
            self._is_ours = False
            self.frames += 1
            self._next.start(round(max(took / SHARE, QUICKEST)))

    def _stop(self) -> None:
        """End the motion, and go back to where the person is."""
        self._next.stop()
        self._is_ours = False
        if self.frames:
            self.frames = 0
            self.session.explorer.live.move()
            self.session.explorer.settle()
