"""Small drawings for buttons, in one grey that is seen on dark and on light ground."""

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QToolButton

GREY = "#8c94a1"
SIZE = 32


def _lines(*points: tuple[float, float]) -> QPolygonF:
    return QPolygonF([QPointF(x * SIZE, y * SIZE) for x, y in points])


def _go(p: QPainter) -> None:
    p.drawEllipse(QRectF(8, 8, 16, 16))
    for a, b in (((0.5, 0.05), (0.5, 0.4)), ((0.5, 0.6), (0.5, 0.95)), ((0.05, 0.5), (0.4, 0.5))):
        p.drawPolyline(_lines(a, b))
    p.drawPolyline(_lines((0.6, 0.5), (0.95, 0.5)))


def _lasso(p: QPainter) -> None:
    t = np.linspace(0, 2 * np.pi, 40)
    r = 0.33 + 0.07 * np.cos(3 * t)
    p.drawPolygon(
        _lines(*zip((0.5 + 1.15 * r * np.cos(t)).tolist(), (0.46 + r * np.sin(t)).tolist(), strict=True))
    )
    p.drawPolyline(_lines((0.3, 0.78), (0.22, 0.95)))


def _box(p: QPainter) -> None:
    p.drawRect(QRectF(4, 7, 24, 18))


def _polygon(p: QPainter) -> None:
    corners = ((0.15, 0.4), (0.5, 0.1), (0.88, 0.35), (0.75, 0.85), (0.25, 0.85))
    p.drawPolygon(_lines(*corners))
    p.setBrush(QColor(GREY))
    for x, y in corners:
        p.drawEllipse(QPointF(x * SIZE, y * SIZE), 2.2, 2.2)


def _path(p: QPainter) -> None:
    x = np.linspace(0.12, 0.88, 30)
    p.drawPolyline(_lines(*zip(x.tolist(), (0.5 - 0.28 * np.sin(7 * (x - 0.12))).tolist(), strict=True)))
    p.setBrush(QColor(GREY))
    for end in (0, -1):
        p.drawEllipse(QPointF(x[end] * SIZE, (0.5 - 0.28 * np.sin(7 * (x[end] - 0.12))) * SIZE), 3.0, 3.0)


def _fit(p: QPainter) -> None:
    for x, y in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)):
        dx, dy = (0.25 if x < 0.5 else -0.25), (0.25 if y < 0.5 else -0.25)
        p.drawPolyline(_lines((x + dx, y), (x, y), (x, y + dy)))
    p.drawEllipse(QRectF(12, 12, 8, 8))


DRAWINGS: dict[str, Callable[[QPainter], None]] = {
    "go": _go,
    "lasso": _lasso,
    "box": _box,
    "polygon": _polygon,
    "path": _path,
    "fit": _fit,
}


def icon(name: str) -> QIcon:
    """Draw an icon."""
    pixmap = QPixmap(SIZE, SIZE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(GREY), 2.6, cap=Qt.PenCapStyle.RoundCap, join=Qt.PenJoinStyle.RoundJoin))
    DRAWINGS[name](painter)
    painter.end()
    return QIcon(pixmap)


def icon_button(drawing: str, name: str, tip: str, *, checkable: bool = False) -> QToolButton:
    """Make a button with an icon only; its name is for screen readers."""
    button = QToolButton()
    button.setIcon(icon(drawing))
    button.setAccessibleName(name)
    button.setToolTip(f"<qt><b>{name}.</b> {tip}</qt>")
    button.setCheckable(checkable)
    button.setAutoRaise(True)
    return button
