"""Where segments come from besides the brush: files, the map, a training."""

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_flex3d.ui.job_edit import JobEdit, JobList
from napari_flex3d.ui.reasons import name_whole
from napari_flex3d.ui.sliders import new_slider

FILES = "Segmentations and models (*.seg *.mrc *.map *.pdb *.cif)"
KINDS = ("watershed", "parts", "comovement", "file")
TITLES = {
    "watershed": "regions of the map (watershed)",
    "parts": "connected parts above the contour",
    "comovement": "what moved together in a training",
    "file": "a segmentation or a model",
}
TIPS = {
    "watershed": "Regions around the peaks of the smoothed map. Move the slider: they follow.",
    "parts": "Pieces of the map that hang together above the contour below.",
    "comovement": "Parts of the mesh of a finished training that moved as rigid bodies do.",
    "file": "A .seg of Segger, a map of labels (.mrc), or the chains of a model in the map (.pdb, .cif).",
}
NARROWEST, WIDEST, USUAL = 4.0, 150.0, 40.0


class SourceBox(QWidget):
    """A box that says where segments come from, what that needs, and a button.

    Parameters
    ----------
    trainings
        Lists the training jobs.
    """

    wanted = Signal(dict)
    """Segments are wanted: parameters of the stage that say where from."""

    def __init__(self, trainings: JobList) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self.kind_box = QComboBox()
        for kind in KINDS:
            self.kind_box.addItem(TITLES[kind], kind)
        self.kind_box.setAccessibleName("Where segments come from")
        self.button = QPushButton("Propose")
        self.size_slider = new_slider("Size (Å)")
        self.size_slider.setRange(NARROWEST, WIDEST)
        self.size_slider.setDecimals(0)
        self.size_slider.setValue(USUAL)
        self.size_slider.setToolTip("About how wide a region is, Å. Larger gives fewer.")
        self.train_box = JobEdit(trainings)
        self.train_box.setToolTip("The finished training whose motion is looked at.")
        name_whole(self.train_box, "Training")
        self.count_box = QSpinBox()
        self.count_box.setAccessibleName("Parts")
        self.count_box.setRange(1, 12)
        self.count_box.setSpecialValueText("auto")
        self.count_box.setToolTip("How many parts; auto takes the largest number that is stable.")
        top = QHBoxLayout()
        top.addWidget(self.kind_box, 1)
        top.addWidget(self.button)
        column.addLayout(top)
        self.needs = QStackedWidget()
        for row in (
            (QLabel("Size (Å)"), self.size_slider),
            (),
            (self.train_box, QLabel("Parts"), self.count_box),
            (),
        ):
            self.needs.addWidget(_row(*row))
        column.addWidget(self.needs)
        self.kind_box.currentIndexChanged.connect(self._on_kind)
        self.size_slider.valueChanged.connect(lambda _: self._on_size())
        self.button.clicked.connect(self.ask)
        self.contour: float | None = None
        self._is_used = False
        self._on_kind(0)

    @property
    def kind(self) -> str:
        """Where segments come from."""
        return str(self.kind_box.currentData())

    def choose(self, kind: str) -> None:
        """Say where segments come from."""
        self.kind_box.setCurrentIndex(KINDS.index(kind))

    def source(self, file: Path | None = None) -> dict[str, Any]:
        """Parameters of the stage that say where segments come from."""
        if self.kind == "file":
            return {"segments": file}
        if self.kind == "comovement":
            count = self.count_box.value()
            return {
                "propose": "comovement",
                "train": self.train_box.value,
                "propose_count": "auto" if count < 2 else count,
            }
        if self.kind == "parts":
            return {"propose": "parts", "propose_contour": "auto" if self.contour is None else self.contour}
        return {"propose": "watershed", "propose_size": float(self.size_slider.value())}

    def ask(self) -> None:
        """Ask for segments; for those of a file, choose it first."""
        self._is_used = True
        if self.kind != "file":
            self.wanted.emit(self.source())
            return
        name, _ = QFileDialog.getOpenFileName(self, "Segments from a file", "", FILES)
        if name:
            self.wanted.emit(self.source(Path(name)))

    def _on_kind(self, index: int) -> None:
        self._is_used = False
        self.needs.setCurrentIndex(index)
        needed: Any = self.needs.currentWidget()
        self.needs.setFixedHeight(needed.sizeHint().height())
        self.button.setText("Open…" if self.kind == "file" else "Propose")
        for widget in (self.kind_box, self.button):
            widget.setToolTip(f"<qt>{TIPS[self.kind]}</qt>")
        if self.kind == "comovement":
            self.train_box.refresh()

    def _on_size(self) -> None:
        """Once regions were proposed they follow the slider: the newest size wins."""
        if self._is_used and self.kind == "watershed":
            self.wanted.emit(self.source())


def _row(*widgets: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, 0 if isinstance(widget, QLabel | QSpinBox) else 1)
    return row
