"""Particles chosen on the scatter, and the file that they are written to."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_flex3d.io.errors import sentence_of
from napari_flex3d.ops.planes import inside_polygon
from napari_flex3d.select import write_chosen
from napari_flex3d.ui.reasons import allow

Combine = Literal["new", "add", "take"]


class Selection(QObject):
    """Which particles are chosen.

    Parameters
    ----------
    parent
        Owner in Qt's sense.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.chosen = np.zeros(0, bool)
        self.outline: np.ndarray | None = None
        self.combine: Combine = "new"

    @property
    def count(self) -> int:
        """How many."""
        return int(self.chosen.sum())

    def take(self, particles: int) -> None:
        """Be about so many particles; a selection of as many stays."""
        if len(self.chosen) != particles:
            self.chosen, self.outline = np.zeros(particles, bool), None
            self.changed.emit()

    def choose(self, points: np.ndarray, outline: np.ndarray) -> None:
        """Choose the particles at the points (N, 1 or 2) inside an outline, or add them, or take them away.

        Of one coordinate, those between the outline's ends.
        """
        if points.shape[1] == 1:
            low, high = outline[:, 0].min(), outline[:, 0].max()
            inside = (points[:, 0] >= low) & (points[:, 0] <= high)
        else:
            inside = inside_polygon(points, outline)
        if self.combine == "new":
            self.chosen = inside
        else:
            self.chosen = self.chosen | inside if self.combine == "add" else self.chosen & ~inside
        self.outline = outline
        self.changed.emit()

    def invert(self) -> None:
        """Choose all others."""
        self.chosen, self.outline = ~self.chosen, None
        self.changed.emit()

    def clear(self) -> None:
        """Choose none."""
        self.chosen, self.outline = np.zeros_like(self.chosen), None
        self.changed.emit()


class SelectionPanel(QWidget):
    """How many are chosen, and what can be done with them.

    Parameters
    ----------
    selection
        The selection.
    train_job
        Gives the training job that the particles are of.
    """

    go = Signal()
    """Go to the mean latent of the chosen particles."""
    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""
    saved = Signal(object)
    """File that the particles were written to."""

    def __init__(self, selection: Selection, train_job: Any) -> None:
        super().__init__()
        self.selection = selection
        self._train_job = train_job
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.combine_box = QComboBox()
        for text, value in (("New selection", "new"), ("Add to it", "add"), ("Take from it", "take")):
            self.combine_box.addItem(text, value)
        self.combine_box.setToolTip("What the next outline does.")
        self.combine_box.setAccessibleName("What the next outline does")
        self.combine_box.currentIndexChanged.connect(self._on_combine)
        self.save_button = QPushButton("Save particles…")
        self.save_button.setToolTip(
            "<qt>Write the chosen particles as a .star or .cs file, with everything that was in yours.</qt>"
        )
        self.mean_button = QPushButton("Go to mean")
        self.mean_button.setToolTip("Show the map at the mean latent of the chosen particles.")
        self.invert_button = QPushButton("Invert")
        self.invert_button.setToolTip("Choose all other particles.")
        self.clear_button = QPushButton("Clear")
        self.clear_button.setToolTip("Choose none.")
        grid = QGridLayout()
        grid.addWidget(self.combine_box, 0, 0)
        grid.addWidget(self.invert_button, 0, 1)
        grid.addWidget(self.clear_button, 0, 2)
        grid.addWidget(self.save_button, 1, 0)
        grid.addWidget(self.mean_button, 1, 1, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.summary)
        layout.addLayout(grid)
        self.save_button.clicked.connect(self._save)
        self.mean_button.clicked.connect(self.go)
        self.invert_button.clicked.connect(selection.invert)
        self.clear_button.clicked.connect(selection.clear)
        selection.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Say how many are chosen."""
        count, total = self.selection.count, len(self.selection.chosen)
        for button in (self.save_button, self.mean_button, self.clear_button):
            allow(button, count > 0, "Choose particles on the scatter first.")
        self.summary.setText(
            f"{count:,} of {total:,} particles chosen ({100 * count / total:.1f} %)"
            if count
            else "Shift-drag on the scatter chooses particles; or take the lasso, the box or the polygon."
        )

    def _on_combine(self) -> None:
        self.selection.combine = self.combine_box.currentData()

    def _save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the chosen particles", "selected.star", "Particles (*.star *.cs)"
        )
        job = self._train_job()
        if not name or job is None:
            return
        out = Path(name) if Path(name).suffix else Path(name).with_suffix(".star")
        self.save_button.setEnabled(False)
        worker: Any = create_worker(
            write_chosen, job, self.selection.chosen.copy(), out, _start_thread=False, _ignore_errors=True
        )
        worker.returned.connect(self._on_saved)
        worker.errored.connect(lambda error: self.said.emit(sentence_of(error), True))
        worker.finished.connect(self.refresh)
        worker.start()

    def _on_saved(self, said: dict[str, Any]) -> None:
        note = f" {said['note']}" if "note" in said else ""
        self.said.emit(f"{said['kept']:,} of {said['of']:,} particles are in {said['out']}.{note}", False)
        self.saved.emit(Path(said["out"]))
