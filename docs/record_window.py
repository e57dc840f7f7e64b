"""Record the way from files to a moving map in napari: pictures and a short movie of the window.

    xvfb-run -a -s "-screen 0 1366x768x24" python docs/record_window.py [../shared/data/groel] [-o docs/images/window]

All is done through the buttons of a window of 1366 x 768, on a fresh project, from the files to the reconstruction
and its rigid twin. The training box is small, so that it takes minutes on two cores.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from napari_flex3d.ui.view import Docks, open_viewer

SIZE = (1366, 768)
FPS = 10


class Recorder:
    """Takes pictures of a window, and keeps frames of a movie.

    Parameters
    ----------
    viewer, docks
        The window.
    out
        Folder for the pictures.
    """

    def __init__(self, viewer: Any, docks: Docks, out: Path) -> None:
        self.viewer, self.docks, self.out = viewer, docks, out
        self.frames: list[np.ndarray] = []
        self._count = 0
        out.mkdir(parents=True, exist_ok=True)

    def picture(self, name: str, hold: float = 1.5) -> None:
        """Write a picture of the window, and hold it in the movie for some seconds."""
        wait(seconds=0.6)
        self.viewer.window.resize(*SIZE)  # it may have grown with the controls of a layer
        wait(seconds=0.3)
        self._count += 1
        picture = self._window()
        imageio.imwrite(self.out / f"{self._count}-{name}.png", picture)
        self.frames += [picture] * round(hold * FPS)

    def frame(self) -> None:
        """Add the window as it is now to the movie."""
        self.frames.append(self._window())

    def movie(self, path: Path) -> None:
        """Write all frames, at the size that the encoder takes and all have."""
        height, width = np.min([frame.shape[:2] for frame in self.frames], axis=0) // 2 * 2
        frames = [frame[:height, :width] for frame in self.frames]
        imageio.imwrite(path, np.stack(frames), fps=FPS, codec="libx264", macro_block_size=2, quality=5)

    def _window(self) -> np.ndarray:
        return self.viewer.screenshot(canvas_only=False, flash=False)[..., :3]


def wait(until: Callable[[], bool] = lambda: False, seconds: float = 1800.0) -> None:
    """Let the window work until something is true, or for some seconds."""
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def run(docks: Docks, name: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Press a stage's button, and wait until the stage is done."""
    panel, session = docks.widgets[name].panel, docks.session
    wait(panel.start_button.isEnabled)
    panel.start_button.click()
    while session.is_running:
        meanwhile()
        wait(seconds=0.2)
    if "is done" not in panel.sentence.text():
        raise SystemExit(panel.sentence.text())


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data/groel"))
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/images/window"))
    parser.add_argument("--max-particles", type=int, help="all when not given")
    parser.add_argument("--train-box", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    viewer, docks = open_viewer()
    viewer.window.resize(*SIZE)
    recorder = Recorder(viewer, docks, given.out)
    try:
        with tempfile.TemporaryDirectory() as folder:
            docks.session.project = Path(folder) / "groel"
            wait(lambda: docks.session.is_ready and docks.widgets["Data"].panel.form is not None)
            recorder.picture("start")
            _data(recorder, given)
            _mesh(recorder)
            _train(recorder, given.epochs)
            _explore(recorder)
            _reconstruct(recorder)
            recorder.movie(given.out.with_suffix(".mp4"))
            docks.session.end()
    finally:
        viewer.close()


def _data(recorder: Recorder, given: argparse.Namespace) -> None:
    viewer, docks = recorder.viewer, recorder.docks
    for name in ("particles.star", "map.mrc"):  # as by drag and drop
        viewer.open(str(given.data / name), plugin="napari-flex3d")
    form = docks.widgets["Data"].panel.form
    form.fill(
        {
            "mask": given.data / "mask.mrc",
            "train_box": given.train_box,
            "max_particles": given.max_particles,
        }
    )
    recorder.picture("files-dropped")
    run(docks, "Data")
    docks.frame_view()
    recorder.picture("prepared")


def _mesh(recorder: Recorder) -> None:
    """Paint on the map, see the mesh that follows, and take the stroke back: one body is enough here."""
    docks, viewer = recorder.docks, recorder.viewer
    docks.select("Mesh")
    dock = docks.widgets["Mesh"]
    wait(lambda: dock.bench is not None)
    drafts: list[Any] = []
    dock.design.drafted.connect(drafts.append)
    dock.bench.solid_button.click()
    wait(lambda: len(drafts) > 0)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    stroke(canvas, [middle + QPoint(12 * k, -90) for k in range(-6, 7)])
    wait(lambda: len(drafts) > 1)
    recorder.picture("painted")
    dock.bench.undo_button.click()
    wait(lambda: len(drafts) > 2)
    run(docks, "Mesh")
    docks.frame_view()
    recorder.picture("mesh")


def stroke(canvas: Any, points: list[QPoint]) -> None:
    """Drag the brush over the canvas, with Shift held."""
    left, none, shift = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton, Qt.KeyboardModifier.ShiftModifier
    kinds = QEvent.Type
    events = [(kinds.MouseMove, none, none), (kinds.MouseButtonPress, left, left)]
    events += [(kinds.MouseMove, none, left)] * (len(points) - 2)
    for (kind, button, held), point in zip(
        [*events, (kinds.MouseButtonRelease, left, none)], [points[0], *points], strict=True
    ):
        place = QPointF(point)
        there = QPointF(canvas.mapToGlobal(point))
        QApplication.sendEvent(canvas, QMouseEvent(kind, place, there, button, held, shift))
        wait(seconds=0.02)


def _train(recorder: Recorder, epochs: int) -> None:
    docks, session = recorder.docks, recorder.docks.session
    docks.select("Train")
    docks.widgets["Train"].panel.form.fill({"epochs": epochs})
    seen: list[Any] = []
    pictured: list[int] = []

    def look() -> None:
        """Film every checkpoint, and take a picture of the training in its middle."""
        if session.model is not None and (not seen or seen[-1] is not session.model):
            seen.append(session.model)
            wait(seconds=0.5)
            recorder.frame()
            recorder.frame()
            if len(seen) >= epochs // 2 and not pictured:
                pictured.append(len(seen))
                recorder.picture("training", hold=0.5)

    run(docks, "Train", look)
    wait(lambda: session.model is not None and session.model.facts.get("epoch") == epochs, seconds=60)
    recorder.picture("trained")


def _explore(recorder: Recorder) -> None:
    docks = recorder.docks
    explore, explorer = docks.widgets["Explore"], docks.session.explorer
    docks.select("Explore")
    wait(seconds=1.0)
    low, high = explorer.limits[0]
    for part in (1 - np.cos(np.linspace(0, 2 * np.pi, 30))) / 2:  # along the first slider and back
        explore.sliders[0].setValue(low + (high - low) * part)
        wait(seconds=0.15)
        recorder.frame()
    explore.sliders[0].setValue(low + 0.9 * (high - low))
    recorder.picture("explored")
    _lasso(recorder, explore)


def _lasso(recorder: Recorder, explore: Any) -> None:
    """Choose the particles of one end of the motion."""
    low, high = explore.scatter.span()
    angle = np.linspace(0, 2 * np.pi, 40)
    centre = low + (high - low) * (0.75, 0.5)
    size = (high - low) * (0.2, 0.4)
    explore.scatter.box.outlined.emit(centre + size * np.column_stack([np.cos(angle), np.sin(angle)]))
    explore.pages.turn_to("Select")
    recorder.picture("particles-chosen")


def _reconstruct(recorder: Recorder) -> None:
    """The map with the motion and its twin without, from the same side, and their correlations."""
    docks = recorder.docks
    docks.select("Reconstruct")
    run(docks, "Reconstruct")
    dock = docks.widgets["Reconstruct"]
    dock.show_layers()
    docks.frame_view()
    for kind in ("flex", "rigid"):
        dock.kind_buttons[kind].click()
        recorder.picture(f"reconstructed-{kind}")
    dock.ensureWidgetVisible(dock.correlation)
    recorder.picture("correlation")


if __name__ == "__main__":
    main()
