"""The dock "Train": motions before any training, what it has found, what is wrong, and the preview on the canvas."""

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QVBoxLayout

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import Job, read_job
from napari_flex3d.progress import Progress
from napari_flex3d.ui.docks import StageDock
from napari_flex3d.ui.motions import MotionsPanel
from napari_flex3d.ui.preview import Preview
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.summary import facts
from napari_flex3d.ui.tone import Sentence


class TrainDock(StageDock):
    """The dock "Train": the model learns; the strip "Monitor" shows the curves.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        intro = "Learn every particle's latent, the motion and the canonical map. Explore follows it."
        super().__init__(session, "train", "Start training", intro)
        self.preview_box = QCheckBox("Move the map while training")
        self.preview_box.setToolTip(
            "<qt>Show the motion, frame by frame, so slowly that the training hardly notices. The map itself is always "
            "that of the newest epoch.</qt>"
        )
        self.preview = Preview.of(session)
        self.preview_box.setChecked(self.preview.is_on)
        self.preview_box.toggled.connect(self.preview.set_on)
        self.column.insertWidget(self.column.indexOf(self.warnings), self.preview_box)
        self.motions = MotionsPanel(session, self.panel)
        self.column.insertWidget(self.column.indexOf(self.results), self.motions)
        layout = QVBoxLayout(self.results)
        layout.setContentsMargins(0, 4, 0, 0)
        self.verdict = Sentence()
        layout.addWidget(self.verdict)
        session.run_changed.connect(self._on_run)
        session.reported.connect(self._on_report)
        session.model_changed.connect(self._on_model)

    def show_results(self, job: Job) -> None:
        """Say how the training ended."""
        self.verdict.say(self.worded(*facts(job.summary)))

    def _on_run(self) -> None:
        if self.session.is_running and self.session.run_stage == "train":
            self.results.hide()
            self._warn(self.session.run_folder)
            self.session.want_monitor.emit()

    def _on_model(self, model: object) -> None:
        self._warn(self.session.model_job)

    def _on_report(self, report: Progress) -> None:
        if self.session.run_stage == "train" and report.message.startswith("Warning:"):
            self._warn(self.session.run_folder)

    def _warn(self, folder: Path | None) -> None:
        """Say what the job has warned of until now: it has written that down, and reports may be skipped."""
        try:
            self.warn(read_job(folder) if folder is not None else None)
        except InputError:  # it is just being made
            self.warn(None)
