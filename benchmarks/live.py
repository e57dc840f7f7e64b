"""From a slider to the drawn picture, and the scatter with a million particles, in a real window.

    python benchmarks/live.py [--box 128] [--voxels 250000] [--particles 1000000] [--frames 40] [--size 1366x768]

Needs a display; without a graphics card, Mesa's llvmpipe draws (``LP_NUM_THREADS`` threads), as under Xvfb. The
model is the made one of `volume.py`: a ball of voxels on a mesh 20 cells across, moved by an affine flow.

A frame is timed from setting the dock's slider to the end of the event in which the canvas was painted. "our code" is
the work in the window's thread that is not the drawing: displacements, surface, layer's buffers, state line.
Volumes are computed in another thread meanwhile. The scatter is timed by its own slots and by painting the
widget into a picture.
Times are medians and the best; compare ratios, the machine may do other work.
"""

import napari_flex3d  # isort: skip # noqa: F401 (before torch: it says how torch's threads wait)

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", "/tmp/flex3d-benchmark-settings.yaml")

import napari
import numpy as np
import torch
import volume as made
from napari.layers import Image
from qtpy.QtWidgets import QApplication

from napari_flex3d.model import FlexModel, FlowGenerator
from napari_flex3d.ui.explore import ExploreDock
from napari_flex3d.ui.explore.frames import Kind
from napari_flex3d.ui.explore.live_volume import NAMES
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.session import Session

RENDERINGS = ("translucent", "mip", "attenuated_mip")


def make_model(box: int, voxels: int, particles: int) -> FlexModel:
    """The made model, with two latents of many particles."""
    model, _ = made.make_model(box, voxels, 3.0, 60)
    given = model.generator
    generator = FlowGenerator(2, given.modes, given.mass, layers=6, hidden_units=64)
    with torch.no_grad():
        generator.weight[0] = 1
    standard = np.random.default_rng(0).normal(size=(particles, 2)).astype(np.float32)
    return FlexModel(
        mesh=model.mesh,
        generator=generator,
        canonical=model.canonical,
        mask=model.mask,
        pixel_size=model.pixel_size,
        standard=standard,
        covariance=np.zeros((particles, 2, 2), np.float32),
        held_out=np.zeros(particles, bool),
        half=np.zeros(particles, np.uint8),
        latent_scale=np.full(2, 0.5, np.float32),
    )


def open_dock(model: FlexModel, size: tuple[int, int]) -> tuple[Any, ExploreDock]:
    """A shown window with the dock, at the model."""
    viewer = napari.Viewer(ndisplay=3, show=True)
    viewer.window.resize(*size)
    session = Session(viewer)
    dock = ExploreDock(session)
    viewer.window.add_dock_widget(dock, name="Explore")
    session.shown.model, session.shown.grid = model, Grid(model.box_size, model.pixel_size)
    session.model_changed.emit(model)
    viewer.reset_view()
    settle(dock)
    return viewer, dock


def settle(dock: ExploreDock) -> None:
    """Let the window work until nothing is on its way."""
    end = time.monotonic() + 0.4
    while time.monotonic() < end or not dock.explorer.live.frames.is_idle:
        QApplication.processEvents()


@dataclass
class Times:
    """Milliseconds of every frame: by the clock, of the CPU in all threads, and of our own code in the window's."""

    screen: list[float]
    cpu: list[float]
    own: list[float]


def drag(dock: ExploreDock, kind: Kind, frames: int) -> Times:
    """Move the first slider from end to end."""
    explorer = dock.explorer
    explorer.live.pace.choose = lambda: kind  # type: ignore[method-assign]
    dock.look.show_box.setCurrentText("Surface" if kind == "surface" else "Volume")
    settle(dock)
    found = Times([], [], [])
    explorer.live.frames.shown.connect(lambda mine, _: found.own.append(mine))
    explorer._rest.setInterval(100_000)
    for value in np.linspace(dock.sliders[0].minimum(), dock.sliders[0].maximum(), frames):
        begun, cpu = time.perf_counter(), time.process_time()
        dock.sliders[0].setValue(float(value))
        while not explorer.live.frames.is_idle:
            QApplication.processEvents()
        found.screen.append(1000 * (time.perf_counter() - begun))
        found.cpu.append(1000 * (time.process_time() - cpu))
    return Times(found.screen[2:], found.cpu[2:], found.own[2:])


