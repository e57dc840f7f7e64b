import subprocess
import sys
import threading
import warnings
from importlib.util import find_spec

import pytest

from napari_flex3d.progress import Progress
from napari_flex3d.ui.run import Mailbox, StageRun

IN_A_WINDOW = """
import napari
viewer = napari.Viewer(show=True)
viewer.screenshot()  # Mesa has loaded its LLVM
from napari_flex3d.ui.triton_apart import load_triton
load_triton()
import torch
torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])  # loads what loads Triton
viewer.screenshot()
viewer.close()
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_a_training_starts_in_a_window_that_is_drawn_by_software():
    """Without care the process ends by a segmentation fault here, so another one tries it."""
    ended = subprocess.run([sys.executable, "-c", IN_A_WINDOW], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


class Stage:
    """A stage that counts, and says what became of it."""

    def __init__(self, steps, error=None):
        self.steps, self.error, self.closed, self.warned = steps, error, False, 0

    def __call__(self):
        try:
            for step in range(self.steps):
                warnings.warn("the same every step", UserWarning, stacklevel=1)
                yield Progress(step, self.steps, f"step {step}")
            if self.error:
                raise self.error
            return {"steps": self.steps}
        finally:
            self.closed = True


def ended(qtbot, run):
    with qtbot.waitSignal(run.ended, timeout=20_000) as blocker:
        pass
    return blocker.args


def test_a_stage_that_ends_gives_its_result(qtbot):
    stage, seen = Stage(20), []
    run = StageRun(stage)
    run.reported.connect(seen.append)
    run.start()
    assert ended(qtbot, run) == ["done", {"steps": 20}]
    assert seen[-1].step == 19  # the last report is never lost, others may be
    assert stage.closed
    assert run.is_over


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("bad input")])
def test_a_stage_that_fails_tells_why(qtbot, error):
    stage = Stage(3, error)
    run = StageRun(stage)
    run.start()
    outcome, found = ended(qtbot, run)
    assert outcome == "failed"
    assert str(error) in str(found)
    assert stage.closed


def test_a_failure_before_the_first_step_is_told_too(qtbot):
    def stage():
        raise RuntimeError("no such job")

    run = StageRun(stage)
    run.start()
    assert ended(qtbot, run)[0] == "failed"


def test_a_stage_is_stopped_after_its_present_step(qtbot):
    stage = Stage(10**9)
    run = StageRun(stage)
    run.start()
    with qtbot.waitSignal(run.reported, timeout=20_000):
        pass
    run.stop()
    assert run.is_stopping
    assert ended(qtbot, run) == ["stopped", None]
    assert stage.closed  # the generator's finally ran


def test_a_report_without_words_has_the_last_ones(qtbot):
    go_on = threading.Event()

    def stage():
        yield Progress(0, 2, "Looking for motions")
        yield Progress(0, 2, "Warning: few particles")
        while not go_on.is_set():
            yield Progress(1, 2)
        return 0

    seen = []
    run = StageRun(stage)
    run.reported.connect(seen.append)
    run.start()
    qtbot.waitUntil(lambda: any(report.step == 1 for report in seen), timeout=30_000)
    with qtbot.waitSignal(run.ended, timeout=30_000):
        go_on.set()
    assert {report.message for report in seen if report.step == 1} == {"Looking for motions"}


def test_only_the_newest_request_is_answered(qtbot):
    begun, go_on, answers = threading.Event(), threading.Event(), []

    def answer(request):
        begun.set()
        go_on.wait(10)
        return request

    box = Mailbox(answer)
    box.answered.connect(answers.append)
    try:
        box.submit(0)
        assert begun.wait(10)
        for request in range(1, 100):
            box.submit(request)
        go_on.set()
        qtbot.waitUntil(lambda: 99 in answers, timeout=10_000)
    finally:
        box.close()
    assert answers == [0, 99]


def test_a_request_that_fails_does_not_end_the_mailbox(qtbot):
    answers, errors = [], []
    box = Mailbox(lambda n: 1 / n)
    box.answered.connect(answers.append)
    box.failed.connect(errors.append)
    try:
        box.submit(0)
        qtbot.waitUntil(lambda: bool(errors), timeout=10_000)
        box.submit(2)
        qtbot.waitUntil(lambda: answers == [0.5], timeout=10_000)
    finally:
        box.close()
    assert isinstance(errors[0], ZeroDivisionError)
