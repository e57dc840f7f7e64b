"""The stage "generate": series of volumes and movies along the latents; atomic models moved the same way."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.generate.morph import map_of, morph
from napari_flex3d.generate.picture import draw_frame, frame_region, surface_level
from napari_flex3d.generate.series import (
    Series,
    along_axis,
    chimerax_script,
    make_series,
    read_latents,
    series_table,
)
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.io.movies import write_movie
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.model import FlexModel, load_model
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.progress import Progress

__all__ = ["GenerateParams", "check_map", "generate", "morph"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class GenerateParams(Params):
    """Parameters of the generator."""

    train: Path = param(REQUIRED, "Training job; it may still be running.", positional=True, path="job")
    map: Path | None = param(
        None,
        "Map to move, of the same particle at any box and pixel size, centred as the consensus map is; the "
        "canonical map of the training unless given.",
        path="file",
        suffixes=(".mrc", ".map"),
    )
    axis: tuple[int, ...] = param(
        (), "Latent coordinates to go along, 1 for z1; all of them unless given.", low=1, high=16
    )
    frames: int = param(41, "Volumes per series.", low=2, high=999, cryosparc="flex_gen_num_pts")
    at: Path | None = param(
        None,
        "Table with columns z1, z2, ...: one volume per row, instead of series.",
        path="file",
        suffixes=(".csv",),
    )
    box: int | None = param(
        None,
        "Box of the volumes when the canonical map is moved; the training's.",
        unit="px",
        low=16,
        high=1024,
        advanced=True,
    )
    pixel_size: float | None = param(
        None,
        "Pixel size of the volumes when the canonical map is moved; the training's.",
        unit="Å",
        low=0.1,
        high=50,
        step=0.001,
        advanced=True,
    )


@dataclass(frozen=True)
class _Subject:
    """What is moved, where it lies, how it is shown; without a map given it is the canonical one."""

    model: FlexModel
    place: Volume
    given: Floats | None
    region: tuple[slice, slice, slice]
    level: float

    def volume(self, latent: Floats) -> Floats:
        grid = {"map": self.given} if self.given is not None else {"box": len(self.place.data)}
        return self.model.volume(latent, apix=self.place.pixel_size, **grid)


def generate(params: GenerateParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Write volumes and a movie for each series.

    Parameters
    ----------
    params
        Training, map and series.
    out
        Existing folder; each series gets a folder in it.

    Returns
    -------
    dict
        For each series: frames, motion between its ends in Å, frames that few particles support.

    Raises
    ------
    InputError
        If a coordinate, the table or the map does not fit the model.
    """
    model = load_model(params.train)
    chosen = _series(params, model)
    subject = _subject(params, model)
    total = sum(len(series.latents) for series in chosen)
    done = 0
    summary = {}
    for series in chosen:
        pictures = []
        for frame, latent in enumerate(series.latents):
            density = subject.volume(latent)
            write_map(out / series.name / f"frame_{frame:03d}.mrc", density, like=subject.place)
            pictures.append(_picture(subject, series, frame, density))
            done += 1
            yield Progress(done, total, f"{series.name}: {len(series.latents)} volumes" if frame == 0 else "")
        _write_series(out / series.name, series, subject, pictures)
        summary[series.name] = _facts(model, series)
        yield Progress(done, total, _sentence(series.name, summary[series.name]))
    return {"series": summary, "box": len(subject.place.data), "pixel_size_A": subject.place.pixel_size}


def _series(params: GenerateParams, model: FlexModel) -> list[Series]:
    """Make the series that are asked for."""
    dims = model.latent_dims
    if wrong := [axis for axis in params.axis if axis > dims]:
        raise InputError(f"axis = {wrong[0]}: {params.train} has {dims} latent coordinates, 1 to {dims}.")
    found = []
    if params.at is not None:
        found.append(make_series("at", read_latents(params.at, dims), model.latents))
    axes = params.axis or (() if params.at is not None else tuple(range(1, dims + 1)))
    for axis in dict.fromkeys(axes):
        path = along_axis(model.latents, axis - 1, params.frames)
        found.append(make_series(f"axis_{axis}", path, model.latents))
    return found


