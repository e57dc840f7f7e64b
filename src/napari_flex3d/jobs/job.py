"""One run of a stage in its folder."""

import contextlib
import dataclasses
import json
import os
import platform
import socket
import time
import traceback
import warnings as python_warnings
from collections.abc import Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from warnings import WarningMessage

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.jobs.metrics import Metrics
from napari_flex3d.jobs.record import (
    checksums,
    inputs_of,
    now,
    place_of,
    plain,
    process_lives,
    record_of,
    start_of_process,
    without,
)
from napari_flex3d.params import Params
from napari_flex3d.progress import Progress

HEARTBEAT = 2.0
"""Seconds between two records of how far a running job is."""

PACKAGE = Path(__file__).parents[1]


class JobStopped(Exception):
    """The job was stopped by a file named ``stop`` in its folder; what was finished is kept."""


class Job:
    """One run of a stage in its folder.

    Parameters
    ----------
    folder
        The job's folder.
    record
        Content of its ``job.json``.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record
        self._resumed = False
        self._said = ""

    @classmethod
    def create(cls, folder: Path, stage: str, params: Params, *, resume: bool = False) -> Self:
        """Make the job's folder, or take up the one that is there.

        A folder that holds the same job is started over; with ``resume`` its stage continues from what it
        finds there.

        Raises
        ------
        InputError
            If the folder holds anything else, or the job runs at this moment.
        """
        inputs = inputs_of(params, folder)
        record: dict[str, Any] = {
            "stage": stage,
            "version": version("napari-flex3d"),
            "state": "running",
            "params": params.to_record(),
            "inputs": inputs,
            "sha256": checksums(inputs, folder),
            "created": now(),
            "seconds": 0.0,
            "seed": getattr(params, "seed", None),
            "warnings": [],
        }
        old = record_of(folder)
        if (
            old is None
            and folder.is_dir()
            and any(p.name[0] != "." and p.name != "stop" for p in folder.iterdir())
        ):
            raise InputError(f"{folder} is not empty and is no job. Give another folder, or empty this one.")
        if old is not None:
            _check_taking_up(cls(folder, old), record, resume)
        job = cls(folder, record)
        if resume and old is not None:
            job._resumed = True
            record |= {key: old[key] for key in ("created", "seconds", "warnings") if key in old}
        folder.mkdir(parents=True, exist_ok=True)
        return job

    @property
    def stage(self) -> str:
        """Name of the stage that it runs."""
        return self.record["stage"]

    @property
    def state(self) -> str:
        """``running``, ``done``, ``failed`` or ``stopped``; a run whose process is gone counts as stopped."""
        state = self.record["state"]
        return "stopped" if state == "running" and not process_lives(self.record) else state

    @property
    def params(self) -> dict[str, Any]:
        """Parameters as plain data, with inputs where they lie now, so that the job can be repeated."""
        known = dict(self.record.get("params") or {})
        for name, place in self.record.get("inputs", {}).items():
            found = [str(place_of(self.folder, p)) for p in ([place] if isinstance(place, str) else place)]
            known[name] = found[0] if isinstance(place, str) else found
        return known

    @property
    def warnings(self) -> list[str]:
        """Warnings in words, in the order they came."""
        return self.record.setdefault("warnings", [])

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage returned at its end; empty before."""
        return self.record.get("summary") or {}

    def is_same_job(self, stage: str, params: Params) -> bool:
        """Whether stage, parameters and inputs are the same, and no input was made anew since."""
        inputs = inputs_of(params, self.folder)
        return (
            self.stage == stage
            and without(self.record["params"], inputs) == without(params.to_record(), inputs)
            and self.record["inputs"] == inputs
            and self.record.get("sha256") == checksums(inputs, self.folder)
        )

    def log(self, message: str) -> None:
        """Add a line with the time to ``log.txt``."""
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write("".join(f"{now()}  {line}\n" for line in message.splitlines()))

    def drive(
        self, steps: Generator[Progress, None, dict[str, Any]]
    ) -> Generator[Progress, None, dict[str, Any]]:
        """Run a stage in this job: the same reports come out, and everything is written down.

        Warnings come out as reports with a message that starts with "Warning:". Closing the generator stops
        the job.

        Raises
        ------
        JobStopped
            If a file named ``stop`` appears in the folder.
        """
        self._begin()
        metrics = Metrics(self.folder / "metrics.csv", keep=self._resumed)
        last, caught = Progress(0, 0), list[WarningMessage]()
        try:
            while True:
                with _recorded_warnings() as caught:
                    event, summary = _next(steps)
                for text in self._note(caught):
                    yield dataclasses.replace(last, message=f"Warning: {text}", metrics={}, preview=None)
                if event is None:
                    break
                self._follow(event, metrics)
                yield event
                last = event
                if (self.folder / "stop").exists():
                    raise JobStopped(f"{self.folder} was stopped")
            self._end("done", summary=summary)
            return summary
        except (GeneratorExit, KeyboardInterrupt, JobStopped):
            with contextlib.closing(steps):
                self._note(caught)
            self._end("stopped")
            raise
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
                self._note(caught)
                self._end("failed", error=error)
            raise
        finally:
            steps.close()

    def _begin(self) -> None:
        for left in (self.folder / "stop", *self.folder.glob(".*.tmp*")):  # of a run that was killed
            left.unlink(missing_ok=True)
        self.record |= {
            "state": "running",
            "started": now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": start_of_process(os.getpid()),
            "machine": f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores",
        }
        self._clock = time.monotonic()
        self._seconds_before = self.record["seconds"]
        self._heard = self._clock
        self._write()
        self.log(
            f"{self.stage} {'resumed' if self._resumed else 'started'}, version {self.record['version']}"
        )

    def _follow(self, event: Progress, metrics: Metrics) -> None:
        if event.message and event.message != self._said:
            self._said = event.message
            self.log(event.message)
        if event.metrics:
            metrics.add(event.metrics)
        if time.monotonic() - self._heard > HEARTBEAT:
            self._heard = time.monotonic()
            self.record["progress"] = {"step": event.step, "total": event.total, "message": self._said}
            self._write()

    def _note(self, caught: list[WarningMessage]) -> list[str]:
        """Log warnings; the new ones that are meant for people go to job.json and are returned."""
        fresh = []
        for warning in caught:
            text = str(warning.message)
            if not _is_for_people(warning):
                self.log(
                    f"{warning.category.__name__} at {Path(warning.filename).name}:{warning.lineno}: {text}"
                )
            elif text not in self.warnings:
                fresh.append(text)
                self.warnings.append(text)
                self.log(f"Warning: {text}")
        caught.clear()
        if fresh:
            self._write()
        return fresh

    def _end(self, state: str, *, summary: Any = None, error: BaseException | None = None) -> None:
        self.record |= {"state": state, "ended": now(), "summary": plain(summary)}
        self.record.pop("progress", None)
        if error is not None:
            self.record["error"] = str(error) or type(error).__name__
        self._write()
        self.log(f"{self.stage} {state}" + (f": {self.record['error']}" if error is not None else ""))
        if error is not None and not isinstance(error, InputError):
            self.log("".join(traceback.format_exception(error)))

    def _write(self) -> None:
        self.record["seconds"] = round(self._seconds_before + time.monotonic() - self._clock, 2)
        with atomic(self.folder / "job.json") as path:
            path.write_text(json.dumps(self.record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _next(steps: Generator[Progress, None, dict[str, Any]]) -> tuple[Progress | None, dict[str, Any]]:
    try:
        return next(steps), {}
    except StopIteration as end:
        return None, end.value or {}


@contextlib.contextmanager
def _recorded_warnings() -> Iterator[list[WarningMessage]]:
    with python_warnings.catch_warnings(record=True) as caught:
        python_warnings.simplefilter("default")
        yield caught


def _is_for_people(warning: WarningMessage) -> bool:
    """Whether it is one of our sentences, not one of a library to its programmers."""
    if issubclass(warning.category, InputWarning):
        return True
    return warning.category is UserWarning and Path(warning.filename).is_relative_to(PACKAGE)


def _check_taking_up(old: Job, record: dict[str, Any], resume: bool) -> None:
    """Refuse to write over a job that is another one or that runs."""
    folder, stage = old.folder, record["stage"]
    if old.stage != stage:
        raise InputError(f"{folder} holds a {old.stage} job. Give another folder for {stage}.")
    if old.state == "running":
        who = f"process {old.record.get('pid')} on {old.record.get('host')}"
        raise InputError(f"{folder} is running ({who}). Wait, or stop it by making a file named stop in it.")
    if old.state == "failed" and not _can_go_on(folder):
        return  # a misspelt path or a wrong value, mended and tried again: nothing was made that could be lost
    moved = old.record["inputs"] != record["inputs"]
    changed = [
        k
        for k, v in record["params"].items()
        if k not in record["inputs"] and old.record["params"].get(k) != v
    ]
    if resume and moved:
        raise InputError(
            f"{folder} was made from other inputs ({old.record['inputs']}). "
            "Resume with the same, or give another folder."
        )
    if not resume and (moved or changed):
        what = ", ".join(changed) or "other inputs"
        raise InputError(
            f"{folder} holds a {stage} job with other parameters ({what}). "
            "Give another folder, or delete this one."
        )
    if not resume and _can_go_on(folder):
        raise InputError(
            f"{folder} holds a {stage} job that is {old.state}. "
            "Resume it (--resume), give another folder, or delete this one."
        )


def _can_go_on(folder: Path) -> bool:
    """Whether a run left what another can go on from: a checkpoint of a training, or a half-map on its way."""
    return (folder / "latest").exists() or any(folder.glob("descent-*"))
