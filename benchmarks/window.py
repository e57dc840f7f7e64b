"""How late the event loop is while the window trains on the CPU, and what the window takes of the training's time.

    xvfb-run -a -s "-screen 0 1366x768x24" python benchmarks/window.py [--data ../shared/data/groel] [--epochs 16]

Trains in the window, through its buttons, with all on show that a person sees of it (curves, density of the latents,
canonical map, and the motion frame by frame). A 10 ms timer tells how late the event loop is. What the window takes is
the processor time of its thread and of Mesa's software renderer, which a machine with a GPU does not have. How that
depends on how long an epoch takes, `watching.py` measures.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer
from watching import rasterised

from napari_flex3d import stages
from napari_flex3d.stages import stage_named
from napari_flex3d.ui import view

TICK = 0.010


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/groel"))
    parser.add_argument("--mesh", type=Path, help="a mesh job to train on, in place of one made from --data")
    parser.add_argument("--train-box", type=int, default=64)
    parser.add_argument("--max-particles", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mesh = given.mesh or _meshed(given, Path(folder))
        viewer, docks = view.open_viewer(mesh)
        viewer.window.resize(1366, 768)
        docks.session.project = Path(folder)
        preview = docks.widgets["Train"].preview
        chosen = preview.is_on
        try:
            _measure(docks, given.epochs)
        finally:
            preview.set_on(chosen)  # it is remembered
            viewer.close()


def _meshed(given: argparse.Namespace, folder: Path) -> Path:
    stages.prepare(
        stage_named("prep").params(
            particles=given.data / "particles.star",
            map=given.data / "map.mrc",
            mask=given.data / "mask.mrc",
            train_box=given.train_box,
            max_particles=given.max_particles,
        ),
        folder / "J1-prep",
    )
    return stages.build_mesh(stage_named("mesh").params(prep=folder / "J1-prep"), folder / "J2-mesh").folder


def _measure(docks: view.Docks, epochs: int) -> None:
    session, train = docks.session, docks.widgets["Train"]
    view._wait(lambda: train.panel.form is not None)
    docks.open_monitor()
    docks.select("Train")
    train.preview.set_on(True)
    train.panel.form.fill({"epochs": epochs})
    begun = time.perf_counter(), time.thread_time(), rasterised()
    train.panel.start_button.click()
    folder = session.run_folder
    late, before = [], [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        late.append(now - before[0] - TICK)
        before[0] = now

    ticker = QTimer()
    ticker.setTimerType(Qt.TimerType.PreciseTimer)
    ticker.setInterval(10)
    ticker.timeout.connect(tick)
    ticker.start()
    loop = QEventLoop()
    session.run_ended.connect(loop.quit)
    loop.exec()
    ticker.stop()
    ended = time.perf_counter(), time.thread_time(), rasterised()
    _print(folder, late, *(after - then for after, then in zip(ended, begun, strict=True)), epochs)


def _print(folder: Path, late: list[float], took: float, own: float, drawn: float, epochs: int) -> None:
    delays = 1000 * np.maximum(0.0, late)
    print(
        f"event loop, {len(delays)} ticks: median {np.median(delays):.1f} ms late, 95 % within "
        f"{np.percentile(delays, 95):.0f} ms, 99 % within {np.percentile(delays, 99):.0f} ms, "
        f"at most {delays.max():.0f} ms"
    )
    ends = [(folder / f"checkpoint-{n:03d}" / "model.json").stat().st_mtime for n in range(1, epochs + 1)]
    print("epochs took " + ", ".join(f"{t:.1f}" for t in np.diff(ends)) + f" s; the whole {took:.0f} s")
    print(
        f"the window's thread took {own:.1f} s, the software renderer {drawn:.1f} s: "
        f"{100 * (own + drawn) / took:.1f} % of the time"
    )


if __name__ == "__main__":
    main()
