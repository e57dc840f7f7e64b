"""File > Open Sample: a small particle set with a known hinge motion, made on the fly; as files, or trained."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from napari_flex3d import __version__
from napari_flex3d.ui.layers import LayerData, map_layer, particles_layer

PARTICLES = 3000
TRAINED: dict[str, Any] = {"particles": 600, "box": 32, "pixel_size": 6.0, "seed": 0}
"""The set that the trained sample is made from: as small as shows the motion."""
EPOCHS = 5
FADES_IN = 0.5
"""Seconds until napari's notification can be read."""


def sample_folder() -> Path:
    """Where the sample of this version lies once it was made."""
    return user_cache_path("napari-flex3d") / f"hinge-{__version__}-{PARTICLES}"


def trained_folder() -> Path:
    """Where the project of the trained sample lies once it was made."""
    return user_cache_path("napari-flex3d") / f"hinge-trained-{__version__}-{TRAINED['particles']}"


def hinge() -> list[LayerData]:
    """Particles of a two-domain protein that bends at its hinge, and their consensus map."""
    folder = sample_folder()
    _make(folder, _write, "The sample is being made; that takes about a quarter of a minute, once.")
    particles, volume = (folder / name for name in (folder / "paths.txt").read_text().splitlines())
    stack, map_ = particles_layer(particles), map_layer(volume)
    # napari shows the middle slice of everything: let that be the map's, not one of thousands of images
    to_middle = 0.5 * len(map_[0]) * map_[1]["scale"][0] + map_[1]["translate"][0] - 0.5 * len(stack[0])
    stack[1].update(name="Hinge, particles", visible=False, translate=(to_middle, 0.0, 0.0))
    map_[1].update(name="Hinge, map")
    return [stack, map_]


def hinge_trained() -> list[LayerData]:
    """A model that was trained on such particles; docks that are open show it."""
    from napari_flex3d.ui.reader import read

    folder = trained_folder()
    _make(folder, _train, "The sample is being made and trained; that takes about half a minute, once.")
    return read(str(folder / "J3-train"))


def _make(folder: Path, write: Callable[[Path], None], words: str) -> None:
    """Write a sample beside its place and move it there whole, so that half a sample is never read."""
    if folder.is_dir():
        return
    _say(words)
    working = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        working.parent.mkdir(parents=True, exist_ok=True)
        write(working)
        working.rename(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _say(words: str) -> None:
    """Tell the person before the window stands still, and let it fade in."""
    from napari.utils.notifications import show_info
    from qtpy.QtWidgets import QApplication

    show_info(words)
    end = time.monotonic() + FADES_IN
    while QApplication.instance() is not None and time.monotonic() < end:
        QApplication.processEvents()


def _write(folder: Path) -> None:
    from napari_flex3d.synthetic import write_sample

    sample = write_sample(folder, particles=PARTICLES)
    names = [str(path.relative_to(folder)) for path in (sample.particles, sample.map)]
    (folder / "paths.txt").write_text("\n".join(names))


def _train(folder: Path) -> None:
    """Go from particles to a trained model; it takes half a minute, once."""
    from napari_flex3d.stages import run_to_end, stage_named
    from napari_flex3d.synthetic import write_sample
    from napari_flex3d.ui.triton_apart import load_triton

    load_triton()
    sample = write_sample(folder / "sample", **TRAINED)
    given: dict[str, dict[str, Any]] = {
        "prep": {"particles": sample.particles, "map": sample.map},
        "mesh": {"prep": folder / "J1-prep"},
        "train": {"mesh": folder / "J2-mesh", "latent_dims": 1, "epochs": EPOCHS},
    }
    for number, (name, values) in enumerate(given.items(), 1):
        stage = stage_named(name)
        run_to_end(stage, stage.params(**values), folder / f"J{number}-{name}")
