"""The dock "Reconstruct": half-maps with the motion undone, beside what the same solver finds without it."""

from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledDoubleSlider

from napari_flex3d.jobs import Job
from napari_flex3d.resolutions import KINDS, PLAIN, curve_names
from napari_flex3d.ui.docks import StageDock
from napari_flex3d.ui.monitor import SOLID, Curves
from napari_flex3d.ui.reasons import allow
from napari_flex3d.ui.scatter import INK
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.sliders import contour_range, new_slider, set_range
from napari_flex3d.ui.summary import read_columns, resolution_table
from napari_flex3d.ui.tone import Sentence
from napari_flex3d.ui.twin_maps import DIFFERENCE
from napari_flex3d.ui.twins import TWIN_KEY, Twins, View

GRAY, LIMIT = "#808890", "#c9a227"
COLORS = {"flex": "#4fc3e8", "rigid": "#ff8c42"}
CRITERIA = (0.143, 0.5)
VIEWS: dict[View, str] = {
    "map": "Map",
    "halves": "Both half-maps",
    "difference": "Difference, flexible minus rigid",
    "gain": "Gain in local resolution",
}
"""What can be shown, in words."""


class ReconstructDock(StageDock):
    """The dock "Reconstruct": maps, correlations and resolutions, with the motion and without."""

    def __init__(self, session: Session) -> None:
        intro = "Reconstruct both half-maps with the motion undone, and a rigid twin to compare."
        super().__init__(session, "reconstruct", "Reconstruct", intro)
        self.twins = Twins(session)
        layout = QVBoxLayout(self.results)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addLayout(self._twin_row())
        layout.addLayout(self._look())
        self.state = Sentence()
        layout.addWidget(self.state)
        self.table = QLabel()
        self.table.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.table)
        self.correlation = Correlation()
        layout.addWidget(self.correlation)
        self.twins.changed.connect(self._on_twins)
        # the canvas has the key while it has the focus; here it works wherever nobody types
        self._shortcut = QShortcut(QKeySequence(TWIN_KEY), self)
        self._shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        self._shortcut.activated.connect(self.twins.toggle)

    def _twin_row(self) -> QHBoxLayout:
        row = self._buttons(
            (
                "Show maps",
                "Show the maps of this reconstruction, and fit the canvas to them.",
                self.show_layers,
            )
        )
        self.kind_buttons: dict[str, QPushButton] = {}
        group = QButtonGroup(self)
        for kind, words in KINDS.items():
            button = QPushButton(words.capitalize())
            button.setCheckable(True)
            button.setToolTip(
                f"<qt>The {words} map, at the same contour and from the same side. The key <b>{TWIN_KEY}</b> goes to "
                "the other one and back.</qt>"
            )
            button.clicked.connect(lambda _=False, kind=kind: self.twins.show(kind=kind))
            group.addButton(button)
            row.addWidget(button)
            self.kind_buttons[kind] = button
        return row

    def _look(self) -> QFormLayout:
        form = QFormLayout()
        self.view_box = QComboBox()
        self.view_box.setToolTip(
            "<qt>The map, its two half-maps, the density that the motion brings and takes away, or where it makes "
            f"the map finer. <b>{TWIN_KEY}</b> goes between flexible and rigid in each.</qt>"
        )
        self.view_box.activated.connect(lambda _: self.twins.show(self.view_box.currentData()))
        self.contour_slider, self.level_slider = new_slider("Contour"), new_slider("Difference")
        self.contour_slider.setToolTip(
            "Density at which all maps are cut, flexible and rigid, and half-maps."
        )
        self.contour_slider.valueChanged.connect(self.twins.set_contour)
        self.level_slider.setToolTip("Difference of density at which it is cut, above and below 0.")
        self.level_slider.valueChanged.connect(self.twins.set_level)
        self.level_label = QLabel("Difference")
        for label, field in (
            (QLabel("View"), self.view_box),
            (QLabel("Contour"), self.contour_slider),
            (self.level_label, self.level_slider),
        ):
            label.setBuddy(field)
            field.setAccessibleName(label.text())
            form.addRow(label, field)
        return form

    # -- results -----------------------------------------------------------------------------------

    def show_results(self, job: Job) -> None:
        """Fourier shell correlations, and the resolutions in a table."""
        self.table.setText(resolution_table(job.summary))
        self.correlation.take(job)
        maps = self.twins.open(job.folder)
        self.view_box.clear()
        for view in self.twins.views:
            self.view_box.addItem(VIEWS[view], view)
        why = "This job was made without its rigid twin (Rigid twin, above)."
        allow(self.kind_buttons["rigid"], self.twins.has_twin, why)
        _set_slider(self.contour_slider, contour_range(maps.density("flex")), self.twins.contour)
        self._on_twins()

    def show_layers(self) -> None:
        """Show the flexible map; the rigid one is a key away, at the same contour."""
        self.twins.show_maps()

    def _on_twins(self) -> None:
        """Make buttons and sliders say what is on show."""
        twins = self.twins
        self.kind_buttons[twins.kind].setChecked(True)
        self.view_box.setCurrentIndex(max(0, self.view_box.findData(twins.view)))
        is_difference = twins.view == "difference"
        if twins.maps is not None and is_difference and not self.level_slider.isVisibleTo(self):
            top = float(abs(twins.maps.density(DIFFERENCE)).max())
            _set_slider(self.level_slider, (0.02 * top, 0.98 * top), twins.level)
        self.level_label.setVisible(is_difference)
        self.level_slider.setVisible(is_difference)
        self.state.say(twins.words, quiet=True)

    # -- the key -----------------------------------------------------------------------------------

    def showEvent(self, event: Any) -> None:
        """Listen to the key over the canvas."""
        super().showEvent(event)
        self.twins.listen(on=True)

    def hideEvent(self, event: Any) -> None:
        """Let the key go when the dock is closed, not when the window is made small."""
        if not event.spontaneous():
            self.twins.listen(on=False)
        super().hideEvent(event)


