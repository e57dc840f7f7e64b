"""The legend of colours, with the ends of its range."""

from typing import Any

import numpy as np
from napari.utils import Colormap
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter
from qtpy.QtWidgets import QWidget

DISPLACEMENT_COLORS = Colormap(
    ["#dfe3e8", "#f5c469", "#e8603c", "#8d1d5b"], name="displacement", display_name="displacement"
)
"""Pale where nothing moves, like a map that nobody has coloured; its lightness falls all the way."""


class ColorScale(QWidget):
    """A bar of colours between two numbers.

    Parameters
    ----------
    colors
        (C, 3 or 4) colours from the lower end to the upper one, 0 to 1; those of the displacement unless given.
    """

    def __init__(self, colors: np.ndarray | None = None) -> None:
        super().__init__()
        self._colors = DISPLACEMENT_COLORS.map(np.linspace(0, 1, 17)) if colors is None else colors
        self._ends = ("0", "1.0 Å")
        self.setFixedHeight(16)

    def set_largest(self, largest: float) -> None:
        """Say which displacement the last colour stands for, Å."""
        self.set_ends("0", f"{largest:.1f} Å")
        self.setToolTip(f"Displacement from the canonical map, 0 to {largest:.1f} Å and more.")

    def set_ends(self, low: str, high: str) -> None:
        """Say what the first and the last colour stand for."""
        self._ends = (low, high)
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw the bar between its two numbers."""
        painter = QPainter(self)
        painter.setPen(self.palette().text().color())
        sides = (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight)
        for text, side in zip(self._ends, sides, strict=True):
            painter.drawText(self.rect(), side | Qt.AlignmentFlag.AlignVCenter, text)
        left, right = (painter.fontMetrics().horizontalAdvance(text) + 8 for text in self._ends)
        bar = self.rect().adjusted(left, 3, -right, -3)
        gradient = QLinearGradient(bar.left(), 0, bar.right(), 0)
        for position, color in zip(np.linspace(0, 1, len(self._colors)), self._colors, strict=True):
            gradient.setColorAt(float(position), QColor.fromRgbF(*map(float, color)))
        painter.fillRect(bar, gradient)
