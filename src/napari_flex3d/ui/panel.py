"""What every stage's dock is made of: the form, Start and Stop, how far it is, and one sentence."""

import time
from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_flex3d.io.errors import InputError, sentence_of
from napari_flex3d.jobs import read_job
from napari_flex3d.progress import Progress
from napari_flex3d.ui.forms import ParamsForm
from napari_flex3d.ui.process import Place
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.summary import in_words
from napari_flex3d.ui.tone import Sentence

PLACES: dict[Place, str] = {"window": "in this window", "process": "as its own process"}
"""Where a stage can be started, in words."""


class StagePanel(QWidget):
    """Form, buttons, bar and sentence of one stage.

    Parameters
    ----------
    session
        The viewer's session.
    stage
        Name of the stage.
    verb
        Text of the button that starts it.
    """

    formed = Signal()
    """The form is there."""

    def __init__(self, session: Session, stage: str, verb: str = "Start") -> None:
        super().__init__()
        self.session, self.stage = session, stage
        self.form: ParamsForm | None = None
        self._details = ""
        self._begun = time.monotonic()
        self._first: Progress | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.start_button = QPushButton(verb)
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop after the present step; what is finished is kept. Alt-.")
        self.resume_button = QPushButton("Resume")
        self.resume_button.setToolTip("Go on with the newest job that was stopped or failed.")
        self.copy_button = QPushButton("Copy details")
        self.copy_button.setToolTip("Put the whole error and the end of the log on the clipboard.")
        self.place_box = QComboBox()
        self.place_box.setAccessibleName("Where it runs")
        self.place_box.setToolTip(
            "<qt>In this window: the map and the curves follow every step. As its own process: it goes on when the "
            "window is closed, and the window follows what it writes down.</qt>"
        )
        for place, words in PLACES.items():
            self.place_box.addItem(words, place)
        self.place_box.setCurrentIndex(self.place_box.findData(session.settings["runs_in"]))
        self.place_box.activated.connect(lambda _: self._remember_place())
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.sentence = Sentence("Loading…")
        buttons = QHBoxLayout()
        for button in (self.start_button, self.stop_button, self.resume_button, self.place_box):
            buttons.addWidget(button)
        self.resume_button.setVisible(session.stages[stage].resumable)
        self._layout.addLayout(buttons)
        self._layout.addWidget(self.bar)
        self._layout.addWidget(self.sentence)
        self._layout.addWidget(self.copy_button, 0, Qt.AlignmentFlag.AlignLeft)
        self.start_button.clicked.connect(self.start)
        self.stop_button.clicked.connect(session.stop)
        self.resume_button.clicked.connect(self.resume)
        self.copy_button.clicked.connect(self._copy)
        self.copy_button.hide()
        self.bar.hide()
        session.ready.connect(self._build)
        session.jobs_changed.connect(self._on_jobs)
        session.run_changed.connect(self._update)
        session.reported.connect(self._on_report)
        session.run_ended.connect(self._on_end)
        self._build() if session.is_ready else session.prepare()
        self._update()

    # -- the form ----------------------------------------------------------------------------------

    def _build(self) -> None:
        if self.form is not None:
            return
        self.form = ParamsForm(self.session.stages[self.stage].params, self._offered, self.stage)
        self.form.changed.connect(self._update)
        self._layout.insertWidget(0, self.form)
        self.sentence.say("")
        self._on_jobs()
        self.formed.emit()

    def insert(self, widget: QWidget) -> None:
        """Put a widget between the form and the buttons."""
        self._layout.insertWidget(0 if self.form is None else 1, widget)

    def _offered(self, name: str) -> list[Any]:
        return self.session.jobs(name)

    def _on_jobs(self) -> None:
        """Take the finished job of the stage before as the input."""
        if self.form is None:
            return
        self.form.refresh()
        for name, row in self.form.rows.items():
            if row.info.path == "job" and row.info.required and name in self.session.current:
                row.value = self.session.current[name]
        self._update()

    def fill_from(self, params: dict[str, Any]) -> None:
        """Show the parameters that a job was run with."""
        if self.form is not None:
            self.form.fill(params)
            self._update()

    # -- running -----------------------------------------------------------------------------------

    @property
    def is_mine(self) -> bool:
        """Whether the stage that runs is this one."""
        return self.session.is_running and self.session.run_stage == self.stage

    def start(self) -> None:
        """Run the stage with the form's values in a new job."""
        self._begin(resume=False)

    def resume(self) -> None:
        """Go on with the newest job of this stage that did not reach its end."""
        self._begin(resume=True)

    def _begin(self, *, resume: bool) -> None:
        apart = self.place_box.currentData() == "process"
        self._details, self._first, self._begun = "", None, time.monotonic()
        self.copy_button.hide()
        try:
            if self.form is None:
                raise InputError("The form is still loading.")
            if not resume:
                if absent := self.form.absent():
                    raise InputError(absent)
                folder = self.session.start(self.stage, self.form.params(), apart=apart)
            else:
                job = self._unfinished()
                if job is None:
                    raise InputError("There is no stopped job of this stage to go on with.")
                folder = self.session.resume(job.folder, self.stage, apart=apart)
            self.sentence.say(f"{folder.name} · starting…")
        except Exception as error:
            is_ours = isinstance(error, ValueError)  # a parameter that is refused, or an InputError
            self._say(f"Cannot start: {error if is_ours else sentence_of(error)}", bad=True)

    def _say(self, text: str, *, bad: bool = False, quiet: bool = False) -> None:
        self.sentence.say(self.session.worded(text, self.stage), bad=bad, quiet=quiet)

    def _remember_place(self) -> None:
        self.session.settings["runs_in"] = self.place_box.currentData()

    def _unfinished(self) -> Any:
        for folder in self.session.jobs(self.stage):
            job = read_job(folder)
            if job.state in ("stopped", "failed"):
                return job
        return None

    def _update(self) -> None:
        """Make buttons and bar say what can be done now."""
        mine, running = self.is_mine, self.session.is_busy
        form = self.form
        problem = form.problem() if form is not None else "The form is still loading."
        self.start_button.setVisible(not mine)
        self.stop_button.setVisible(mine)
        self.resume_button.setVisible(
            not mine and self.session.stages[self.stage].resumable and self._unfinished() is not None
        )
        self.start_button.setEnabled(not running and not problem)
        self.resume_button.setEnabled(not running)
        self.start_button.setToolTip(
            problem
            or (f"{self.session.run_stage} is running." if running else self.session.stages[self.stage].title)
        )
        stopping = mine and self.session.run is not None and self.session.run.is_stopping
        self.stop_button.setEnabled(mine and not stopping)
        self.stop_button.setText("Stopping…" if stopping else "Stop")
        self.place_box.setVisible(not mine)
        self.bar.setVisible(mine)
        if problem and self.form is not None and not running and not self._details:
            self._say(problem, quiet=True)
        elif self.sentence.tone != "plain" and not self._details and not mine:
            self.sentence.say("")

    def _on_report(self, report: Progress) -> None:
        if not self.is_mine or self.session.run_folder is None:
            return
        self.bar.setRange(0, max(report.total, 1))
        self.bar.setValue(report.step)
        parts = [self.session.run_folder.name]
        if report.message:
            parts.append(report.message)
        left = self._time_left(report)
        self._say(" · ".join(parts + ([left] if left else [])))

    def _time_left(self, report: Progress) -> str:
        """Say how long it will take at the pace since this dock first heard of it; a resumed job begins late."""
        if self._first is None or self._first.total != report.total or report.step < self._first.step:
            self._first, self._begun = report, time.monotonic()
        gone, done = time.monotonic() - self._begun, report.step - self._first.step
        if not report.total or done < 1 or gone < 5:
            return ""
        return f"about {in_words(gone * (report.total - report.step) / done)} left"

    def _on_end(self, stage: str, outcome: str, result: Any) -> None:
        if stage != self.stage:
            return
        name = self.session.run_folder.name if self.session.run_folder else stage
        took = in_words(self._seconds())
        self._details = ""
        if outcome == "failed":
            self._details = f"{type(result).__name__}: {result}"
            where = "Copy details puts all about it on the clipboard"
            self._say(f"{name} failed: {sentence_of(result, where)}", bad=True)
        elif outcome == "stopped":
            tail = " Resume goes on from there." if self.session.stages[stage].resumable else ""
            self.sentence.say(f"{name} was stopped; what was finished is kept.{tail}")
        else:
            self.sentence.say(f"{name} is done, in {took}.")
        self.copy_button.setVisible(outcome == "failed")
        self._update()

    def _seconds(self) -> float:
        """How long the job took in all, as it has written down itself."""
        folder = self.session.run_folder
        try:
            return float(read_job(folder).record["seconds"]) if folder is not None else 0.0
        except (InputError, KeyError):
            return 0.0

    def _copy(self) -> None:
        log = self.session.run_folder / "log.txt" if self.session.run_folder else None
        tail = log.read_text()[-4000:] if log is not None and log.is_file() else ""
        clipboard: Any = QGuiApplication.clipboard()
        clipboard.setText(f"{self._details}\n\n{tail}")
