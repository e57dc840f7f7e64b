"""Reader for napari: maps, particle stacks, particle files of RELION and CryoSPARC, segments, and job folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_flex3d.io.cs import is_cs
from napari_flex3d.io.errors import InputError, sentence_of
from napari_flex3d.jobs import input_of, read_job
from napari_flex3d.ui.layers import (
    JOB_KEY,
    LayerData,
    map_layer,
    particles_layer,
    segments_layer,
    stack_layer,
)
from napari_flex3d.ui.wording import in_window

Reader = Callable[[str | Sequence[str]], list[LayerData]]

MAPS = (".mrc", ".map", ".mrc.gz", ".map.gz", ".mrc.bz2", ".map.bz2")
STACKS = (".mrcs",)
PARTICLES = (".star", ".cs")
SEGMENTS = (".seg",)
HDF5 = b"\x89HDF"
NOTHING: Any = [(None,)]
"""What napari takes as: this was ours, and there is nothing to show."""


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Reader for a file or a job folder; None for what is not ours."""
    first = Path(path if isinstance(path, str) else path[0])
    name = first.name.lower()
    if first.is_dir():
        return read_or_say if (first / "job.json").is_file() else None
    if not name.endswith((*MAPS, *STACKS, *PARTICLES, *SEGMENTS)):
        return None
    if name.endswith(SEGMENTS) and _bytes(first)[:4] != HDF5:
        return None  # a mesh of CryoSPARC has this ending too
    if name.endswith(".cs") and not is_cs(first):
        return None  # C# sources have this ending too
    if name.endswith(".star") and "data_" not in _beginning(first):
        return None
    return read_or_say


def read_or_say(path: str | Sequence[str]) -> list[LayerData]:
    """Layers, or none and a sentence about what is wrong: an error would come with its traceback."""
    from napari.utils.notifications import show_error

    try:
        return read(path)
    except Exception as error:
        show_error(in_window(sentence_of(error), {}))
        return NOTHING


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Layers of one or several files or job folders."""
    paths = [path] if isinstance(path, str) else path
    return [layer for one in paths for layer in _read_one(Path(one))]


def _read_one(path: Path) -> list[LayerData]:
    name = path.name.lower()
    if path.is_dir():
        return _read_job(path)
    if name.endswith(PARTICLES):
        return [particles_layer(path)]
    if name.endswith(SEGMENTS):
        return [segments_layer(path)]
    if name.endswith(STACKS):
        return [stack_layer(path)]
    return [map_layer(path)]


def _read_job(folder: Path) -> list[LayerData]:
    """Read a job's maps; docks that are open take the layers' metadata as a request to open the job."""
    job = read_job(folder)
    maps = {
        "prep": ["map.mrc", "mask.mrc"],
        "train": ["canonical.mrc"],
        "reconstruct": ["flex.mrc", "rigid.mrc"],
    }.get(job.stage, [])
    paths = [folder / name for name in maps if (folder / name).is_file()]
    if job.stage in ("mesh", "motions") or (job.state == "running" and not paths):
        paths = [_prep_of(folder) / "map.mrc"]
    if job.stage == "generate":
        paths = sorted(folder.glob("*/frame_*.mrc"))[:1]
    if not paths:
        raise InputError(
            f"{folder} is a {job.stage} job that has written no map yet; its state is {job.state}."
        )
    layers = [map_layer(file) for file in paths]
    for _, look, _ in layers:
        look["metadata"] = {JOB_KEY: str(folder)}
    if job.stage == "reconstruct":
        _as_twins(layers)
    return layers


def _prep_of(folder: Path) -> Path:
    """Find the prep job that a job was made from, through the jobs between."""
    while (job := read_job(folder)).stage != "prep":
        before = {"mesh": "prep", "motions": "mesh", "train": "mesh"}
        folder = input_of(folder, before.get(job.stage, "train"))
    return folder


def _as_twins(layers: list[LayerData]) -> None:
    """Show maps that are to be compared alike: the first one's contour and contrast, and the first one alone."""
    first = layers[0][1]
    for _, look, _ in layers[1:]:
        look.update({name: first[name] for name in ("iso_threshold", "contrast_limits") if name in first})
        look["visible"] = False


def _beginning(path: Path) -> str:
    """First part of a text file, where the first data block of a star file begins."""
    return _bytes(path).decode("utf-8", errors="replace")


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1 << 16)
