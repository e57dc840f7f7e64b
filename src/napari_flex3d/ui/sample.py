"""File > Open Sample: a small particle set with a known hinge motion, made on the fly."""

import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from napari_flex3d import __version__
from napari_flex3d.ui.layers import LayerData, map_layer, particles_layer

PARTICLES = 3000


def sample_folder() -> Path:
    """Where the sample of this version lies once it was made."""
    return user_cache_path("napari-flex3d") / f"hinge-{__version__}-{PARTICLES}"


def hinge() -> list[LayerData]:
    """Particles of a two-domain protein that bends at its hinge, and their consensus map."""
    folder = sample_folder()
    if not (folder / "paths.txt").is_file():
        _make(folder)
    particles, volume = (folder / name for name in (folder / "paths.txt").read_text().splitlines())
    stack, map_ = particles_layer(particles), map_layer(volume)
    stack[1].update(name="Hinge, particles", visible=False)
    map_[1].update(name="Hinge, map")
    return [stack, map_]


def _make(folder: Path) -> None:
    """Write the sample beside its place and move it there whole, so that half a sample is never read."""
    from napari_flex3d.synthetic import write_sample

    working = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        sample = write_sample(working, particles=PARTICLES)
        names = [str(path.relative_to(working)) for path in (sample.particles, sample.map)]
        (working / "paths.txt").write_text("\n".join(names))
        shutil.rmtree(folder, ignore_errors=True)
        working.rename(folder)
    finally:
        shutil.rmtree(working, ignore_errors=True)
