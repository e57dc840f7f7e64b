"""The dock "Jobs": all jobs of the project folder in one list, wherever they run."""

from datetime import datetime
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QTimer, QUrl
from qtpy.QtGui import QColor, QDesktopServices
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_flex3d.jobs import Job, read_job
from napari_flex3d.ui.project import Entry
from napari_flex3d.ui.reasons import allow
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.summary import in_words
from napari_flex3d.ui.tone import COLORS, Sentence, ToneLabel, is_light

INTERVAL = 2000
"""Milliseconds between two looks at the jobs, while the list is seen."""

COLUMNS = ("job", "stage", "state", "begun", "took", "what it says")
TONES = {"running": "good", "failed": "bad", "broken": "bad", "stopped": "quiet"}
FOLDER = Qt.ItemDataRole.UserRole


class JobsDock(QWidget):
    """The jobs of a project: open, stop or resume any of them, and choose the project folder.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._seen: list[tuple[str, ...]] = []
        self.where = ToneLabel("", "quiet")
        self.where.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )  # a path can be long
        self.table = QTreeWidget()
        self.table.setHeaderLabels([name.capitalize() for name in COLUMNS])
        self.table.setRootIsDecorated(False)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setAccessibleName("Jobs")
        self.table.setMinimumHeight(50)
        header: Any = self.table.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.sentence = Sentence()
        self.sentence.setWordWrap(False)  # a strip has no height for more than a line
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.setSpacing(2)
        layout.addLayout(self._buttons())
        layout.addWidget(self.table, 1)
        layout.addWidget(self.sentence)
        self.table.itemDoubleClicked.connect(lambda *_: session.try_to(self.open))
        self.table.itemSelectionChanged.connect(self._update)
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self._look)
        session.jobs_changed.connect(self.refresh)
        session.run_changed.connect(self.refresh)
        session.said.connect(self._on_said)
        session.job_shown.connect(self._on_news)
        session.ending.connect(self._timer.stop)
        self.refresh()

    def _on_said(self, text: str) -> None:
        words = self.session.worded(text)
        self.sentence.say(words, bad=True)
        self.sentence.setToolTip(words)

    def _on_news(self, *_: object) -> None:
        self.sentence.say("")

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        made = {}
        for name, tip, slot in (
            ("Open", "Show this job and those that it was made from; follow it if it runs.", self.open),
            ("Stop", "Ask this job to stop after its present step, wherever it runs.", self.stop),
            ("Resume", "Go on with this stopped or failed job from what it left.", self.resume),
            ("Show folder", "Open this job's folder in the file browser.", self.show_folder),
            ("Project…", "Choose the folder that holds the jobs and takes new ones.", self.choose),
        ):
            button = made[name] = QPushButton(name)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, slot=slot: self.session.try_to(slot))
            row.addWidget(button)
        self.open_button, self.stop_button, self.resume_button, self.folder_button, self.project_button = (
            made.values()
        )
        row.addWidget(self.where, 1)
        return row

    # -- the list ----------------------------------------------------------------------------------

    def _look(self) -> None:
        if not self.visibleRegion().isEmpty():  # a dock behind another one in its tabs counts as visible
            self.refresh()

    def refresh(self) -> None:
        """Look at the project folder again."""
        if self.session.viewer is None:
            return
        entries = self.session.entries()
        rows = [self._row(entry) for entry in entries]
        if rows != self._seen:
            self._seen = rows
            chosen = self.chosen
            self.table.clear()
            for entry, row in zip(entries, rows, strict=True):
                self._add(entry, row)
                if entry.folder == chosen:
                    self.table.setCurrentItem(self.table.topLevelItem(self.table.topLevelItemCount() - 1))
        self.where.setText(str(self.session.project))
        self.where.setToolTip(str(self.session.project))
        if not rows:
            self.sentence.say(
                "No jobs yet: drop particles and a map on the canvas, or try File > Open Sample > 3DFlex.",
                quiet=True,
            )
        elif self.sentence.tone == "quiet":
            self.sentence.say("")
        self._update()

    def _add(self, entry: Entry, row: tuple[str, ...]) -> None:
        item = QTreeWidgetItem(list(row))
        item.setData(0, FOLDER, entry.folder)
        item.setToolTip(0, str(entry.folder))
        item.setToolTip(len(COLUMNS) - 1, row[-1])
        tone = TONES.get(row[2])
        if tone:
            item.setForeground(2, QColor(COLORS[tone][is_light(self)]))  # type: ignore[index]
        self.table.addTopLevelItem(item)

    def _row(self, entry: Entry) -> tuple[str, ...]:
        job = entry.job
        if job is None:
            return (entry.folder.name, "", "broken", "", "", self.session.worded(entry.problem))
        begun = job.record.get("started") or job.record.get("created") or ""
        took = in_words(job.record.get("seconds", 0.0)) if job.state != "running" else ""
        return (
            entry.folder.name,
            job.stage,
            job.state,
            _local(begun),
            took,
            self.session.worded(self._words(job), job.stage),
        )

    def _words(self, job: Job) -> str:
        """How far a running job is and where it runs; what a failed one failed with; warnings of the others."""
        if job.state == "failed":
            return str(job.record.get("error", "")).splitlines()[0]
        if job.state == "running":
            progress = job.record.get("progress") or {}
            parts = [str(progress.get("message") or "starting")]
            if progress.get("total"):
                parts.insert(0, f"{100 * progress['step'] / progress['total']:.0f} %")
            here = self.session.is_busy and self.session.run_folder == job.folder
            parts.append("in this window" if here else f"on {job.record.get('host', 'another machine')}")
            return " · ".join(parts)
        count = len(job.warnings)
        return f"{count} warning{'s' * (count > 1)}: {job.warnings[0]}" if count else ""

    # -- what can be done with a job ---------------------------------------------------------------

    @property
    def chosen(self) -> Path | None:
        """Folder of the chosen job."""
        item = self.table.currentItem()
        return item.data(0, FOLDER) if item is not None else None

    def choose_job(self, folder: Path) -> None:
        """Choose a job of the list."""
        for number in range(self.table.topLevelItemCount()):
            item: Any = self.table.topLevelItem(number)
            if item.data(0, FOLDER) == folder:
                self.table.setCurrentItem(item)

    def open(self) -> None:
        """Show the chosen job."""
        if self.chosen is not None:
            self.session.open(self.chosen)

    def stop(self) -> None:
        """Ask the chosen job to stop."""
        if self.chosen is None:
            return
        if self.chosen == self.session.run_folder:
            self.session.stop()
        else:
            (self.chosen / "stop").touch()

    def resume(self) -> None:
        """Go on with the chosen job."""
        if self.chosen is not None:
            apart = self.session.settings["runs_in"] == "process"
            self.session.resume(self.chosen, read_job(self.chosen).stage, apart=apart)

    def show_folder(self) -> None:
        """Open the chosen job's folder in the file browser."""
        if self.chosen is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.chosen)))

    def choose(self) -> None:
        """Choose the project folder."""
        start = str(self.session.project if self.session.project.is_dir() else Path.home())
        folder = QFileDialog.getExistingDirectory(self, "Choose the project folder", start)
        if folder:
            self.session.choose_project(Path(folder))

    def _update(self) -> None:
        """Let the buttons say what can be done with the chosen job."""
        item = self.table.currentItem()
        stage, state = (item.text(1), item.text(2)) if item is not None else ("", "")
        known = self.session.stages.get(stage)
        for button in (self.open_button, self.folder_button):
            allow(button, item is not None, "Choose a job in the list.")
        allow(self.stop_button, state == "running", "Choose a job that is running.")
        can_go_on = known is not None and known.resumable and state in ("stopped", "failed")
        busy = self.session.is_busy
        why = (
            "Stop what runs in this window, or wait."
            if busy
            else "Choose a stopped training or reconstruction."
        )
        allow(self.resume_button, can_go_on and not busy, why)

    def showEvent(self, event: Any) -> None:
        """Look at the jobs while the list is seen."""
        super().showEvent(event)
        self.session.attach(self.window())
        self.refresh()
        self._timer.start()

    def hideEvent(self, event: Any) -> None:
        """Leave them alone while it is not."""
        self._timer.stop()
        super().hideEvent(event)


def _local(time: str) -> str:
    """Time of a record, which is UTC, as the clock on the wall says it."""
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        return time
