"""The scatter of the dock: also draws outlines and paths, and shades where there are few particles."""

from typing import Any, Literal

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, QRectF, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget

from napari_flex3d.ui.scatter import LatentScatter

Tool = Literal["go", "lasso", "box", "polygon", "path"]
OUTLINE, PATH = "#ffd166", "#ff8c42"
DOTS = 1500
"""Chosen particles that are dotted."""
CLOSE = 10
"""Screen pixels from its first corner within which a click closes a polygon."""


class DrawingBox(pg.ViewBox):
    """What the mouse does on the plot: pan and pick, or draw with a tool.

    Shift-drag draws a lasso and Alt-drag a path, whatever the tool.
    """

    clicked = Signal(object)
    """A click where there is nothing to draw: (2,) place."""
    outlined = Signal(object)
    """A closed outline was drawn, (C, 2) corners."""
    traced = Signal(object, bool)
    """A path is being drawn: its points (F, 2) so far, and whether it is finished."""

    def __init__(self) -> None:
        super().__init__(enableMenu=False)
        self.tool: Tool = "go"
        self._drawn: list[np.ndarray] = []
        self._drawing: Tool = "go"
        self._curve = pg.PlotCurveItem(pen=pg.mkPen(OUTLINE, width=1.5, style=Qt.PenStyle.DashLine))
        self._curve.setZValue(20)
        self.addItem(self._curve, ignoreBounds=True)

    def take(self, tool: Tool) -> None:
        """Draw with another tool; an unfinished polygon is dropped."""
        self.tool = tool
        self._forget()

    def mouseDragEvent(self, ev: Any, axis: int | None = None) -> None:
        """Draw, or pan."""
        if ev.isStart():
            self._drawing = self._tool_of(ev)
            self._drawn = [self._place(ev.buttonDownPos())]
        if ev.button() != Qt.MouseButton.LeftButton or self._drawing in ("go", "polygon"):
            super().mouseDragEvent(ev, axis)
            return
        ev.accept()
        self._drawn.append(self._place(ev.pos()))
        if self._drawing == "path":
            self.traced.emit(np.array(self._drawn), ev.isFinish())
            self._forget() if ev.isFinish() else None
            return
        outline = (
            np.array(self._drawn)
            if self._drawing == "lasso"
            else _corners(*self._drawn[:: len(self._drawn) - 1])
        )
        self._draw(outline, closed=True)
        if ev.isFinish():
            self._forget()
            self.outlined.emit(outline)

    def mouseClickEvent(self, ev: Any) -> None:
        """Pick a place, or set the next corner of a polygon; a double click closes it."""
        if ev.button() != Qt.MouseButton.LeftButton:
            return
        ev.accept()
        place = self._place(ev.pos())
        if self.tool != "polygon":
            self.clicked.emit(place)
            return
        pixel = np.abs(np.array(self.viewPixelSize()))
        closes = len(self._drawn) > 2 and (
            ev.double() or np.linalg.norm((place - self._drawn[0]) / pixel) < CLOSE
        )
        if not closes:
            self._drawn.append(place)
            self._draw(np.array(self._drawn), closed=False)
            return
        outline = np.array(self._drawn)
        self._forget()
        self.outlined.emit(outline)

    def _tool_of(self, ev: Any) -> Tool:
        if ev.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            return "lasso"
        if ev.modifiers() & Qt.KeyboardModifier.AltModifier:
            return "path"
        return self.tool

    def _place(self, at: Any) -> np.ndarray:
        point = self.mapToView(at)
        return np.array([point.x(), point.y()])

    def _draw(self, outline: np.ndarray, *, closed: bool) -> None:
        shown = np.vstack([outline, outline[:1]]) if closed else outline
        self._curve.setData(shown[:, 0], shown[:, 1])

    def _forget(self) -> None:
        self._drawn = []
        self._curve.setData([], [])


