"""Particles over one or two coordinates as a density, with the place on show as a target that can be dragged."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, QRectF, QSize, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QWidget
from scipy.ndimage import gaussian_filter

from napari_flex3d.ops.planes import binned
from napari_flex3d.ui.plot import Plot

BINS = 128
LINE_BINS = 60
INK, ACCENT = "#d0d4da", "#ff8c42"


def smoothed(counts: np.ndarray) -> np.ndarray:
    """Estimate the density of points from their counts: the fewer there are, the wider each is spread.

    Notes
    -----
    Gaussian kernel of half of Scott's width (Scott 1992, two dimensions), if the standard deviation of the
    points to be a sixth of the picture.
    """
    width = len(counts) / 6 * max(counts.sum(), 1) ** (-1 / 6) / 2
    return gaussian_filter(counts.astype(np.float32), width, mode="constant")


class LatentScatter(Plot):
    """Density of the particles over one or two coordinates; a click moves the target there.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    view
        What receives the mouse, if not pyqtgraph's own box.
    """

    picked = Signal(object)
    """(2,) coordinates that a click or the dragged target points at; the second is 0 for one coordinate."""
    let_go = Signal()
    """A click or a drag is over."""
    binned = Signal()
    """The counts on show are new: another stretch of the plane is seen."""

    def __init__(self, parent: QWidget | None = None, view: pg.ViewBox | None = None) -> None:
        super().__init__(parent=parent, viewBox=view)
        self.points = np.zeros((0, 2), np.float32)
        self._values: np.ndarray | None = None
        self._limits = (0.0, 1.0)
        self._counts = np.zeros(0)
        self.setMinimumHeight(150)
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(INK)
            self.getAxis(side).setTextPen(INK)
        self._image = pg.ImageItem()
        self._bars = pg.PlotCurveItem(
            [0.0, 1.0], [0.0], stepMode="center", fillLevel=0, brush="#3b7ea180", pen="#6fb7dd"
        )
        self._target = pg.TargetItem(size=16, pen=pg.mkPen(ACCENT, width=2), brush="#00000060", movable=True)
        self._line = pg.InfiniteLine(angle=90, movable=True, pen=pg.mkPen(ACCENT, width=2))
        for item, height in ((self._image, 0), (self._bars, 0), (self._target, 10), (self._line, 10)):
            self.addItem(item)
            item.setZValue(height)
        self._target.sigPositionChanged.connect(self._on_target)
        self._target.sigPositionChangeFinished.connect(lambda *_: self.let_go.emit())
        self._line.sigDragged.connect(self._on_line)
        self._line.sigPositionChangeFinished.connect(lambda *_: self.let_go.emit())
        self._rebin = QTimer(self)
        self._rebin.setSingleShot(True)
        self._rebin.setInterval(50)
        self._rebin.timeout.connect(self.bin)
        self.getViewBox().sigRangeChanged.connect(lambda *_: self._rebin.start())

    def sizeHint(self) -> QSize:
        """Low enough that a dock shows its sliders as well."""
        return QSize(300, 185)

    @property
    def is_line(self) -> bool:
        """Whether there is one coordinate only, drawn as a histogram."""
        return self.points.shape[1] == 1

    def show_latents(self, latents: np.ndarray) -> None:
        """Show the density of these latents, (N, K), over their first two coordinates."""
        self.show_points(np.asarray(latents)[:, :2], ("z1", "z2"))

    def show_points(self, points: np.ndarray, names: tuple[str, ...]) -> None:
        """Show particles at these coordinates, (N, 1) or (N, 2)."""
        self.points = np.ascontiguousarray(points, np.float32)
        for item, one in (
            (self._image, False),
            (self._target, False),
            (self._bars, True),
            (self._line, True),
        ):
            item.setVisible(self.is_line == one)
        self.name_axis("bottom", names[0])
        self.name_axis("left", "particles" if self.is_line else names[1])
        if self._values is not None and len(self._values) != len(self.points):
            self._values = None
        self.fit()
        self.bin()
        self.settle()
        self._rebin.stop()  # which fitting has asked for

    def show_values(self, values: np.ndarray | None, limits: tuple[float, float] = (0.0, 1.0)) -> None:
        """Colour by the mean of these values (N) in every bin, or by the density again."""
        if values is None and self._values is None:
            return
        self._values = None if values is None else np.ascontiguousarray(values, np.float32)
        self._limits = limits
        self.bin()

    def go_to(self, place: np.ndarray) -> None:
        """Put the target on a place, (2,), without telling anyone."""
        for item in (self._target, self._line):
            item.blockSignals(True)
        self._line.setValue(float(place[0]))
        self._target.setPos(float(place[0]), float(place[-1]))
        for item in (self._target, self._line):
            item.blockSignals(False)

    def counts(self) -> np.ndarray:
        """Give the counts on show: (bins,) for one coordinate, (bins, bins) for two."""
        return self._counts

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners (x, y) of what is seen."""
        (x_low, x_high), (y_low, y_high) = self.getViewBox().viewRange()
        return np.array([x_low, y_low]), np.array([x_high, y_high])

    def fit(self) -> None:
        """Show 99.8 % of the particles on every axis."""
        if not len(self.points):
            return
        low, high = np.percentile(self.points[:: max(1, len(self.points) // 100_000)], [0.1, 99.9], axis=0)
        margin = np.maximum(0.08 * (high - low), 1e-3)
        self.setXRange(low[0] - margin[0], high[0] + margin[0], padding=0)
        if not self.is_line:
            self.setYRange(low[1] - margin[1], high[1] + margin[1], padding=0)

    def bin(self) -> None:
        """Count the particles over what is seen now, and draw them."""
        if not len(self.points):
            return
        low, high = self.span()
        if self.is_line:
            self._counts, edges = np.histogram(self.points[:, 0], bins=LINE_BINS, range=(low[0], high[0]))
            self._bars.setData(edges, self._counts)
            self.getViewBox().setLimits(yMin=0)
            self.getViewBox().setYRange(0, max(1, self._counts.max()) * 1.05, padding=0)
        else:
            self._counts = binned(self.points, low, high, BINS)
            self._paint(low, high)
        self.binned.emit()

    def _paint(self, low: np.ndarray, high: np.ndarray) -> None:
        density = smoothed(self._counts)
        top = max(float(density.max()), 1e-6)
        if self._values is None:
            self._image.setLookupTable(DENSITY)
            self._image.setImage(np.sqrt(density), levels=(0, np.sqrt(top)))
        else:
            total = smoothed(binned(self.points, low, high, BINS, self._values))
            mean = total / np.maximum(density, 1e-6 * top)
            start, end = self._limits
            color = VALUES[np.clip(255 * (mean - start) / max(end - start, 1e-12), 0, 255).astype(np.uint8)]
            color[..., 3] = np.clip(255 * (0.25 + 2 * np.sqrt(density / top)), 0, 255) * (
                density > 2e-3 * top
            )
            self._image.setLookupTable(None)
            self._image.setImage(color, levels=(0, 255))
        self._image.setRect(QRectF(QPointF(*map(float, low)), QPointF(*map(float, high))))

    def _on_target(self) -> None:
        self.picked.emit(np.array([self._target.pos().x(), self._target.pos().y()]))

    def _on_line(self) -> None:
        self.picked.emit(np.array([self._line.value(), 0.0]))


def _table(of: Callable[[], Any]) -> np.ndarray:
    table = of().getLookupTable(nPts=256, alpha=True)
    return np.ascontiguousarray(table, np.uint8)


DENSITY = _table(lambda: pg.colormap.get("viridis"))
"""Viridis above nothing at all: empty bins are clear."""
DENSITY[:, 3] = np.clip(np.arange(256) * 16, 0, 255)
VALUES = _table(lambda: pg.colormap.get("plasma"))
"""Colours of a value that particles have."""
