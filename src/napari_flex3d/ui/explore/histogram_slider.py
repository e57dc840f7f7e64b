"""A slider with the histogram of the particles behind it."""

from typing import Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPainter, QPalette, QPen
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSizePolicy, QSlider, QWidget

from napari_flex3d.ui.scatter import ACCENT

STEPS = 1000
BARS = 40
BAR_COLOR = "#4f8fb4"
EDGE = 4
"""Pixels left free at both ends, so that the mark is whole at the ends of the range."""


class _Track(QSlider):
    """The bars and the mark; an integer slider beneath, so that keys and screen readers know it."""

    doubleClicked = Signal()

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, STEPS)
        self.setSingleStep(10)
        self.setPageStep(100)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(30)
        self.heights = np.zeros(BARS)
        self.home: float | None = None

    def sizeHint(self) -> QSize:
        """Give the size that it likes best."""
        return QSize(180, 30)

    def paintEvent(self, event: Any) -> None:
        """Draw the bars, the mean as a small wedge, and where the slider is."""
        painter = QPainter(self)
        wide, high = self.width() - 2 * EDGE, self.height() - 4
        bar = QColor(BAR_COLOR)
        step = wide / len(self.heights)
        here = self.value() / STEPS
        for k, height in enumerate(self.heights):
            bar.setAlpha(230 if (k + 0.5) / len(self.heights) <= here else 120)
            top = high * float(height)
            painter.fillRect(QRectF(EDGE + k * step, 2 + high - top, max(step - 0.7, 0.7), top), bar)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(QPen(ink, 1))
        painter.drawLine(EDGE, self.height() - 2, self.width() - EDGE, self.height() - 2)
        if self.home is not None:
            mean = EDGE + round(wide * self.home)
            painter.drawLine(mean, self.height() - 6, mean, self.height() - 2)
        painter.fillRect(QRectF(EDGE + wide * here - 1.5, 0, 3, self.height()), QColor(ACCENT))
        if self.hasFocus():
            painter.setPen(QPen(QColor(ACCENT), 1, Qt.PenStyle.DotLine))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def mousePressEvent(self, event: Any) -> None:
        """Go to where the mouse is."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.setFocus()
            self.setSliderDown(True)
            self._go(event)

    def mouseMoveEvent(self, event: Any) -> None:
        """Follow the mouse."""
        if self.isSliderDown():
            self._go(event)

    def mouseReleaseEvent(self, event: Any) -> None:
        """Let go."""
        if self.isSliderDown():
            self.setSliderDown(False)  # emits sliderReleased

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Go to the mean."""
        self.doubleClicked.emit()

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the dock that scrolls, unless the slider was chosen."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def _go(self, event: Any) -> None:
        part = (event.position().x() - EDGE) / max(1, self.width() - 2 * EDGE)
        self.setValue(round(STEPS * min(max(part, 0.0), 1.0)))


class HistogramSlider(QWidget):
    """One latent: histogram, slider and number. A double click goes to the mean.

    Parameters
    ----------
    name
        What the slider moves, for screen readers.
    """

    valueChanged = Signal(float)
    """The person has moved it."""
    sliderReleased = Signal()
    """The person has let it go, or has moved it by a key or by the number."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._low, self._high, self._value, self._home = 0.0, 1.0, 0.0, 0.5
        self.track = _Track()
        self.number = QDoubleSpinBox()
        self.number.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.number.setKeyboardTracking(False)
        self.number.setFixedWidth(58)
        self.number.setAlignment(Qt.AlignmentFlag.AlignRight)
        for part in (self.track, self.number):
            part.setAccessibleName(name)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.track, 1)
        row.addWidget(self.number)
        self.track.valueChanged.connect(self._on_track)
        self.track.sliderReleased.connect(self.sliderReleased)
        self.track.doubleClicked.connect(self._go_home)
        self.number.valueChanged.connect(self._on_number)
        self.setFocusProxy(self.track)

    def value(self) -> float:
        """Where it is."""
        return self._value

    def minimum(self) -> float:
        """Lower end."""
        return self._low

    def maximum(self) -> float:
        """Upper end."""
        return self._high

    def setValue(self, value: float) -> None:
        """Go to a value, and say so."""
        self.show_value(value)
        self.valueChanged.emit(self._value)

    def show_value(self, value: float) -> None:
        """Go to a value and tell nobody; one beyond the ends is shown at the end and kept."""
        self._value = float(value)
        for part in (self.track, self.number):
            part.blockSignals(True)
        self.track.setValue(round(STEPS * (self._value - self._low) / (self._high - self._low)))
        self.number.setValue(self._value)
        for part in (self.track, self.number):
            part.blockSignals(False)
        self.track.update()

    def show_particles(self, values: np.ndarray, low: float, high: float) -> None:
        """Take the ends of the range, the histogram of these values (N) between them, and their mean as home."""
        self._low, self._high = low, max(high, low + 1e-9)
        counts, _ = np.histogram(values, bins=BARS, range=(self._low, self._high))
        self.track.heights = counts / max(1, counts.max())
        self._home = float(np.mean(values))
        self.track.home = float(np.clip((self._home - low) / (self._high - low), 0, 1))
        decimals = int(np.clip(2 - np.floor(np.log10(self._high - self._low)), 0, 6))
        self.number.blockSignals(True)
        self.number.setDecimals(decimals)
        reach = self._high - self._low
        self.number.setRange(self._low - 2 * reach, self._high + 2 * reach)
        self.number.setSingleStep(reach / 100)
        self.number.blockSignals(False)
        self.show_value(self._value)

    def _on_track(self, step: int) -> None:
        self.setValue(self._low + (self._high - self._low) * step / STEPS)
        if not self.track.isSliderDown():  # moved by a key or the wheel
            self.sliderReleased.emit()

    def _on_number(self, value: float) -> None:
        self.setValue(value)
        self.sliderReleased.emit()

    def _go_home(self) -> None:
        self.setValue(self._home)
        self.sliderReleased.emit()
