"""The motion on the canvas while a training goes on: once along it after every epoch."""

import time
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

from napari_flex3d.ui.session import Session

SHARE = 0.1
"""Share of an epoch's time that the motion is played at most: drawing takes time from the training."""

SHORTEST, LONGEST = 1.0, 4.0
"""Seconds below which nothing can be seen of a motion, and after which it repeats itself."""


class Preview(QObject):
    """Plays the motion of each new checkpoint of the training that runs, for a part of its epoch.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session = session
        self.is_on = bool(session.settings["preview"])
        self._model_at = float("inf")  # of the first one nobody knows how long its epoch took
        self._before: np.ndarray | None = None
        self._end = QTimer(self)
        self._end.setSingleShot(True)
        self._end.timeout.connect(self._stop)
        session.explorer.model_taken.connect(self._on_model)
        session.run_ended.connect(self._on_end)
        session.ending.connect(self._end.stop)

    @staticmethod
    def of(session: Session) -> "Preview":
        """Find the preview of a session; it is made when it is first asked for."""
        return session.findChild(Preview) or Preview(session)

    def set_on(self, on: bool) -> None:
        """Play after every epoch, or not."""
        self.is_on = self.session.settings["preview"] = on
        if not on:
            self._stop()

    def _on_model(self, model: Any) -> None:
        session, now = self.session, time.monotonic()
        epoch, self._model_at = now - self._model_at, now
        if not (self.is_on and session.is_running and session.run_stage == "train"):
            return
        explorer = session.explorer
        seconds = min(SHARE * epoch, LONGEST)
        if seconds < SHORTEST or explorer.player.is_playing:  # whoever plays by hand is left alone
            return
        self._before = explorer.latent.copy()
        explorer.play(True)
        self._end.start(round(1000 * seconds))

    def _on_end(self, stage: str, outcome: str, result: object) -> None:
        self._stop()

    def _stop(self) -> None:
        """End the motion, and go back to where the person was."""
        if self._before is not None:
            before, self._before = self._before, None
            self._end.stop()
            self.session.explorer.play(False)
            self.session.explorer.go_to(before)
