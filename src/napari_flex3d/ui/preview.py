"""What the canvas shows of a training that goes on: its newest map, and the motion, frame by frame."""

import time

import numpy as np
from qtpy.QtCore import QObject

from napari_flex3d.ui.explore.player import PERIOD
from napari_flex3d.ui.session import Session

LARGEST_STEP = 1 / 8
"""Part of the way to and fro that one frame goes on at most, however long it was waited for."""


class Preview(QObject):
    """Brings the map up to date and moves it, as often as the window has time for (`Upkeep`).

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
        self._phase, self._last = 0.0, 0.0
        self._is_ours = False
        session.upkeep.beat.connect(self._on_beat)
        session.explorer.live.frames.shown.connect(self._on_frame)
        session.run_ended.connect(lambda *_: self._stop())

    @staticmethod
    def of(session: Session) -> "Preview":
        """Find the preview of a session; it is made when it is first asked for."""
        return session.findChild(Preview) or Preview(session)

    def set_on(self, on: bool) -> None:
        """Move the map, or not."""
        self.is_on = self.session.settings["preview"] = on
        if not on:
            self._stop()

    def _on_beat(self) -> None:
        session, explorer = self.session, self.session.explorer
        live, course = explorer.live, explorer.player.course
        is_watching = session.is_running and session.run_stage == "train" and explorer.model is not None
        if not is_watching or live.is_behind or explorer.is_held or not live.frames.is_idle:
            return  # whoever steers by hand is left alone
        moves = self.is_on and course is not None
        if not moves and not explorer.is_stale:
            return
        session.upkeep.begin()
        explorer.catch_up()
        self._is_ours = moves or live.shown != "surface"
        if moves:
            live.glance(course.at(self._part(), explorer.latent))
        elif self._is_ours:
            live.frames.want()

    def _part(self) -> float:
        """Part of the way to and fro, 0 to 1, of the next frame."""
        now = time.monotonic()
        self._phase = (self._phase + min((now - self._last) / PERIOD, LARGEST_STEP)) % 1
        self._last = now
        return 0.5 - 0.5 * float(np.cos(2 * np.pi * self._phase))

    def _on_frame(self, own: float, took: float) -> None:
        if self._is_ours:
            self._is_ours = False
            self.frames += 1
            self.session.upkeep.end()

    def _stop(self) -> None:
        """End the motion, and go back to where the person is."""
        self._is_ours = False
        if self.frames:
            self.frames = 0
            self.session.explorer.live.move()
            self.session.explorer.settle()
