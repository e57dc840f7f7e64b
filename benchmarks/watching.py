"""What the window itself takes while it watches a training: a finished one is played again, as slowly as you say.

    xvfb-run -a -s "-screen 0 1366x768x24" python benchmarks/watching.py TRAIN_JOB [--epoch 2 5 8 28] [--epochs 16]

The training is a stage of the window, as ever, but it only hands out the checkpoints and the rows of the curves of a
job, so that all the processor time is the window's: reports and progress bar, curves, density of the latents, map,
moving preview, drawing. Printed (means) for the epochs in which the map was held and for those after its release; the
threads of Mesa's software renderer are told apart, which a machine with a GPU does not have.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QEventLoop

from napari_flex3d.jobs import input_of, read_metrics
from napari_flex3d.model import load_model
from napari_flex3d.progress import Progress
from napari_flex3d.stages import Stage
from napari_flex3d.ui import view

REPORTS = 10
"""A second, more than the window listens to."""


class Replay(Stage):
    """The stage "train", which learns nothing: it plays the checkpoints of a finished training."""

    def __init__(self, job: Path, seconds: float, epochs: int) -> None:
        super().__init__("train", "", resumable=True)
        self.__dict__ |= {"job": job, "seconds": seconds, "epochs": epochs, "own": 0.0, "spent": []}

    @property
    def function(self) -> Any:
        """Take the parameters and the folder for the results; play."""
        return self._play

    def _play(self, params: Any, out: Path) -> Generator[Progress, None, dict[str, Any]]:
        columns = read_metrics(self.job)
        steps = max(1, round(self.seconds * REPORTS))
        total = self.epochs * steps
        for epoch in range(self.epochs):
            self.spent.append((time.process_time() - time.thread_time(), rasterised()))
            begun = time.monotonic()
            for step in range(steps):
                yield Progress(epoch * steps + step, total)
                time.sleep(max(0.0, begun + (step + 1) / REPORTS - time.monotonic()))
            name = f"checkpoint-{epoch + 1:03d}"
            (out / name).symlink_to(self.job / name)
            (out / "latest").write_text(name + "\n")
            row = {column: values[epoch] for column, values in columns.items()}
            preview = {"latents": load_model(self.job / name).latents, "warnings": []}
            yield Progress((epoch + 1) * steps, total, f"epoch {epoch + 1} of {self.epochs}", row, preview)
        return {}


def rasterised() -> float:
    """Seconds that the threads of Mesa's software renderer have taken until now."""
    ticks = 0
    for task in Path("/proc/self/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        if name.startswith("llvmpipe"):
            ticks += sum(int(n) for n in rest.split()[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", type=Path)
    parser.add_argument("--epoch", type=float, nargs="+", default=[2.0, 5.0, 8.0, 28.0])
    parser.add_argument("--epochs", type=int, default=16)
    given = parser.parse_args()
    job = given.job.resolve()
    maps = [load_model(job / f"checkpoint-{n + 1:03d}").canonical for n in range(given.epochs)]
    held = 1 + sum(np.array_equal(maps[0], later) for later in maps[1:])
    with tempfile.TemporaryDirectory() as folder:
        viewer, docks = view.open_viewer(job)
        viewer.window.resize(1366, 768)
        docks.session.project = Path(folder)
        print(f"{held} of {given.epochs} epochs hold the map; ms of processor time an epoch (software GL)")
        for seconds in given.epoch:
            _measure(docks, job, seconds, given.epochs, held)
        viewer.close()


def _measure(docks: view.Docks, job: Path, seconds: float, epochs: int, held: int) -> None:
    session, train = docks.session, docks.widgets["Train"]
    view._wait(lambda: train.panel.form is not None and session.model is not None)
    docks.select("Train")
    train.panel.form.fill({"mesh": input_of(job, "mesh")})
    session.stages["train"] = stage = Replay(job, seconds, epochs)
    train.panel.start_button.click()
    shown: list[int] = []
    session.explorer.live.frames.shown.connect(lambda *_: shown.append(len(stage.spent)))
    loop = QEventLoop()
    session.run_ended.connect(loop.quit)
    loop.exec()
    took = 1000 * np.diff(np.array(stage.spent), axis=0)
    for words, first, last in (("held", 2, held - 1), ("released", held, len(took))):
        if last > first:
            all_of_it, drawn = took[first:last].mean(0)
            drawings = sum(first < n <= last for n in shown) / (last - first)
            print(
                f"epoch {seconds:4.0f} s, map {words:8s} ({last - first:2d} epochs): {all_of_it:5.0f} "
                f"({drawn:4.0f}) ms, {all_of_it / (10 * seconds):5.2f} %, map drawn {drawings:.1f} times an epoch"
            )


if __name__ == "__main__":
    main()
