"""The joints as a small graph: circles are segments, lines are joints."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

from napari_flex3d.mesh.draft import Draft
from napari_flex3d.mesh.topology import borders
from napari_flex3d.ui.studio.painting import color_of

HEIGHT, MARGIN, RADIUS = 150, 26, 13
NEAR = 7.0
"""Pixels beside a line at which a click still means it."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Joints:
    """Which segments a mesh has, where they are, and which of them touch and are joined.

    Parameters
    ----------
    places
        Of each segment on a plane, from 0 to 1.
    touching
        Vertices of the common border of each pair.
    joined
        Pairs that have vertices in common.
    """

    places: dict[int, tuple[float, float]] = field(default_factory=dict)
    touching: dict[Pair, int] = field(default_factory=dict)
    joined: set[Pair] = field(default_factory=set)

    @classmethod
    def of(cls, draft: Draft) -> "Joints":
        """Lay out the segments of a draft along the two widest directions of the mesh."""
        built = draft.built
        centres = built.whole.vertices[built.whole.cells].mean(1)
        ids = [s.id for s in draft.facts]
        middle = np.stack([centres[built.whole.segment == i].mean(0) for i in ids])
        _, _, axes = np.linalg.svd(middle - middle.mean(0), full_matrices=False)
        flat = (middle - middle.mean(0)) @ axes[:2].T
        flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
        width = np.maximum(np.ptp(flat, axis=0), 1e-6)
        flat = 0.5 + (flat - flat.min(0) - width / 2) / np.maximum(width, 0.3 * width.max())
        apart = _spread(flat)
        shared = borders(built.mesh).shared()
        touching = borders(built.whole).shared()
        pairs = touching if built.connections is None else built.connections
        joined = {(min(p), max(p)) for p in pairs if shared.get((min(p), max(p)), 0)}
        return cls({i: (float(x), float(y)) for i, (x, y) in zip(ids, apart, strict=True)}, touching, joined)


def _spread(places: np.ndarray, least: float = 0.28) -> np.ndarray:
    """Push places that are too near to each other apart, inside the unit square."""
    places = places.copy()
    random = np.random.default_rng(0)
    for _ in range(40):
        away = places[:, None] - places[None] + 1e-3 * random.normal(size=(len(places), len(places), 2))
        far = np.linalg.norm(away, axis=-1)
        np.fill_diagonal(far, np.inf)
        push = np.clip(least - far, 0, None) / far
        places = np.clip(places + 0.25 * (away * push[..., None]).sum(1), 0, 1)
    return places


class ConnectionGraph(QWidget):
    """Segments and their joints, to be joined and parted by clicks.

    A line is a joint, a dashed one a border that may slide or part. A click on a line changes it, and so do clicks on
    two circles one after the other.
    """

    toggled = Signal(int, int)
    """Two segments are to be joined, or parted if they are joined."""
    picked = Signal(int)
    """A segment was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.joints = Joints()
        self.first: int | None = None
        self.setFixedHeight(HEIGHT)
        self.setAccessibleName("Connections of the segments")
        self.setToolTip(
            "<qt>Lines are joints, dashed lines are borders that may slide or part. Click a line, or two circles one "
            "after the other, to join or part the two.</qt>"
        )

    def show_joints(self, joints: Joints) -> None:
        """Draw other joints."""
        self.joints = joints
        if self.first not in joints.places:
            self.first = None
        self.update()

    def place_of(self, segment: int) -> QPointF:
        """Where a circle is drawn."""
        x, y = self.joints.places[segment]
        return QPointF(
            MARGIN + x * max(self.width() - 2 * MARGIN, 1), MARGIN + y * max(self.height() - 2 * MARGIN, 1)
        )

    def paintEvent(self, event: Any) -> None:
        """Draw lines, then circles with their numbers."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().text().color()
        for pair, count in self.joints.touching.items():
            is_joined = pair in self.joints.joined
            color = QColor(text)
            color.setAlphaF(0.9 if is_joined else 0.45)
            style = Qt.PenStyle.SolidLine if is_joined else Qt.PenStyle.DashLine
            width = 1.5 + min(np.sqrt(count), 12) / 4 if is_joined else 1.2
            painter.setPen(QPen(color, width, style))
            painter.drawLine(self.place_of(pair[0]), self.place_of(pair[1]))
        for segment in self.joints.places:
            place = self.place_of(segment)
            color = QColor(color_of(segment) if segment else "#8f969f")
            painter.setBrush(color)
            painter.setPen(QPen(text, 3.0 if segment == self.first else 1.0))
            painter.drawEllipse(place, RADIUS, RADIUS)
            painter.setPen(QColor("#101418" if color.lightnessF() > 0.45 else "#ffffff"))
            box = QRectF(place.x() - RADIUS, place.y() - RADIUS, 2 * RADIUS, 2 * RADIUS)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(segment))
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        """Choose a circle, join it with the one that was chosen before, or change a line."""
        at = event.position()
        circle = next((s for s in self.joints.places if _apart(at, self.place_of(s)) <= RADIUS + 2), None)
        if circle is not None:
            if self.first is None or self.first == circle:
                self.first = circle if self.first is None else None
                self.picked.emit(circle)
            else:
                pair, self.first = (self.first, circle), None
                self.toggled.emit(*pair)
        else:
            self.first = None
            line = self._line_at(at)
            if line is not None:
                self.toggled.emit(*line)
        self.update()

    def _line_at(self, at: QPointF) -> Pair | None:
        found = {pair: self._beside(at, pair) for pair in self.joints.touching}
        best = min(found, key=lambda p: found[p], default=None)
        return best if best is not None and found[best] <= NEAR else None

    def _beside(self, at: QPointF, pair: Pair) -> float:
        """Distance of a point from a line, in pixels."""
        start, end = (np.array([p.x(), p.y()]) for p in map(self.place_of, pair))
        point, along = np.array([at.x(), at.y()]), end - start
        part = np.clip((point - start) @ along / max(along @ along, 1e-9), 0, 1)
        return float(np.linalg.norm(point - start - part * along))


def _apart(one: QPointF, other: QPointF) -> float:
    return float(np.hypot(one.x() - other.x(), one.y() - other.y()))
