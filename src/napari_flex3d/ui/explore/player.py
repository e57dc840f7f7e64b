"""Plays the map along a course: to and fro, round and round, or once."""

import time
from typing import Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_flex3d.ui.explore.courses import Course

Mode = Literal["oscillate", "loop", "once"]
INTERVAL = 30
"""Milliseconds between two looks at the clock; frames come as the drawing keeps up."""
PERIOD = 4.0
"""Seconds to and fro at speed 1."""


class Player(QObject):
    """Where the map is along the course, by the clock: a slow machine shows fewer frames, not a slower motion.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    """

    moved = Signal(object)
    """(K,) latent to show."""
    playing_changed = Signal(bool)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.course: Course | None = None
        self.mode: Mode = "oscillate"
        self.speed = 1.0
        self.part = 0.0
        self.here = np.zeros(0)
        self._phase = 0.0
        self._last = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self._on_time)

    @property
    def is_playing(self) -> bool:
        """Whether the latent moves by itself."""
        return self._timer.isActive()

    def play(self, on: bool) -> None:
        """Begin or pause."""
        if on == self.is_playing or (on and self.course is None):
            return
        if on:
            if self.mode == "once" and self._phase >= 1:
                self._phase = 0.0
            self._last = time.perf_counter()
            self._timer.start()
        else:
            self._timer.stop()
        self.playing_changed.emit(on)

    def go(self, seconds: float) -> None:
        """Go on by so many seconds of playing."""
        self._phase += seconds * self.speed / PERIOD * (1.0 if self.mode == "oscillate" else 2.0)
        if self.mode == "once" and self._phase >= 1:
            self._phase = 1.0
        elif self.mode != "once":
            self._phase %= 1.0
        self.part = 0.5 - 0.5 * np.cos(2 * np.pi * self._phase) if self.mode == "oscillate" else self._phase
        if self.course is not None:
            self.moved.emit(self.course.at(float(self.part), self.here))
        if self.mode == "once" and self._phase >= 1:
            self.play(False)

    def _on_time(self) -> None:
        now = time.perf_counter()
        gone, self._last = now - self._last, now
        self.go(min(gone, 1.0))


class PlayerRow(QWidget):
    """Play and pause, how, along what, how fast.

    Parameters
    ----------
    player
        What it steers.
    """

    def __init__(self, player: Player) -> None:
        super().__init__()
        self.player = player
        self.play_button = QPushButton("▶ Play")
        self.play_button.setCheckable(True)
        self.play_button.setToolTip("Go along the course, by the clock. Alt-P")
        self.course_box, self.mode_box, self.speed_box = QComboBox(), QComboBox(), QComboBox()
        self.course_box.setToolTip(
            "<qt>What to go along: a latent or a principal component from 1 to 99 % of the particles, or the path.</qt>"
        )
        for text, value in (("to and fro", "oscillate"), ("loop", "loop"), ("once", "once")):
            self.mode_box.addItem(text, value)
        self.mode_box.setToolTip("To and fro, from the beginning again, or once.")
        for text, speed in (("¼×", 0.25), ("½×", 0.5), ("1×", 1.0), ("2×", 2.0)):
            self.speed_box.addItem(text, speed)
        self.speed_box.setCurrentIndex(2)
        self.speed_box.setToolTip("Speed; at 1× to and fro takes four seconds.")
        for box, name in (
            (self.course_box, "Course"),
            (self.mode_box, "How to play"),
            (self.speed_box, "Speed"),
        ):
            box.setAccessibleName(name)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        for widget, width, stretch in (
            (self.play_button, 68, 1),
            (self.course_box, 60, 1),
            (self.mode_box, 108, 1),
            (self.speed_box, 64, 0),
        ):
            widget.setMinimumWidth(width)  # napari's style asks for more than the dock has
            row.addWidget(widget, stretch)
        self.play_button.toggled.connect(player.play)
        self.mode_box.currentIndexChanged.connect(self._on_mode)
        self.speed_box.currentIndexChanged.connect(self._on_speed)
        player.playing_changed.connect(self._on_playing)

    def _on_mode(self) -> None:
        self.player.mode = self.mode_box.currentData()

    def _on_speed(self) -> None:
        self.player.speed = self.speed_box.currentData()

    def _on_playing(self, on: bool) -> None:
        self.play_button.blockSignals(True)
        self.play_button.setChecked(on)
        self.play_button.blockSignals(False)
        self.play_button.setText("❚❚ Pause" if on else "▶ Play")