def _subject(params: GenerateParams, model: FlexModel) -> _Subject:
    """Take the map that is given, or else the canonical one on the grid that is asked for."""
    if params.map is None:
        pixel_size = params.pixel_size or model.pixel_size
        box = params.box or _same_field(model, pixel_size)
        place = map_of(params.train).on_grid(np.zeros((box,) * 3, np.float32), pixel_size)
        level = surface_level(model.canonical, model.mask)
        return _Subject(model, place, None, frame_region(model.mask_on(box, pixel_size)), level)
    if params.box is not None or params.pixel_size is not None:
        raise InputError("box and pixel_size are for the canonical map; a map that is given keeps its own.")
    place = read_map(params.map)
    check_map(params.map, place, model)
    mask = model.mask_on(len(place.data), place.pixel_size)
    return _Subject(model, place, place.data, frame_region(mask), surface_level(place.data, mask))


def _same_field(model: FlexModel, pixel_size: float) -> int:
    """Box that shows the training's field at another pixel size; even."""
    return 2 * math.ceil(model.box_size * model.pixel_size / pixel_size / 2 - 1e-6)


def check_map(path: Path, place: Volume, model: FlexModel) -> None:
    """See that the model can move a map.

    Raises
    ------
    InputError
        If it is no cube, has no voxel size, or is smaller than the particle.
    """
    if len(set(place.data.shape)) > 1:
        raise InputError(
            f"{path}: {place.data.shape}; a cubic map is needed, centred as the consensus map is."
        )
    if place.pixel_size <= 0:
        raise InputError(f"{path}: the header has no voxel size. Set it, for example in ChimeraX.")
    field = len(place.data) * place.pixel_size
    where = np.argwhere(model.mask) - model.box_size // 2
    needed = 2 * float(np.abs(where).max(initial=0)) * model.pixel_size
    if field < 0.9 * needed:
        raise InputError(
            f"{path}: its field of {field:.0f} Å does not hold the mask, which needs {needed:.0f} Å. "
            "Is the voxel size in its header right?"
        )


def _picture(subject: _Subject, series: Series, frame: int, density: Floats) -> NDArray[np.uint8]:
    supported = bool(series.supported[frame])
    latent = "   ".join(f"z{k + 1} {value:+.2f}" for k, value in enumerate(series.latents[frame]))
    caption = f"{frame}   {latent}   {series.particles[frame]} particles near"
    if not supported:
        caption += "   few: interpolated"
    return draw_frame(density[subject.region], subject.level, caption, supported)


def _write_series(folder: Path, series: Series, subject: _Subject, pictures: list[NDArray[np.uint8]]) -> None:
    along = series.name != "at"
    with atomic(folder / "latents.csv") as temporary:
        temporary.write_text(series_table(series), encoding="utf-8")
    with atomic(folder / "series.cxc") as temporary:
        temporary.write_text(chimerax_script(subject.level, oscillate=along), encoding="utf-8")
    loop = pictures + pictures[-2:0:-1] if along else pictures  # there and back, so that it can be looped
    write_movie(folder / "movie.mp4", np.stack(loop), fps=15 if along else 3)


def _facts(model: FlexModel, series: Series) -> dict[str, Any]:
    """Say what the record keeps of a series."""
    ends = model.displacements(series.latents[[0, -1]])
    mass = model.generator.mass.numpy()
    motion = float(np.sqrt((np.square(ends[1] - ends[0]).sum(-1) * mass).sum() / mass.sum()))
    return {
        "frames": len(series.latents),
        "first": series.latents[0].tolist(),
        "last": series.latents[-1].tolist(),
        "motion_rms_A": motion,
        "unsupported_frames": np.flatnonzero(~series.supported).tolist(),
    }


def _sentence(name: str, facts: dict[str, Any]) -> str:
    few = len(facts["unsupported_frames"])
    text = f"{name}: {facts['motion_rms_A']:.1f} Å rms between its ends"
    return f"{text}; {few} of {facts['frames']} frames have few particles near them" if few else text
