"""The docks of stages that run, and that of Data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import Job, read_job
from napari_flex3d.ui.dock import Dock
from napari_flex3d.ui.layers import (
    FILE_KEY,
    MASK_COLORS,
    LayerData,
    grid_of,
    map_layer,
    stack_layer,
    surface_layer,
)
from napari_flex3d.ui.panel import StagePanel
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.summary import facts
from napari_flex3d.ui.surface import FlexSurface
from napari_flex3d.ui.tone import Sentence

MASK_LEVEL = 0.5
STACKED = (".star", ".cs", ".mrcs")
"""Endings of files that are images one above the other."""


class StageDock(Dock):
    """Dock of a stage: its panel, and below it what its newest job has given.

    Parameters
    ----------
    session
        The viewer's session.
    stage
        Name of the stage.
    verb
        Text of the button that starts it.
    intro
        What it takes and gives.
    """

    panel_kind: type[StagePanel] = StagePanel

    def __init__(self, session: Session, stage: str, verb: str, intro: str) -> None:
        super().__init__(session, intro)
        self.stage = stage
        self.panel = self.panel_kind(session, stage, verb)
        self.column.addWidget(self.panel)
        self.warnings = Sentence()
        self.column.addWidget(self.warnings)
        self.results = QWidget()
        self.results.hide()
        self.column.addWidget(self.results)
        self.column.addStretch(1)
        self.job: Job | None = None
        session.job_shown.connect(self._on_job)
        session.run_ended.connect(self._on_end)
        session.ready.connect(self._on_ready)
        session.file_dropped.connect(self._on_file)
        self._take_files()

    def show_job(self, job: Job) -> None:
        """Put the job's parameters into the form and its results below."""
        self.job = job
        self.panel.fill_from(job.params)
        self.warn(job)
        self.results.setVisible(job.state == "done")
        if job.state == "done":
            self.show_results(job)

    def show_results(self, job: Job) -> None:
        """Show what a finished job has given."""

    def show_layers(self) -> None:
        """Put the job's maps into the canvas."""

    def warn(self, job: Job | None) -> None:
        """Say what a job has warned of until now."""
        warnings = job.warnings if job is not None else []
        self.warnings.say(self.worded(*(f"• {text}" for text in warnings)), bad=True)

    def worded(self, *lines: str) -> str:
        """Lines that the stage has written, in the words of this dock."""
        return self.session.worded("\n".join(lines), self.stage)

    def _on_job(self, job: Job) -> None:
        folder = self.session.current.get(self.stage)
        if folder is not None and (self.job is None or self.job.folder != folder or job.stage == self.stage):
            self.session.try_to(lambda: self.show_job(read_job(folder)))

    def _on_ready(self) -> None:
        if self.job is not None:
            self.panel.fill_from(self.job.params)
        self._take_files()

    def _take_files(self) -> None:
        for kind, path in self.session.files.items():
            self._on_file(kind, path)

    def _on_file(self, kind: str, path: Path) -> None:
        """Take a file that was opened in the viewer, if none was chosen yet."""
        form = self.panel.form
        if form is not None and kind in form.rows and form.value_of(kind) is None:
            form.fill({kind: path})

    def _on_end(self, stage: str, outcome: str, result: Any) -> None:
        if stage == self.stage and outcome == "done" and self.session.run_folder is not None:
            folder = self.session.run_folder
            if self.session.try_to(lambda: self.show_job(read_job(folder))):
                self.session.try_to(self.show_layers)

    def _buttons(self, *buttons: tuple[str, str, Any]) -> QHBoxLayout:
        row = QHBoxLayout()
        for text, tip, slot in buttons:
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: self.session.try_to(slot))
            row.addWidget(button)
        return row

    def _put(self, layers: Iterable[LayerData], *, ndisplay: int = 3) -> None:
        """Replace the layers that this stage has shown before, and look at the new ones."""
        viewer = self.session.viewer
        if viewer is None:
            return
        self.session.explorer.step_back()
        for layer in list(viewer.layers):
            layer.visible = False
            if ndisplay == 3 and Path(layer.metadata.get(FILE_KEY, "")).suffix in STACKED:
                viewer.layers.remove(layer)  # thousands of images would be what the view is fitted to
        for data, look, kind in layers:
            if look["name"] in viewer.layers:
                viewer.layers.remove(look["name"])
            if kind == "surface":
                viewer.add_layer(FlexSurface(data, **look))
            else:
                getattr(viewer, f"add_{kind}")(data, **look)
        viewer.dims.ndisplay = ndisplay
        viewer.reset_view()


class DataDock(StageDock):
    """The dock "Data": particles, map and mask; the self-check of what they say."""

    def __init__(self, session: Session) -> None:
        intro = "Read particles, consensus map and mask; check signs and hand; crop and down-sample."
        super().__init__(session, "prep", "Prepare", intro)
        layout = QGridLayout(self.results)
        layout.setContentsMargins(0, 4, 0, 0)
        self.verdict = Sentence()
        self.picture = QLabel()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        layout.addLayout(
            self._buttons(
                ("Show map", "The consensus map with its mask, in 3-D.", self.show_layers),
                ("Show particles", "The particle images, one at a time.", self.show_particles),
            ),
            0,
            0,
        )
        layout.addWidget(self.verdict, 1, 0)
        layout.addWidget(self.picture, 2, 0)

    def show_results(self, job: Job) -> None:
        """Say what the self-check found, with its picture."""
        self.verdict.say(self.worded(*facts(job.summary)))
        picture = QPixmap(str(job.folder / "check.png"))
        self.picture.setVisible(not picture.isNull())
        if not picture.isNull():
            self.picture.setPixmap(picture.scaledToWidth(350, Qt.TransformationMode.SmoothTransformation))

    def show_layers(self) -> None:
        """Show the map as a surface inside its translucent mask; the image is there to switch on."""
        if self.job is None:
            return
        self._leave_particles()
        folder = self.job.folder
        volume, mask = read_map(folder / "map.mrc"), read_map(folder / "mask.mrc")
        image = map_layer(folder / "map.mrc")
        image[1].update(name="Map", visible=False, metadata={})
        self._put(
            [
                image,
                surface_layer(volume.data, grid_of(volume), "Map surface", gray=0.75),
                surface_layer(
                    mask.data,
                    grid_of(mask),
                    "Mask",
                    contour=MASK_LEVEL,
                    gray=1.0,
                    opacity=0.22,
                    colormap=MASK_COLORS,
                ),
            ]
        )

    def show_particles(self) -> None:
        """Show the particle images alone: they share no axis with the map."""
        if self.job is None or self.session.viewer is None:
            return
        layer = stack_layer(self.job.folder / "particles_train.mrcs")
        layer[1].update(name="Particles", metadata={})
        self._put([layer], ndisplay=2)

    def _leave_particles(self) -> None:
        viewer = self.session.viewer
        if viewer is not None and "Particles" in viewer.layers:
            viewer.layers.remove("Particles")
