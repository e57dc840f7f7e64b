"""A plot that is drawn once for all that has changed in it."""

from typing import Any

import pyqtgraph as pg

from napari_flex3d.ui.tone import PLOT_GROUND


class Plot(pg.PlotWidget):
    """A plot on dark ground, without menu and buttons.

    Parameters
    ----------
    given
        What pyqtgraph's own plot takes.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(background=PLOT_GROUND, **given)
        self.setMenuEnabled(False)
        self.getPlotItem().hideButtons()

    def name_axis(self, side: str, name: str, **style: str) -> None:
        """Write a name at an axis, "left" or "bottom", if another one stands there."""
        if self.getAxis(side).labelText != name:
            self.setLabel(side, name, **style)

    def settle(self) -> None:
        """Find the ranges now: found while the plot is drawn, as pyqtgraph does, they have it drawn once more."""
        self.scene().prepareForPaint()
