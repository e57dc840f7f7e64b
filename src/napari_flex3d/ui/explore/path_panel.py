"""The list of the path's points, and what can be done with them."""

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_flex3d.io.errors import InputError
from napari_flex3d.ui.explore.path import FRAMES, LatentPath
from napari_flex3d.ui.reasons import allow

SHOWN = 400
"""Rows of the list; a longer path is listed in part."""

NUMBERS = {1: "a point", 2: "two points", 3: "three points"}
PLACES = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1))


class PathPanel(QWidget):
    """Points with their latents, the way to them in Å, and the particles near.

    Parameters
    ----------
    path
        The path.
    """

    go = Signal(object)
    """(K,) latent of the point that was chosen."""
    add = Signal()
    """The latent on show should become a point."""
    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""

    def __init__(self, path: LatentPath) -> None:
        super().__init__()
        self.path = path
        self.table = QTableWidget(0, 0)
        self.table.setAccessibleName("Points of the path")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setFixedHeight(118)
        corner = self.table.findChild(QAbstractButton)
        if corner is not None:
            corner.setAccessibleName("Choose all points")
            corner.setToolTip("Choose all points.")
        rows: Any = self.table.verticalHeader()
        rows.setDefaultSectionSize(20)
        header: Any = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.frames_box = QSpinBox()
        self.frames_box.setRange(2, 999)
        self.frames_box.setValue(FRAMES)
        self.frames_box.setSuffix(" points")
        self.frames_box.setToolTip("How many points a path with equal steps has.")
        self.frames_box.setAccessibleName("Points of a path with equal steps")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.summary)
        layout.addLayout(self._buttons())
        self.table.itemSelectionChanged.connect(self._on_row)
        path.changed.connect(self.refresh)
        self.refresh()

    def _buttons(self) -> QGridLayout:
        grid = QGridLayout()
        buttons: tuple[tuple[str, str, Any], ...] = (
            ("Add", "Make the latent on show the next point of the path.", self.add.emit),
            ("Remove", "Take the chosen points out.", self._remove),
            ("Clear", "Begin a new path.", self._clear),
            ("Smooth", "Round the path off; its ends stay. Press again for more.", self.path.smooth),
            ("Equal steps", "Space the points evenly in Å of motion.", self._even),
            ("Open CSV…", "Read points from a table with columns z1, z2, …", self._open),
            (
                "Save CSV…",
                "Write the points and the particles near them; At, below Export, takes them.",
                self._save,
            ),
        )
        self.buttons: dict[str, QPushButton] = {}
        for k, (text, tip, action) in enumerate(buttons):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, action=action: action())
            self.buttons[text] = button
            grid.addWidget(button, *PLACES[k])
        grid.addWidget(self.frames_box, 1, 2)
        return grid

    def refresh(self) -> None:
        """List the points as they are now."""
        points = self.path.points
        has = len(points) > 0
        for text, least in (("Remove", 1), ("Clear", 1), ("Smooth", 3), ("Equal steps", 2), ("Save CSV…", 1)):
            allow(self.buttons[text], len(points) >= least, f"The path needs {NUMBERS[least]} first.")
        if not has:
            self.table.setRowCount(0)
            self.summary.setText("Alt-drag on the scatter draws a path; or go somewhere and add it.")
            return
        particles = self.path.particles()
        names = [*(f"z{k + 1}" for k in range(min(points.shape[1], 4))), "Å", "near"]
        self.table.blockSignals(True)
        self.table.setColumnCount(len(names))
        self.table.setHorizontalHeaderLabels(names)
        self.table.setRowCount(min(len(points), SHOWN))
        for row, (point, gone, near) in enumerate(
            zip(points[:SHOWN], self.path.gone, particles, strict=False)
        ):
            texts = [*(f"{value:+.2f}" for value in point[:4]), f"{gone:.1f}", f"{near:,}"]
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(row, column, item)
        self.table.blockSignals(False)
        self.summary.setText(
            f"{len(points)} points · {self.path.gone[-1]:.1f} Å of motion (rms) · "
            f"{int(particles.min()):,} to {int(particles.max()):,} particles near"
        )

    def _on_row(self) -> None:
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        if len(rows) == 1:
            self.path.at = rows[0]
            self.go.emit(self.path.points[rows[0]])

    def _remove(self) -> None:
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        self.path.remove(rows or [len(self.path.points) - 1])

    def _clear(self) -> None:
        self.path.set(np.zeros((0, self.path.points.shape[1])))

    def _even(self) -> None:
        self.path.even(self.frames_box.value())

    def _open(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a path", "", "Tables (*.csv)")
        if name:
            try:
                self.path.open(Path(name))
            except InputError as error:
                self.said.emit(str(error), True)

    def _save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the path", "path.csv", "Tables (*.csv)")
        if name:
            try:
                self.path.save(Path(name).with_suffix(".csv"))
                self.said.emit(f"{len(self.path.points)} points are in {name}.", False)
            except OSError as error:
                self.said.emit(f"{name} cannot be written: {error.strerror}", True)
