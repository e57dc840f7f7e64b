"""A stage running beside the window, and the thread that answers only the newest request."""

import os
import threading
import warnings
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Literal

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.progress import Progress
from napari_flex3d.ui.triton_apart import load_triton

Outcome = Literal["done", "stopped", "failed"]


class StageRun(QObject):
    """A stage running in napari's thread pool, seen from the window.

    The stage's generator is looped over inside a plain function: superqt's own generator worker loses every
    `RuntimeError` (out-of-memory of torch included) and leaves the generator open when it is stopped.

    Parameters
    ----------
    stage
        Makes the generator; called in the worker's thread, so a slow import may happen there.
    parent
        Owner in Qt's sense.
    """

    reported = Signal(object)
    """The newest `Progress`, at most four a second, in the window's thread; with the last words where it has none."""
    ended = Signal(str, object)
    """How it ended, and its result (done), None (stopped) or the exception (failed); exactly once."""

    def __init__(
        self, stage: Callable[[], Generator[Progress, None, Any]], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._stage = stage
        self._stop = threading.Event()
        self._newest: Progress | None = None
        self._shown: Progress | None = None
        self._outcome: tuple[Outcome, Any] = ("stopped", None)
        self._timer = QTimer(self)
        self._timer.setInterval(250)
        self._timer.timeout.connect(self._show)
        self._worker: Any = create_worker(self._work, _start_thread=False, _ignore_errors=True)
        self._worker.finished.connect(self._finish)
        self.place = "window"
        self.is_stopping = False
        self.is_over = False

    def start(self) -> None:
        """Begin."""
        self._timer.start()
        self._worker.start()

    def stop(self) -> None:
        """Ask the stage to stop after its present step; `ended` tells when it has."""
        self.is_stopping = True
        self._stop.set()

    def _work(self) -> None:
        warnings.simplefilter("default")  # the worker has set "always": one signal for every repeated warning
        load_triton()
        _leave_one_core()
        run, said = None, ""
        try:
            run = self._stage()
            # napari sets abort_requested when the window is closed over a running worker
            while not self._stop.is_set() and not self._worker.abort_requested:
                report = next(run)
                if not report.message:
                    report = replace(report, message=said)
                elif not report.message.startswith("Warning:"):
                    said = report.message
                self._newest = report
        except StopIteration as end:
            self._outcome = ("done", end.value)
        except Exception as error:
            self._outcome = ("failed", error)
        finally:
            if run is not None:
                run.close()

    def _show(self) -> None:
        if self._newest is not self._shown:
            self._shown = self._newest
            self.reported.emit(self._shown)

    def _finish(self) -> None:
        self._timer.stop()
        self._show()
        self.is_over = True
        self.ended.emit(*self._outcome)


class Mailbox(QObject):
    """A thread with one slot: it answers the newest request, and requests that were overtaken vanish.

    Parameters
    ----------
    answer
        Computes the answer, in the mailbox's thread.
    parent
        Owner in Qt's sense.
    """

    answered = Signal(object)
    """An answer, in the window's thread."""
    failed = Signal(object)
    """The exception of a request that failed, in the window's thread."""

    def __init__(self, answer: Callable[[Any], Any], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._answer = answer
        self._slot: list[Any] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="flex3d mailbox", daemon=True)
        self._thread.start()

    def submit(self, request: Any) -> None:
        """Ask; a request that has not been begun yet is replaced."""
        with self._changed:
            self._slot[:] = [request]
            self._changed.notify()

    def close(self) -> None:
        """End the thread; blocks until the request in work is finished."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _loop(self) -> None:
        _leave_one_core()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._slot)
                if self._closed:
                    return
                request = self._slot.pop()
            try:
                answer = self._answer(request)
            except Exception as error:
                self.failed.emit(error)
            else:
                self.answered.emit(answer)


def _leave_one_core() -> None:
    """Leave a core to the window: torch's thread count holds per thread, so it is set inside the work."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
