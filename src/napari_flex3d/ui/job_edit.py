"""A box to choose a job from."""

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QSizePolicy, QWidget

NO_JOB = "-----"
JobList = Callable[[], Sequence[Path]]


class JobEdit(QWidget):
    """A box with the known jobs of one stage, and a button for any other folder.

    Parameters
    ----------
    jobs
        Lists the job folders to offer, newest first.
    is_optional
        Whether there may be none; else the newest is taken by itself.
    """

    changed = Signal()

    def __init__(self, jobs: JobList, *, is_optional: bool = False) -> None:
        super().__init__()
        self._jobs = jobs
        self._box = QComboBox()
        if is_optional:
            self._box.addItem(NO_JOB, None)
        self._is_optional = is_optional
        self._box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._box.currentIndexChanged.connect(lambda _: self.changed.emit())
        button = QPushButton("Open…")
        button.setToolTip("Choose the folder of a job that is not in this list.")
        button.clicked.connect(self._choose)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        row.addWidget(button)
        self.refresh()

    @property
    def value(self) -> Path | None:
        """The chosen job folder."""
        return self._box.currentData()

    @value.setter
    def value(self, job: Path | None) -> None:
        if job is not None and self._find(job) < 0:
            self._box.insertItem(0, job.name, job)
        self._box.setCurrentIndex(self._find(job))
        self._box.setToolTip(str(job or ""))

    def refresh(self) -> None:
        """Add jobs that have appeared; the choice stays."""
        for job in self._jobs():
            if self._find(job) < 0:
                chosen = self.value
                self._box.addItem(job.name, job)
                if chosen is None and not self._is_optional:
                    self._box.setCurrentIndex(0)

    def _find(self, job: Path | None) -> int:
        return next((i for i in range(self._box.count()) if self._box.itemData(i) == job), -1)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a job folder")
        if folder:
            self.value = Path(folder)