def own_cpu(dock: ExploreDock, frames: int = 30) -> list[float]:
    """CPU milliseconds of our own code for a surface frame, in one thread."""
    dock.look.show_box.setCurrentText("Surface")
    settle(dock)
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for value in np.linspace(-0.5, 0.5, frames):
        dock.explorer.latent = np.array([value, 0.0])
        begun = time.thread_time()
        dock.explorer.live._draw()
        found.append(1000 * (time.thread_time() - begun))
        settle(dock)
    torch.set_num_threads(threads)
    return found[2:]


def timed(work: Callable[[], object], repeats: int = 15) -> list[float]:
    """Milliseconds of something, several times; the first is not counted."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begun))
    return found[1:]


def row(name: str, times: list[float], *more: str) -> None:
    print(f"| {name} | {np.median(times):.1f} | {min(times):.1f} | {' | '.join(more)} |")


def live(dock: ExploreDock, viewer: Any, frames: int, renderings: list[str]) -> None:
    print("| from slider to screen | median, ms | best, ms | CPU, all threads | our code, median, best |")
    print("|---|---|---|---|---|")

    def show(name: str, times: Times) -> None:
        own = f"{np.median(times.own):.1f}, {min(times.own):.1f}"
        row(name, times.screen, f"{np.median(times.cpu):.1f}", own)

    points = len(dock.explorer.live.surface.carried.points)  # type: ignore[union-attr]
    show(f"surface, {points:,} points", drag(dock, "surface", frames))
    for rendering in renderings:
        kinds: tuple[Kind, ...] = ("coarse", "full")
        for kind in kinds:
            layer = next((one for one in viewer.layers if one.name == NAMES[kind]), None)
            if isinstance(layer, Image):
                layer.rendering = rendering
            few = frames if rendering == "translucent" else max(5, frames // 6)
            times = drag(dock, kind, few)
            size = dock.explorer.live.volume.layer(kind).data.shape[0]  # type: ignore[union-attr]
            show(f"volume {size}³, {rendering}", times)
    row("our code for a surface frame, one thread, CPU only", own_cpu(dock), "", "")


def scatter(dock: ExploreDock, particles: int) -> None:
    plot = dock.scatter
    points = plot.points
    print(f"\n| scatter of {particles:,} particles | median, ms | best, ms | |\n|---|---|---|---|")
    row("counted again and painted", timed(lambda: (plot.bin(), plot.grab())))
    box = plot.getViewBox()

    def pan() -> None:
        box.translateBy(x=0.01, y=0.005)
        plot.grab()

    row("panned by a frame", timed(pan, 30))
    angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    outline = np.stack([np.cos(angle), np.sin(angle)], 1) * (1 + 0.3 * np.sin(7 * angle))[:, None]
    outline *= 0.5
    selection = dock.explorer.selection
    row(
        "lasso of 300 corners",
        timed(lambda: selection.choose(points, outline)),
        f"{selection.count:,} chosen",
    )
    crowd = dock.explorer.crowd
    if crowd is not None:
        row("particles near the latent counted", timed(lambda: crowd.at(dock.explorer.latent)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--voxels", type=int, default=250_000)
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", default="1366x768")
    parser.add_argument("--renderings", nargs="*", default=list(RENDERINGS), choices=RENDERINGS)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    viewer, dock = open_dock(make_model(given.box, given.voxels, given.particles), (width, height))
    canvas = viewer.screenshot(canvas_only=True, flash=False).shape
    print(
        f"box {given.box}, canvas {canvas[1]} x {canvas[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    live(dock, viewer, given.frames, given.renderings)
    scatter(dock, given.particles)
    dock.session.end()
    viewer.close()


if __name__ == "__main__":
    main()
