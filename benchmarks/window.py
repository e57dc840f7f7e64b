"""How late the event loop is while the window trains on the CPU, and what watching costs the training.

    xvfb-run -a -s "-screen 0 1366x768x24" python benchmarks/window.py [--data ../shared/data/groel] [--epochs 16]

Trains in the window, through its buttons. A 10 ms timer tells how late the event loop is. After odd epochs all is
refreshed from the new checkpoint, as it is for a person (curves, density of the latents, canonical map, and the motion
frame by frame); after even ones nothing is. The training's own times of the two kinds of epochs, taken from
its checkpoints, tell what watching costs; so does the processor time of this process, which others on the machine
hardly change. Epochs that train on smaller boxes are left out.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_flex3d import stages
from napari_flex3d.fit import early_epochs
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
    monitor = docks.widgets["Monitor"]
    docks.select("Train")
    train.panel.form.fill({"epochs": epochs})
    for timer in (session._timer, monitor._timer):
        timer.timeout.disconnect()  # what they do is done after odd epochs only
    late, watched, spent = [], [], []
    preview = train.preview
    train.panel.start_button.click()
    folder = session.run_folder
    view._wait(lambda: (folder / "latest").is_file(), seconds=600)
    before = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        late.append((len(watched), now - before[0] - TICK))
        before[0] = now

    def look() -> None:
        newest = int((folder / "latest").read_text().split("-")[1])
        if newest > len(watched):
            spent.extend([time.process_time()] * (newest - len(watched)))
            watched.extend([newest % 2 == 1] * (newest - len(watched)))
            preview.set_on(watched[-1])
            if watched[-1]:
                session.shown.follow()
                monitor.redraw()

    ticker, looker = QTimer(), QTimer()
    ticker.setTimerType(Qt.TimerType.PreciseTimer)
    for timer, interval, slot in ((ticker, 10, tick), (looker, 50, look)):
        timer.setInterval(interval)
        timer.timeout.connect(slot)
        timer.start()
    while session.is_running:
        QApplication.processEvents()
        time.sleep(0.0005)
    ticker.stop()
    looker.stop()
    _print(folder, late, watched, spent, epochs)


def _print(
    folder: Path, late: list[tuple[int, float]], watched: list[bool], spent: list[float], epochs: int
) -> None:
    delays = 1000 * np.array([max(0.0, delay) for _, delay in late])
    print(
        f"event loop, {len(delays)} ticks: median {np.median(delays):.1f} ms late, 95 % within "
        f"{np.percentile(delays, 95):.0f} ms, 99 % within {np.percentile(delays, 99):.0f} ms, "
        f"at most {delays.max():.0f} ms"
    )
    ends = [(folder / f"checkpoint-{n:03d}" / "model.json").stat().st_mtime for n in range(1, epochs + 1)]
    full = range(early_epochs(epochs) + 1, epochs - 2)  # the last one settles the latents besides
    for what, took in (("time", np.diff(ends)), ("processor time", np.diff(spent))):  # of epochs 2, 3, ...
        kinds = {kind: [took[n] for n in full if watched[n] == kind] for kind in (True, False)}
        for kind, words in ((True, "watched"), (False, "not watched")):
            print(f"{what} of epochs {words}: " + ", ".join(f"{t:.2f}" for t in kinds[kind]) + " s")
        ratio = statistics.median(kinds[True]) / statistics.median(kinds[False])
        print(f"watching: {100 * (ratio - 1):+.1f} % of an epoch's {what} (medians)")


if __name__ == "__main__":
    main()
