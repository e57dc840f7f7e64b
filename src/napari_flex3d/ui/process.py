"""A stage in a process of its own, and any job that runs elsewhere: followed by what it writes into its folder."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import Job, read_job
from napari_flex3d.params import Params
from napari_flex3d.progress import Progress

INTERVAL = 500
"""Milliseconds between two looks into the folder."""

GIVEN, WORDS = ".given.toml", ".process.txt"
"""Files in the job's folder: the parameters that the process is given, and what it says."""

Place = Literal["window", "process", "elsewhere"]

_LEFT: list[subprocess.Popen[bytes]] = []
"""Processes that outlive their window; Python would warn of those that nobody holds."""


def launch(stage: str, params: Params, folder: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    """Start a stage as a process that goes on when the window is closed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GIVEN).write_text(as_toml(params), encoding="utf-8")
    command = [sys.executable, "-m", "napari_flex3d", stage, "--config", str(folder / GIVEN)]
    command += ["-o", str(folder), "--quiet", *(["--resume"] if resume else [])]
    threads = str(max(1, (os.cpu_count() or 2) - 1))  # one core is for the window
    surroundings = {**os.environ, "OMP_NUM_THREADS": threads}
    with (folder / WORDS).open("wb") as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=surroundings,
            start_new_session=True,  # Ctrl-C in the terminal of napari is not meant for it
        )
    _LEFT[:] = [one for one in _LEFT if one.poll() is None] + [process]
    return process


def as_toml(params: Params) -> str:
    """Parameters as a file for ``--config``; paths absolute, as the process may run in another folder."""
    lines = []
    for info in params.describe():
        value = getattr(params, info.name)
        if info.kind is Path and value is not None:
            value = [str(p.absolute()) for p in value] if info.many else str(value.absolute())
        if value is not None:
            lines.append(f"{info.name} = {json.dumps(value, ensure_ascii=False)}\n")
    return "".join(lines)


class FollowedRun(QObject):
    """A job that another process runs, seen from the window.

    Parameters
    ----------
    folder
        The job's folder.
    process
        The process, if this window has started it.
    parent
        Owner in Qt's sense.
    """

    reported = Signal(object)
    """The newest `Progress` that the job has written down, in the window's thread."""
    ended = Signal(str, object)
    """How it ended, as `StageRun` says it; exactly once."""

    def __init__(
        self,
        folder: Path,
        process: "subprocess.Popen[bytes] | None" = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.folder, self.process = folder, process
        self.place: Place = "elsewhere" if process is None else "process"
        self.is_stopping = self.is_over = False
        self._before = self._started() if process is not None else None
        self._progress: Any = None
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self._look)

    def start(self) -> None:
        """Begin to watch."""
        self._timer.start()

    def stop(self) -> None:
        """Ask the job to stop after its present step."""
        self.is_stopping = True
        if self.process is not None and self._job() is None:  # it is still loading
            self.process.terminate()
            return
        with contextlib.suppress(OSError):  # the folder is gone: the next look says so
            (self.folder / "stop").touch()

    def release(self) -> None:
        """Watch no longer; the job goes on."""
        self._timer.stop()

    def _started(self) -> str | None:
        with contextlib.suppress(InputError):
            return read_job(self.folder).record.get("started")
        return None

    def _job(self) -> Job | None:
        """The job as its process has written it; None before that, also where an earlier run has left one."""
        try:
            job = read_job(self.folder)
        except InputError:
            return None
        return job if self.process is None or job.record.get("started") != self._before else None

    def _look(self) -> None:
        is_gone = self.process is not None and self.process.poll() is not None
        job = self._job()
        if job is None:
            if is_gone or self.process is None:
                self._finish("stopped" if self.is_stopping else "failed", InputError(self._words()))
            return
        progress = job.record.get("progress")
        if progress is not None and progress != self._progress:
            self._progress = progress
            self.reported.emit(Progress(progress["step"], progress["total"], progress["message"]))
        if job.state == "done":
            self._finish("done", job.summary)
        elif job.state == "failed":
            self._finish("failed", InputError(job.record.get("error", "Its log.txt says why.")))
        elif job.record["state"] == "stopped" or (job.state == "stopped" and self.is_stopping):
            self._finish("stopped", None)
        elif is_gone or job.state == "stopped":
            self._finish("failed", InputError(self._death()))

    def _words(self) -> str:
        """What the process has said before it ended without a job."""
        path = self.folder / WORDS
        said = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        if not said:
            return f"{self.folder} has no job that can be read any more."
        return said[-1].removeprefix("Error: ")

    def _death(self) -> str:
        code = self.process.poll() if self.process is not None else None
        how = f" by signal {-code}" if code is not None and code < 0 else ""
        return (
            f"Its process was ended from outside{how}: by somebody, or by the system when memory ran out. "
            "What was finished is kept."
        )

    def _finish(self, outcome: str, result: Any) -> None:
        self._timer.stop()
        self.is_over = True
        self.ended.emit(outcome, None if outcome == "stopped" else result)
