"""What leaves the window: movie, figure, moved model, volumes along the path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QPushButton, QSpinBox, QWidget

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import input_of
from napari_flex3d.report.figures import columns_of, particle_plane, save, shell_correlation
from napari_flex3d.ui.explore.atoms import MovingAtoms
from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.explore.movie import FPS, Movie
from napari_flex3d.ui.explore.scatter_panel import ScatterPanel
from napari_flex3d.ui.reasons import allow

FRAMES = 60


class ExportPanel(QWidget):
    """Buttons that write files.

    Parameters
    ----------
    explorer
        Has the map, the path and the selection.
    scatter_panel
        What the figure shows.
    atoms
        The model.
    """

    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""
    series_wanted = Signal(object)
    """Values for the form that writes volumes."""

    def __init__(self, explorer: Explorer, scatter_panel: ScatterPanel, atoms: MovingAtoms) -> None:
        super().__init__()
        self.explorer, self._scatter_panel, self._atoms = explorer, scatter_panel, atoms
        self.movie = Movie(explorer)
        self.movie.said.connect(self.said)
        self.movie.ended.connect(self.refresh)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Movie", self._movie_row())
        self.figure_button = self._button(
            "Figure…", "Scatter, and FSC of a reconstruction, as SVG or PDF.", self._figure
        )
        self.model_button = self._button(
            "Moved model…",
            "Write the atomic model as it is moved now, all atoms, as .pdb or .cif.",
            self._model,
        )
        self.volumes_button = self._button(
            "Volumes along path…",
            "Volumes at the points of the path, with a ChimeraX script: fills in the form below.",
            self._volumes,
        )
        row = QHBoxLayout()
        for button in (self.figure_button, self.model_button):
            row.addWidget(button)
        form.addRow("Files", row)
        form.addRow("", self.volumes_button)
        explorer.path.changed.connect(self.refresh)
        explorer.model_taken.connect(lambda _: self.refresh())
        self.refresh()

    def _movie_row(self) -> QHBoxLayout:
        self.camera_box = QComboBox()
        for text, value in (("still", "still"), ("one turn", "turn"), ("rock", "rock"), ("zoom in", "zoom")):
            self.camera_box.addItem(text, value)
        self.camera_box.setToolTip("What the camera does while the map goes along the course.")
        self.camera_box.setAccessibleName("Camera of the movie")
        self.frames_box = QSpinBox()
        self.frames_box.setRange(2, 2000)
        self.frames_box.setValue(FRAMES)
        self.frames_box.setSuffix(" pictures")
        self.frames_box.setToolTip(f"Pictures of the movie; it plays {FPS} a second.")
        self.frames_box.setAccessibleName("Pictures of the movie")
        self.movie_button = self._button(
            "Save…",
            "<qt>Film the canvas along the course that would be played, to and fro if that is chosen, as .mp4 or "
            ".gif. Press again to stop.</qt>",
            self._film,
        )
        row = QHBoxLayout()
        for widget in (self.camera_box, self.frames_box, self.movie_button):
            row.addWidget(widget)
        return row

    def _button(self, text: str, tip: str, action: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(tip)
        button.clicked.connect(lambda _=False: action())
        return button

    def refresh(self) -> None:
        """Show what can be written now."""
        has = self.explorer.model is not None
        for button in (self.movie_button, self.figure_button):
            allow(button, has, "Choose a training first.")
        self.movie_button.setText("Stop" if self.movie.is_running else "Save…")
        allow(self.model_button, has and self._atoms.path is not None, "Open a model in Extras first.")
        allow(
            self.volumes_button,
            len(self.explorer.path.points) > 0,
            "Draw a path first, or add points in Path.",
        )

    # -- writing -----------------------------------------------------------------------------------

    def _film(self) -> None:
        if self.movie.is_running:
            self.movie.stop()
            return
        course = self.explorer.player.course
        name, _ = QFileDialog.getSaveFileName(self, "Save a movie", "movie.mp4", "Movies (*.mp4 *.gif)")
        if not name or course is None:
            return
        path = Path(name) if Path(name).suffix in (".mp4", ".gif") else Path(name + ".mp4")
        to_and_fro = self.explorer.player.mode == "oscillate"
        self.movie.record(
            path, course, self.frames_box.value(), self.camera_box.currentData(), to_and_fro=to_and_fro
        )
        self.refresh()

    def _figure(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save a figure", "figure.pdf", "Figures (*.pdf *.svg *.png)"
        )
        plane = self._scatter_panel.plane
        if not name or plane is None:
            return
        path = Path(name) if Path(name).suffix in (".pdf", ".svg", ".png") else Path(name + ".pdf")
        points = self.explorer.path.points
        places = plane.place(points) if len(points) else np.zeros((0, 2))
        outline = self._scatter_panel.outline
        paints = [
            particle_plane(plane.points, plane.names, *self._scatter_panel.scatter.span(), places, outline)
        ]
        table, limit = self._correlation()
        if table:
            paints.append(shell_correlation(table, limit))
        self._write(path, lambda: save(path, *paints))

    def _correlation(self) -> tuple[dict[str, list[float]], float | None]:
        """Table of the newest reconstruction of this training, and the limit of the training in Å."""
        session = self.explorer.session
        limit = self.explorer.model.facts.get("training_limit_A")
        for job in session.jobs("reconstruct"):
            try:
                if session.model_job is not None and input_of(job, "train") == session.model_job.resolve():
                    return columns_of(job / "fsc.csv"), limit
            except InputError:
                continue
        return {}, limit

    def _model(self) -> None:
        suffix = self._atoms.path.suffix if self._atoms.path is not None else ".cif"
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the moved model", f"moved{suffix}", "Atomic models (*.pdb *.cif)"
        )
        if name:
            path = Path(name)
            self._write(path, lambda: self._atoms.save(path, self.explorer.latent))

    def _volumes(self) -> None:
        session, whole = self.explorer.session, self.explorer.whole
        number = len(list(session.project.glob("path-*.csv"))) + 1
        path = session.project / f"path-{number}.csv"
        session.project.mkdir(parents=True, exist_ok=True)
        self._write(path, lambda: self.explorer.path.save(path))
        given: dict[str, Any] = {"at": path}
        if whole is not None and whole.path is not None:
            given["map"] = whole.path
        self.series_wanted.emit(given)

    def _write(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
        except (InputError, OSError) as error:
            self.said.emit(str(error), True)
        else:
            self.said.emit(f"{path} is written.", False)