def _corners(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([a, [b[0], a[1]], b, [a[0], b[1]]])


class ExploreScatter(LatentScatter):
    """Scatter with tools, a path, an outline, the two states that are compared, and shaded regions.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        self.box = DrawingBox()
        super().__init__(parent, view=self.box)
        self.box.clicked.connect(self._on_click)
        self._shade = pg.ImageItem()
        self._path = pg.PlotDataItem(
            pen=pg.mkPen(PATH, width=2), symbol="o", symbolSize=6, symbolBrush=PATH, symbolPen=None
        )
        self._outline = pg.PlotCurveItem(pen=pg.mkPen(OUTLINE, width=1.5))
        self._dots = pg.ScatterPlotItem(size=3, pen=None, brush=pg.mkBrush("#ffd166c0"))
        self._states = [pg.TextItem(anchor=(0.5, 0.5), fill=pg.mkBrush("#000000b0")) for _ in "AB"]
        for item, height in (
            (self._shade, 1),
            (self._dots, 4),
            (self._outline, 5),
            (self._path, 6),
            *((s, 7) for s in self._states),
        ):
            item.setZValue(height)
            self.addItem(item, ignoreBounds=True)
        for item in self._states:
            item.hide()
        self.setToolTip(
            "<qt>Every particle's latent, as a density. Click: go there. Drag the target: move the map. "
            "Wheel: zoom. Drag: pan. Shift-drag: lasso. Alt-drag: draw a path. Hatched: too few particles to "
            "take the map for data.</qt>"
        )

    def shade(self, lacking: np.ndarray) -> None:
        """Hatch where there are too few particles, (cells, cells) or (cells, 1) over what is seen now."""
        fine = np.kron(lacking, np.ones((4, 4 if lacking.shape[1] > 1 else 1), bool))
        i, j = np.indices(fine.shape)
        hatch = np.zeros((*fine.shape, 4), np.ubyte)
        hatch[...] = (150, 156, 168, 0)
        hatch[..., 3] = np.where(fine, np.where((i + j) % 8 < 2, 90, 22), 0)
        low, high = self.span()
        self._shade.setImage(hatch, levels=(0, 255))
        self._shade.setRect(QRectF(QPointF(*map(float, low)), QPointF(*map(float, high))))

    def shaded(self) -> np.ndarray:
        """Picture of the hatching on show, (x, y, 4)."""
        return np.asarray(self._shade.image if self._shade.image is not None else np.zeros((1, 1, 4)))

    def show_path(self, places: np.ndarray) -> None:
        """Draw a path through places (F, 1 or 2)."""
        self._path.setData(places[:, 0], self._heights(places))

    def show_outline(self, outline: np.ndarray | None) -> None:
        """Draw the outline of the selection, or none."""
        if outline is None or not len(outline):
            self._outline.setData([], [])
            return
        if self.is_line:  # all that counts is between which values
            low, high, top = outline[:, 0].min(), outline[:, 0].max(), self.span()[1][1]
            outline = np.array([[low, 0], [low, top], [high, top], [high, 0]])
        closed = np.vstack([outline, outline[:1]])
        self._outline.setData(closed[:, 0], closed[:, 1])

    def show_chosen(self, places: np.ndarray) -> None:
        """Dot the chosen particles at places (M, 1 or 2), so many of them that all parts are seen."""
        few = places[:: max(1, len(places) // DOTS)]
        self._dots.setData(few[:, 0], self._heights(few) * (0.1 if self.is_line else 1.0))

    def mark(self, name: str, place: np.ndarray | None, color: str) -> None:
        """Put the letter A or B at a place, or take it away."""
        item = self._states["AB".index(name)]
        item.setVisible(place is not None)
        if place is not None:
            item.setText(name, color=color)
            item.setPos(float(place[0]), float(self._heights(place[None])[0]))

    def _heights(self, places: np.ndarray) -> np.ndarray:
        """Give second coordinates; in the histogram of one latent, half of its height."""
        if not self.is_line:
            return places[:, 1] if len(places) else places.ravel()
        top = max(1.0, float(self.counts().max())) if self.counts().size else 1.0
        return np.full(len(places), 0.5 * top)

    def _on_click(self, place: np.ndarray) -> None:
        self.go_to(place)
        self.picked.emit(np.array([place[0], 0.0 if self.is_line else place[1]]))
        self.let_go.emit()
