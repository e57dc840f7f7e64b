"""The legend of the colours of the displacement."""

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
    """The colours of the displacement, with its ends in Å."""

    def __init__(self) -> None:
        super().__init__()
        self._largest = 1.0
        self.setFixedHeight(16)

    def set_largest(self, largest: float) -> None:
        """Say which displacement the last colour stands for, Å."""
        self._largest = largest
        self.setToolTip(f"Displacement from the canonical map, 0 to {largest:.1f} Å and more.")
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw the bar between its two numbers."""
        painter = QPainter(self)
        painter.setPen(self.palette().text().color())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, "0")
        text = f"{self._largest:.1f} Å"
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
        bar = self.rect().adjusted(16, 3, -painter.fontMetrics().horizontalAdvance(text) - 8, -3)
        gradient = QLinearGradient(bar.left(), 0, bar.right(), 0)
        positions = np.linspace(0, 1, 17)
        for position, color in zip(positions, DISPLACEMENT_COLORS.map(positions), strict=True):
            gradient.setColorAt(position, QColor.fromRgbF(*map(float, color)))
        painter.fillRect(bar, gradient)
