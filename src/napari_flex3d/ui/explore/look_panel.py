"""What is shown of the map: surface or volume, which map, its contour, filter and colour."""

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QWidget,
)

from napari_flex3d.ui.explore.color_scale import ColorScale
from napari_flex3d.ui.explore.explorer import Explorer, open_map
from napari_flex3d.ui.explore.maps import offered_maps
from napari_flex3d.ui.sliders import contour_range, new_slider, set_range
from napari_flex3d.ui.unseen import WhenSeen

OTHER = "Other file…"


class LookPanel(QWidget):
    """How the map is drawn.

    Parameters
    ----------
    explorer
        What it steers.
    said
        Takes a sentence for the person, and whether something went wrong.
    """

    def __init__(self, explorer: Explorer, said: Any) -> None:
        super().__init__()
        self.explorer = explorer
        self._said = said
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Show", self._show_row())
        self.map_box = QComboBox()
        self.map_box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.map_box.setToolTip(
            "<qt>The map that is moved: the canonical map of the training, the consensus map, the flexible map of a "
            "reconstruction at its full resolution, or any file centred as the consensus map is.</qt>"
        )
        self.map_box.setAccessibleName("Map")
        form.addRow("Map", self.map_box)
        self.color_box = QComboBox()
        for text, value in (("Displacement (Å)", "displacement"), ("Plain", "plain")):
            self.color_box.addItem(text, value)
        self.color_box.setToolTip("Colour the surface by how far it has moved from the canonical map.")
        self.color_box.setAccessibleName("Colour")
        form.addRow("Colour", self.color_box)
        self.scale = ColorScale()
        form.addRow("", self.scale)
        self.contour_slider = new_slider("Contour")
        self.contour_slider.setToolTip(
            "<qt>Density at which the surface is cut. With another map or filter, the surface goes on enclosing the "
            "same volume.</qt>"
        )
        form.addRow("Contour", self.contour_slider)
        form.addRow("Low-pass (Å)", self._low_pass())
        self._connect()
        if explorer.model is not None:
            self._on_model()

    def _show_row(self) -> QHBoxLayout:
        self.show_box = QComboBox()
        self.show_box.setAccessibleName("Show")
        for text, value in (("Surface", "surface"), ("Volume", "volume"), ("Both", "both")):
            self.show_box.addItem(text, value)
        self.show_box.setToolTip(
            "<qt>The surface moves while you drag. The volume follows as far as the drawing keeps up: whole, on half "
            "the grid, or when you let go.</qt>"
        )
        self.rest_check = QCheckBox("Map at rest")
        self.rest_check.setToolTip("Show the map without motion, translucent, to compare.")
        row = QHBoxLayout()
        row.addWidget(self.show_box, 1)
        row.addWidget(self.rest_check)
        return row

    def _low_pass(self) -> QDoubleSpinBox:
        self.low_pass_box = QDoubleSpinBox()
        self.low_pass_box.setAccessibleName("Low-pass (Å)")
        self.low_pass_box.setRange(0.0, 100.0)
        self.low_pass_box.setSingleStep(0.5)
        self.low_pass_box.setDecimals(1)
        self.low_pass_box.setSpecialValueText("off")
        self.low_pass_box.setKeyboardTracking(False)
        self.low_pass_box.setToolTip(
            "<qt>Filter the map that is shown to this resolution, Å. For the canonical map it begins at the "
            "resolution that the training used; beyond that the map is noise. The map on disk stays as it is.</qt>"
        )
        return self.low_pass_box

    def _connect(self) -> None:
        explorer = self.explorer
        self._keep_up = WhenSeen(self, self._on_model, explorer.session, lambda: explorer.is_watched)
        explorer.model_taken.connect(self._keep_up.want)
        explorer.subject_taken.connect(lambda _: self._on_subject())
        explorer.session.jobs_changed.connect(self._offer_maps)
        self.show_box.currentIndexChanged.connect(lambda _: explorer.set_shown(self.show_box.currentData()))
        self.rest_check.toggled.connect(explorer.live.surface.set_compare)
        self.map_box.activated.connect(self._on_map)
        self.color_box.currentIndexChanged.connect(self._on_color)
        self.contour_slider.valueChanged.connect(explorer.set_contour)
        self.low_pass_box.valueChanged.connect(explorer.set_low_pass)

    def _on_map(self) -> None:
        path = self.map_box.currentData()
        if self.map_box.currentText() == OTHER:
            name, _ = QFileDialog.getOpenFileName(
                self, "Open a map", "", "Maps (*.mrc *.map *.mrc.gz *.map.gz)"
            )
            path = Path(name) if name else self.explorer.whole.path if self.explorer.whole else None
        problem = open_map(self.explorer, path)
        if problem:
            self._said(problem, True)
        self._offer_maps()

    def _on_color(self) -> None:
        explorer = self.explorer
        now = explorer.model.displacements(explorer.latent) if explorer.model is not None else None
        explorer.live.surface.set_colored(self.color_box.currentData(), now)
        self.scale.setVisible(self.color_box.currentData() == "displacement")

    def _on_model(self) -> None:
        self.scale.set_largest(self.explorer.live.surface.largest)
        self._offer_maps()
        self._on_subject()

    def _on_subject(self) -> None:
        explorer = self.explorer
        if explorer.subject is None:
            return
        self.low_pass_box.blockSignals(True)
        self.low_pass_box.setValue(explorer.low_pass)
        self.low_pass_box.blockSignals(False)
        set_range(self.contour_slider, *contour_range(explorer.subject.density))
        self.contour_slider.blockSignals(True)
        self.contour_slider.setValue(explorer.contour)
        self.contour_slider.blockSignals(False)

    def _offer_maps(self) -> None:
        explorer = self.explorer
        now = explorer.whole.path if explorer.whole is not None else None
        maps = offered_maps(explorer.session.model_job, explorer.session.jobs("reconstruct"))
        if now is not None and now not in [path for _, path in maps]:
            maps.append((now.name, now))
        self.map_box.blockSignals(True)
        self.map_box.clear()
        for name, path in maps:
            self.map_box.addItem(name, path)
        self.map_box.setCurrentIndex([path for _, path in maps].index(now))
        self.map_box.addItem(OTHER)
        self.map_box.blockSignals(False)