class Correlation(QWidget):
    """The Fourier shell correlation of flexible and rigid half-maps, of the whole or of a part."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[str, np.ndarray] = {}
        self._marks: list[pg.InfiniteLine] = []
        self._limit: float | None = None
        self.part_box = QComboBox()
        self.part_box.setAccessibleName("Part")
        self.part_box.setToolTip(
            "The whole particle or one part of it, corrected for the mask; or the whole without correction."
        )
        self.curves = Curves("resolution (Å)", "FSC")
        self.curves.setAxisItems({"bottom": ResolutionAxis()})
        self.curves.setLabel("bottom", "resolution (Å)")
        self.curves.setMinimumHeight(220)
        self.curves.setYRange(-0.05, 1.02, padding=0)
        self.curves.setToolTip(
            "<qt>Correlation of the half-maps. The motion was learned from frequencies "
            "below the training limit; beyond it the half-maps are independent.</qt>"
        )
        row = QFormLayout()
        row.addRow("Part", self.part_box)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.curves)
        self.part_box.currentIndexChanged.connect(lambda _: self._draw())

    def take(self, job: Job) -> None:
        """Read a job's correlations, and draw that of the part that was chosen before, or of the whole."""
        self._columns = read_columns(job.folder / "fsc.csv")
        self._limit = job.summary.get("training_limit_A")
        before = self.part_box.currentText()
        self.part_box.blockSignals(True)
        self.part_box.clear()
        plain = {words: name for name, words in PLAIN.items() if f"flex_{name}" in self._columns}
        for part, end in (curve_names(self._columns) | plain).items():
            self.part_box.addItem(part, end)
        self.part_box.setCurrentIndex(max(0, self.part_box.findText(before)))
        self.part_box.setEnabled(self.part_box.count() > 1)
        self.part_box.blockSignals(False)
        self._draw()

    def _draw(self) -> None:
        self.curves.clear_lines()
        for kind, name in KINDS.items():
            column = f"{kind}_{self.part_box.currentData()}"
            if column in self._columns:
                self.curves.draw(name, self._columns["frequency"], self._columns[column], COLORS[kind], SOLID)
        for mark in self._marks:
            self.curves.removeItem(mark)
        self._marks = [_mark(level, 0, f"{level:g}", GRAY, 0.93) for level in CRITERIA]
        if self._limit:
            self._marks.append(_mark(1 / self._limit, 90, f"training, {self._limit:.3g} Å", LIMIT, 0.82))
        for mark in self._marks:
            self.curves.addItem(mark)


class ResolutionAxis(pg.AxisItem):
    """An axis of spatial frequencies, 1/Å, that is labelled in Å."""

    def __init__(self) -> None:
        super().__init__("bottom", pen=INK, textPen=INK, text="resolution (Å)")
        self.enableAutoSIPrefix(False)  # else the title gets "(x0.001)", which is not so of Å

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        """Say which resolution each frequency stands for."""
        return [f"{1 / value:.3g}" if value > 0 else "∞" for value in values]


def _mark(at: float, angle: int, label: str, color: str, place: float) -> pg.InfiniteLine:
    pen = {"color": color, "style": Qt.PenStyle.DotLine}
    return pg.InfiniteLine(at, angle, pen, label=label, labelOpts={"color": color, "position": place})


def _set_slider(slider: QLabeledDoubleSlider, ends: tuple[float, float], value: float) -> None:
    set_range(slider, *ends)
    slider.blockSignals(True)
    slider.setValue(value)
    slider.blockSignals(False)
