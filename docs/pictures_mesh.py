"""Pictures of the mesh studio, step by step, for `mesh.md`: two made combs that slide along each other.

Run: python docs/pictures_mesh.py [--out docs/images] [--theme dark]    (needs a display; Xvfb will do)
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication
from scipy.spatial import cKDTree

from napari_flex3d.mesh import voxel_positions
from napari_flex3d.stages import prepare, stage_named
from napari_flex3d.synthetic import Sample, write_sample
from napari_flex3d.ui.view import TILTED, open_viewer

SIZE = (1366, 768)
COLORS = 128
PATIENCE = 120.0


class Studio:
    """The window, and what a person does in it.

    Parameters
    ----------
    made
        The particle set.
    job
        Its prep job.
    theme
        "dark" or "light".
    """

    def __init__(self, made: Sample, job: Path, theme: str) -> None:
        self.viewer, docks = open_viewer(job)
        self.viewer.theme = theme
        self.viewer.window.resize(*SIZE)
        self.dock: Any = docks.widgets["Mesh"]
        self.made = made
        wait(lambda: self.dock.bench is not None)
        docks.select("Mesh")
        self.bench, self.design = self.dock.bench, self.dock.design

    def then(self, action: Callable[[], Any]) -> None:
        """Do something and wait for the mesh that follows."""
        seen: list[Any] = []
        self.design.drafted.connect(seen.append)
        action()
        wait(lambda: bool(seen))
        self.design.drafted.disconnect(seen.append)

    def picture(self, path: Path, *, scroll: int = 0) -> None:
        """Write a picture of the window, with few colours: it is small then."""
        self.dock.verticalScrollBar().setValue(scroll)
        wait(lambda: False, 1.0)
        pixels = self.viewer.screenshot(canvas_only=False, flash=False)
        Image.fromarray(pixels[..., :3]).quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path}  {path.stat().st_size // 1024} kB")

    def combs(self) -> np.ndarray:
        """Voxels of the mask labelled by the comb that they belong to, 1 or 2."""
        ground = self.design.painting.ground
        voxels = np.argwhere(ground.mask)
        places = voxel_positions(voxels, len(ground.mask), ground.density.pixel_size)
        nearest = cKDTree(self.made.coordinates[self.made.reference]).query(places)[1]
        labels = np.zeros(ground.mask.shape, np.uint16)
        labels[tuple(voxels.T)] = 1 + self.made.moving[nearest]
        return labels

    def stroke(self, segment: int, height: float) -> None:
        """Paint along a comb's surface, as the mouse would."""
        painting = self.design.painting
        self.design.selected = segment
        inside = (self.combs() == segment) & (painting.ground.density.data > painting.contour)
        voxels = np.argwhere(inside)
        near = voxels[np.abs(voxels[:, 0] - np.quantile(voxels[:, 0], height)) < 1]
        with painting.stroke():
            for voxel in near[:: max(1, len(near) // 60)]:
                painting.dab(voxel)


def wait(done: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Let the window work until something is true."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def tour(studio: Studio, out: Path) -> None:
    """Go through the steps."""
    bench, design = studio.bench, studio.design
    studio.then(bench.solid_button.click)
    studio.viewer.scene.camera.angles = TILTED
    design.new_segment()
    studio.then(lambda: studio.stroke(1, 0.5))
    studio.then(lambda: studio.stroke(2, 0.5))
    studio.picture(out / "studio-paint.png")
    studio.then(bench.slices_button.click)
    studio.picture(out / "studio-slices.png")
    bench.sources.choose("watershed")
    bench.sources.size_slider.setValue(12)
    studio.then(bench.solid_button.click)
    studio.viewer.scene.camera.angles = TILTED
    studio.then(bench.sources.button.click)
    studio.picture(out / "studio-watershed.png")
    design.roles, design.names = {1: "soft", 2: "soft"}, {1: "fixed comb", 2: "sliding comb"}
    studio.then(lambda: design.painting.replace(studio.combs()))
    studio.then(bench.joints.none_button.click)
    studio.picture(out / "studio-joints.png", scroll=10_000)
    bench.try_button.click()
    bench.trial.hold(2)
    moved: list[str] = []
    bench.trial.moved.connect(moved.append)
    bench.trial.move(np.array([0.0, 18.0, 24.0]))
    wait(lambda: bool(moved))
    studio.picture(out / "studio-try.png", scroll=10_000)
    bench.try_button.click()


def main() -> None:
    """Make the set, open the window, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    parser.add_argument("--theme", default="dark", choices=["dark", "light"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        made = write_sample(Path(folder) / "slide", kind="slide", particles=200, box=64)
        params = stage_named("prep").params(particles=made.particles, map=made.map, mask=made.mask)
        job = prepare(params, Path(folder) / "J1-prep").folder
        studio = Studio(made, job, given.theme)
        try:
            tour(studio, given.out)
        finally:
            studio.viewer.close()


if __name__ == "__main__":
    main()
