"""The scree plot of the motions that were found before any training."""

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt

from napari_flex3d.ui.monitor import Curves
from napari_flex3d.ui.scatter import INK

GREEN, GRAY = "#8bd17c", "#6b7380"
"""Of motions that the particles support, and of the others."""
SCREE_WORDS = (
    "Bend of each motion over the particles, Å rms, those that change the images most first. The dashed line is the "
    "largest that noise alone makes. Green ones are supported: larger than noise makes, and they explain particles "
    "that they were not found from."
)


class Scree(Curves):
    """How far each motion bends the particle, against what noise alone makes."""

    def __init__(self) -> None:
        super().__init__("motion", "bend (Å)")
        self.setToolTip(f"<qt>{SCREE_WORDS}</qt>")
        self.setMinimumHeight(120)
        self.showGrid(x=False, y=True, alpha=0.15)
        self.setMouseEnabled(x=False, y=False)
        self._items: list[pg.GraphicsObject] = []

    def sizeHint(self) -> QSize:
        """Low enough for a dock."""
        return QSize(300, 130)

    def take(self, columns: dict[str, np.ndarray]) -> None:
        """Draw the columns of ``motions.csv``."""
        for item in self._items:
            self.removeItem(item)
        colors = [GREEN if supported else GRAY for supported in columns["supported"]]
        bars = pg.BarGraphItem(
            x=columns["motion"], height=columns["internal_A"], width=0.7, brushes=colors, pens=colors
        )
        null = float(columns["null_A"][0])
        line = pg.InfiniteLine(
            null,
            0,
            pg.mkPen(INK, style=Qt.PenStyle.DashLine),
            label=f"noise alone, {null:.2f} Å",
            labelOpts={"color": INK, "position": 0.98, "anchors": [(1, 1), (1, 1)]},
        )
        self._items = [bars, line]
        for item in self._items:
            self.addItem(item)
        self.setXRange(0.4, len(colors) + 0.6, padding=0)
        self.setYRange(0, 1.15 * max(null, float(columns["internal_A"].max())), padding=0)
