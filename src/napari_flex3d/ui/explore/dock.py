"""The dock "Explore": density of the latents, a slider for each, and the map that follows."""

from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)
from superqt import QCollapsible, QLabeledDoubleSlider

from napari_flex3d.io.errors import InputError
from napari_flex3d.ui.explore.color_scale import ColorScale
from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.job_edit import JobEdit
from napari_flex3d.ui.panel import Dock, Sentence, StagePanel
from napari_flex3d.ui.scatter import LatentScatter
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.sliders import contour_range, new_slider, set_range


class ExploreDock(Dock):
    """Scatter, sliders, contour and player of one viewer's explorer.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session, "")
        self.intro.hide()
        self.explorer: Explorer = session.explorer
        self.sliders: list[QLabeledDoubleSlider] = []
        self._build_top()
        self.sliders_form = QFormLayout()
        self.column.addLayout(self.sliders_form)
        self._build_look()
        self._build_player()
        self.state = Sentence()
        self.column.addWidget(self.state)
        self._build_export()
        self.column.addStretch(0)
        self._connect()
        if self.explorer.model is not None:
            self._on_model(self.explorer.model)
        else:
            self._say_what_is_missing()

    # -- building ----------------------------------------------------------------------------------

    def _build_top(self) -> None:
        row = QHBoxLayout()
        row.addWidget(QLabel("Training"))
        self.job_box = JobEdit(lambda: self.session.jobs("train"))
        self.job_box.setToolTip("A training job; one that still runs is followed, checkpoint by checkpoint.")
        row.addWidget(self.job_box, 1)
        self.column.addLayout(row)
        self.axes_row = QWidget()
        axes = QHBoxLayout(self.axes_row)
        axes.setContentsMargins(0, 0, 0, 0)
        self.x_box, self.y_box = QComboBox(), QComboBox()
        for name, box in (("x", self.x_box), ("y", self.y_box)):
            axes.addWidget(QLabel(name))
            axes.addWidget(box, 1)
            box.setToolTip(f"Latent coordinate along {name}.")
        self.particles = QLabel()
        axes.addWidget(self.particles, 2, Qt.AlignmentFlag.AlignRight)
        self.column.addWidget(self.axes_row)
        self.scatter = LatentScatter()
        self.column.addWidget(self.scatter, 1)

    def _build_look(self) -> None:
        look = QFormLayout()
        self.show_box, self.color_box = QComboBox(), QComboBox()
        for text, value in (("Surface", "surface"), ("Volume", "volume"), ("Both", "both")):
            self.show_box.addItem(text, value)
        self.show_box.setToolTip("The surface moves while you drag; the volume is computed when you let go.")
        for text, value in (("Displacement (Å)", "displacement"), ("Plain", "plain")):
            self.color_box.addItem(text, value)
        self.color_box.setToolTip("Colour the surface by how far it has moved from the canonical map.")
        self.rest_check = QCheckBox("Map at rest")
        self.rest_check.setToolTip("Show the canonical map, translucent, to compare.")
        row = QHBoxLayout()
        row.addWidget(self.show_box, 1)
        row.addWidget(self.rest_check)
        look.addRow("Show", row)
        look.addRow("Colour", self.color_box)
        self.scale = ColorScale()
        look.addRow("", self.scale)
        self.contour_slider = new_slider()
        self.contour_slider.setToolTip("Density at which the surface is cut, in the units of the map.")
        look.addRow("Contour", self.contour_slider)
        self.low_pass_box = QDoubleSpinBox()
        self.low_pass_box.setRange(0.0, 100.0)
        self.low_pass_box.setSingleStep(0.5)
        self.low_pass_box.setDecimals(1)
        self.low_pass_box.setSpecialValueText("off")
        self.low_pass_box.setKeyboardTracking(False)
        self.low_pass_box.setToolTip(
            "<qt>Filter the map that is shown to this resolution, Å. It begins at the resolution that the "
            "training used; beyond that the canonical map is noise. The map on disk stays as it is.</qt>"
        )
        look.addRow("Low-pass (Å)", self.low_pass_box)
        self.column.addLayout(look)

    def _build_player(self) -> None:
        row = QHBoxLayout()
        self.play_button = QPushButton("▶ Play")
        self.play_button.setCheckable(True)
        self.play_button.setToolTip("Go to and fro along the course. Alt-P")
        self.course_box = QComboBox()
        self.course_box.setToolTip(
            "Coordinate or principal component to play along, from 1 to 99 % of the particles."
        )
        self.speed_box = QComboBox()
        for text, period in (("½×", 8.0), ("1×", 4.0), ("2×", 2.0)):
            self.speed_box.addItem(text, period)
        self.speed_box.setCurrentIndex(1)
        self.mean_button = QPushButton("Mean")
        self.mean_button.setToolTip("Go to the mean latent of the particles. Alt-0")
        for widget, stretch in (
            (self.play_button, 2),
            (self.course_box, 1),
            (self.speed_box, 1),
            (self.mean_button, 1),
        ):
            row.addWidget(widget, stretch)
        self.column.addLayout(row)

    def _build_export(self) -> None:
        fold = QCollapsible("Write volumes and a movie")
        self.panel = StagePanel(self.session, "generate", "Write series")
        fold.addWidget(self.panel)
        self.column.addWidget(fold)

    def _connect(self) -> None:
        explorer = self.explorer
        explorer.model_taken.connect(self._on_model)
        explorer.latent_changed.connect(self._on_latent)
        explorer.measured.connect(self.state.say)
        explorer.playing_changed.connect(self._on_playing)
        self.session.said.connect(self.state.say)
        self.session.jobs_changed.connect(self._on_jobs)
        self.session.run_changed.connect(self._say_what_is_missing)
        self.job_box.changed.connect(self._on_job)
        for box in (self.x_box, self.y_box):
            box.currentIndexChanged.connect(self._on_axes)
        self.scatter.picked.connect(explorer.go_to)
        self.scatter.let_go.connect(explorer.settle)
        self.show_box.currentIndexChanged.connect(lambda _: explorer.set_shown(self.show_box.currentData()))
        self.color_box.currentIndexChanged.connect(self._on_color)
        self.rest_check.toggled.connect(explorer.set_compare)
        self.contour_slider.valueChanged.connect(explorer.set_contour)
        self.low_pass_box.valueChanged.connect(explorer.set_low_pass)
        self.play_button.toggled.connect(explorer.play)
        self.course_box.currentIndexChanged.connect(self._on_course)
        self.speed_box.currentIndexChanged.connect(self._on_speed)
        self.mean_button.clicked.connect(explorer.go_to_mean)

    # -- the person does something -----------------------------------------------------------------

    def _on_job(self) -> None:
        job = self.job_box.value
        if job is not None and job != self.session.model_job:
            try:
                self.session.open(job)
            except InputError as error:
                self.state.say(str(error), bad=True)

    def _on_slider(self) -> None:
        self.explorer.go_to(np.array([slider.value() for slider in self.sliders]))

    def _on_axes(self) -> None:
        if self.explorer.model is not None and self.x_box.count():
            axes = (self.x_box.currentIndex(), max(0, self.y_box.currentIndex()))
            self.scatter.show_latents(self.explorer.model.latents, axes)
            self.scatter.go_to(self.explorer.latent)

    def _on_color(self) -> None:
        self.explorer.set_colored(self.color_box.currentData())
        self.scale.setVisible(self.color_box.currentData() == "displacement")

    def _on_course(self, index: int) -> None:
        if 0 <= index < len(self.explorer.courses):
            self.explorer.course = self.explorer.courses[index]

    def _on_speed(self) -> None:
        self.explorer.period = self.speed_box.currentData()

    # -- something has changed ---------------------------------------------------------------------

    def _say_what_is_missing(self) -> None:
        if self.explorer.model is not None:
            return
        if self.session.model_job is not None:
            self.state.say(
                f"{self.session.model_job.name} has no checkpoint yet; the map appears after its first epoch."
            )
        else:
            self.state.say("Choose a training job to explore, or train one first.", quiet=True)

    def _on_jobs(self) -> None:
        self.job_box.blockSignals(True)
        self.job_box.refresh()
        if self.session.model_job is not None:
            self.job_box.value = self.session.model_job
        self.job_box.blockSignals(False)
        self._say_what_is_missing()

    def _on_model(self, model: Any) -> None:
        dims = model.latent_dims
        for box, at in ((self.x_box, 0), (self.y_box, min(1, dims - 1))):
            if box.count() != dims:
                _fill(box, [f"z{k + 1}" for k in range(dims)], at)
        _fill(self.course_box, [c.name for c in self.explorer.courses], self._course_index())
        self.axes_row.setVisible(dims > 1)
        self.particles.setText(f"{len(model.latents):,} particles")
        self._make_sliders(dims)
        for slider, (low, high) in zip(self.sliders, self.explorer.limits, strict=True):
            set_range(slider, low, high)
        self.low_pass_box.blockSignals(True)
        self.low_pass_box.setValue(self.explorer.low_pass)
        self.low_pass_box.blockSignals(False)
        set_range(self.contour_slider, *contour_range(self.explorer.density))
        self.contour_slider.blockSignals(True)
        self.contour_slider.setValue(self.explorer.contour)
        self.contour_slider.blockSignals(False)
        self.scale.set_largest(self.explorer.largest)
        self._on_axes()
        self._on_jobs()

    def _make_sliders(self, dims: int) -> None:
        if len(self.sliders) == dims:
            return
        while self.sliders_form.rowCount():
            self.sliders_form.removeRow(0)
        self.sliders = []
        for k in range(dims):
            slider = new_slider()
            slider.setToolTip(
                f"Latent coordinate {k + 1}, from the 1st to the 99th percentile of the particles."
            )
            slider.valueChanged.connect(self._on_slider)
            slider.sliderReleased.connect(self.explorer.settle)
            self.sliders_form.addRow(f"z{k + 1}", slider)
            self.sliders.append(slider)

    def _course_index(self) -> int:
        course = self.explorer.course
        return self.explorer.courses.index(course) if course in self.explorer.courses else 0

    def _on_latent(self, latent: np.ndarray) -> None:
        for slider, value in zip(self.sliders, latent, strict=False):
            slider.blockSignals(True)
            slider.setValue(float(np.clip(value, slider.minimum(), slider.maximum())))
            slider.blockSignals(False)
        self.scatter.go_to(latent)

    def _on_playing(self, on: bool) -> None:
        self.play_button.blockSignals(True)
        self.play_button.setChecked(on)
        self.play_button.blockSignals(False)
        self.play_button.setText("❚❚ Pause" if on else "▶ Play")


def _fill(box: QComboBox, names: list[str], at: int) -> None:
    box.blockSignals(True)
    box.clear()
    box.addItems(names)
    box.setCurrentIndex(at)
    box.blockSignals(False)
