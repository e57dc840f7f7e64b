"""How soon the mesh follows a stroke in the Mesh dock, and a drag, at box 128; by the clock, in a real window.

Run: python benchmarks/studio.py [--box 128] [--cells 20 40] [--strokes 8]    (needs a display; Xvfb will do)
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import napari
import numpy as np
from mesh import painted
from qtpy.QtWidgets import QApplication

from napari_flex3d.io.mrc import write_map
from napari_flex3d.mesh import MeshParams
from napari_flex3d.ui.canvas_context import CanvasContext
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.studio.design import PAUSE
from napari_flex3d.ui.studio.workbench import Workbench


def until(done: Callable[[], bool]) -> float:
    """Let the window work until something is true; seconds that it took, by the clock."""
    start = time.perf_counter()
    while not done():
        QApplication.processEvents()
        time.sleep(0.001)
    return time.perf_counter() - start


def strokes(bench: Workbench, count: int, random: np.random.Generator) -> list[float]:
    """Seconds from the end of each stroke to the mesh on the screen's layers."""
    painting, took = bench.design.painting, []
    inside = np.argwhere(painting.ground.mask)
    for n in range(count):
        bench.design.selected = 1 + n % 6
        before = bench.design.draft
        with painting.stroke():
            for voxel in inside[random.integers(len(inside), size=10)]:
                painting.dab(voxel)
        took.append(
            until(lambda before=before: bench.design.draft is not before)
        )  # preview is drawn in the same event
    return took


def drags(bench: Workbench, count: int) -> list[float]:
    """Seconds from each place of the mouse to the map and the mesh that have followed."""
    bench.try_button.setChecked(True)
    trial: Any = bench.trial
    trial.hold(int(bench.design.draft.facts[-1].id))
    seen: list[str] = []
    trial.moved.connect(seen.append)
    took = []
    for n in range(count):
        seen.clear()
        trial.move(np.array([0.0, 2.0 * (n + 1), 0.0]))
        took.append(until(lambda: bool(seen)))
    bench.try_button.setChecked(False)
    return took[1:]  # the first factors the matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--cells", type=int, nargs="+", default=[20, 40])
    parser.add_argument("--strokes", type=int, default=8)
    given = parser.parse_args()
    mask, _, density = painted(given.box, 6)
    viewer = napari.Viewer(ndisplay=3)
    session = Session(viewer)
    CanvasContext.keep(viewer, viewer.window._qt_window)
    print(
        f"box {given.box}, {mask.sum()} voxels, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores; ms by clock"
    )
    print(f"a stroke waits {PAUSE} ms for the next one, which is counted")
    print("cells  tetrahedra  stroke to mesh: median, worst  drag to map and mesh: median, worst")
    with TemporaryDirectory() as folder:
        for name, data in (("map", density), ("mask", mask)):
            write_map(Path(folder, f"{name}.mrc"), data, pixel_size=1.5 * 128 / given.box)
        bench = Workbench(session, lambda: True)
        for cells in given.cells:
            bench.design.leave()
            bench.design.params = MeshParams(prep=Path(folder), cells=cells)
            bench.design.open(Path(folder)).show()
            first = strokes(bench, given.strokes + 2, np.random.default_rng(0))[2:]
            second = drags(bench, given.strokes)
            row = [1000 * f(t) for t in (first, second) for f in (np.median, np.max)]
            count = len(bench.design.draft.built.mesh.cells)
            print(f"{cells:5d}  {count:10d}  {row[0]:15.0f} {row[1]:6.0f}  {row[2]:21.0f} {row[3]:6.0f}")
    session.end()
    viewer.close()


if __name__ == "__main__":
    main()
