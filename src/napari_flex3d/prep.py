"""The stage "prep": particles, map and mask as the other stages need them, checked against each other."""

import csv
import json
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.images import Frame, on_box, take_views, write_images
from napari_flex3d.io.consensus import read_consensus, read_mask
from napari_flex3d.io.errors import InputError, Question
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.relion import particle_columns
from napari_flex3d.io.star import write_star
from napari_flex3d.io.table import Answers, ParticleTable, split_halves
from napari_flex3d.ops.images import resample_noise
from napari_flex3d.ops.mask import automatic_mask, radius_of
from napari_flex3d.params import REQUIRED, AutoFloat, AutoInt, Params, param
from napari_flex3d.particles import STACKS
from napari_flex3d.progress import Progress
from napari_flex3d.selfcheck import SelfCheck, Views, model_images, self_check

Floats = NDArray[np.float32]

_CHECKED = 300
_CHECK_RESOLUTION = 15.0
_LARGEST_CIRCLE = 0.48
"""Radius of the particle circle in boxes at most: a share of the image must be left to see the noise."""


@dataclass(frozen=True, kw_only=True)
class PrepParams(Params):
    """Parameters of prep."""

    particles: Path = param(
        REQUIRED,
        "Particles with poses and CTF of a finished refinement.",
        positional=True,
        path="file",
        suffixes=(".star", ".cs"),
    )
    map: Path = param(
        REQUIRED,
        "Consensus map of the same refinement.",
        path="file",
        suffixes=(".mrc", ".map", ".ccp4", ".gz"),
    )
    mask: Path | None = param(
        None, "Solvent mask; made from the map when not given.", path="file", suffixes=(".mrc", ".map", ".gz")
    )
    project_dir: Path | None = param(
        None,
        "Folder that image paths in the particle file start from; looked for when not given.",
        path="folder",
    )
    passthrough: tuple[Path, ...] = param(
        (),
        "CryoSPARC's passthrough files of the particles; the one beside them when not given.",
        path="file",
        suffixes=(".cs",),
    )
    use_class: int | None = param(
        None,
        "Class whose particles and poses are used, from 0, where CryoSPARC's file has several.",
        low=0,
        high=9999,
        advanced=True,
    )
    crop_box: int | None = param(
        None,
        "Box for the final reconstruction, cut from the middle of the images; the full box when not given.",
        unit="px",
        low=16,
        high=2048,
        cryosparc="box_size_pix",
    )
    train_box: AutoInt = param(
        "auto",
        "Box for training, by down-sampling; auto is 128 or the crop box if that is smaller.",
        unit="px",
        low=16,
        high=1024,
        cryosparc="bin_size_pix",
    )
    max_particles: int | None = param(
        None,
        "Use so many particles, drawn at random; all when not given.",
        low=1,
        cryosparc="keep_num_particles",
    )
    min_scale: float | None = param(
        None,
        "Leave out particles whose contrast scale is smaller.",
        low=0,
        high=10,
        step=0.01,
        cryosparc="alpha_min",
        advanced=True,
    )
    sign: Literal["auto", "bright", "dark"] = param(
        "auto", "Whether particles are brighter or darker than their surroundings; auto measures it."
    )
    seed: int = param(
        0,
        "Start of every random choice: particles drawn, half sets, check.",
        low=0,
        high=2**31 - 1,
        advanced=True,
    )
    mask_lowpass: float = param(
        10.0,
        "Filter the map to this resolution before making a mask.",
        unit="Å",
        low=1,
        high=200,
        step=0.1,
        cryosparc="mask_in_lowpass_A",
        advanced=True,
    )
    mask_threshold: AutoFloat = param(
        "auto",
        "Density of the filtered map above which it is protein.",
        step=0.0001,
        cryosparc="mask_in_threshold_level",
        advanced=True,
    )
    mask_dilate: float = param(
        2.0,
        "How far the mask reaches beyond that.",
        unit="Å",
        low=0,
        high=100,
        step=0.1,
        cryosparc="mask_dilate_A",
        advanced=True,
    )
    mask_pad: float = param(
        5.0,
        "Width of the mask's soft edge.",
        unit="Å",
        low=0,
        high=100,
        step=0.1,
        cryosparc="mask_pad_A",
        advanced=True,
    )
    pixel_size: float | None = param(
        None,
        "Pixel size of the images, where the particle file lacks it or is wrong.",
        unit="Å",
        low=0.1,
        high=100,
        step=0.0001,
        advanced=True,
    )
    voltage: float | None = param(
        None,
        "Accelerating voltage, where the particle file lacks it.",
        unit="kV",
        low=10,
        high=2000,
        step=1,
        advanced=True,
    )
    spherical_aberration: float | None = param(
        None,
        "Spherical aberration, where the particle file lacks it.",
        unit="mm",
        low=0,
        high=20,
        step=0.01,
        advanced=True,
    )
    amplitude_contrast: float | None = param(
        None, "Amplitude contrast, where the particle file lacks it.", low=0, high=1, step=0.01, advanced=True
    )
    defocus_unit: Literal["auto", "angstrom", "nanometre", "micrometre"] = param(
        "auto",
        "Unit of the defocus columns; auto takes angstrom and asks when that makes no sense.",
        advanced=True,
    )
    map_pixel_size: float | None = param(
        None,
        "Pixel size of the map, where its header is wrong.",
        unit="Å",
        low=0.1,
        high=100,
        step=0.0001,
        advanced=True,
    )
    resample_map: bool = param(
        False, "Bring a map or mask of another box or pixel size onto the particles' grid.", advanced=True
    )


def prep(params: PrepParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Check, normalise, crop and down-sample particles, map and mask.

    Parameters
    ----------
    params
        Input files and sizes.
    out
        Folder for the results.

    Yields
    ------
    Progress
        In images.

    Returns
    -------
    The check's record and a summary of the particles.

    Raises
    ------
    InputError
        For everything in the input that is wrong or missing.
    """
    yield Progress(0, 1, f"Reading {params.particles.name}.")
    table = _choose(read_any_particles(params.particles, _answers(params)), params)
    table, is_new_split = split_halves(table, params.seed)
    volume, mask = _consensus(params, table)
    frame = _frame(params, table, mask)
    total = len(table)
    yield Progress(0, total, f"{total} particles, {frame.box} px at {frame.pixel_size:g} Å.")

    views = take_views(
        table, frame, volume.data * mask, count=_CHECKED, resolution=_CHECK_RESOLUTION, seed=params.seed
    )
    check = self_check(
        views, params.sign, resolution=_CHECK_RESOLUTION, seed=params.seed, source=str(params.particles)
    )
    yield Progress(0, total, "\n".join(check.lines()))
    if params.sign == "auto":
        _ask_about_contrast(table, check)
    _draw(out / "check.png", replace(views, images=views.images * check.sign), check)

    power = yield from write_images(table, frame, check.sign, out)
    _write_table(table, frame, out)
    _write_maps(volume, mask, frame, out)
    _write_noise(power, frame, out)
    record = check.to_record() | {
        "map_scale": _map_scales(check, views, frame),
        "particle_radius": frame.radius * frame.pixel_size,
        "new_half_sets": is_new_split,
        "seed": params.seed,
        "summary": summary(table, frame),
    }
    with atomic(out / "check.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return {
        **record["summary"],
        "sign": check.sign,
        "verdict": check.verdict,
        "map_scale": record["map_scale"],
    }


def summary(table: ParticleTable, frame: Frame) -> dict[str, Any]:
    """Describe the particles: count, box, optics, half sets."""
    defocus = (table.defocus_u + table.defocus_v) / 2
    return {
        "particles": len(table),
        "box": frame.box,
        "crop_box": frame.crop_box,
        "train_box": frame.train_box,
        "pixel_size_A": frame.pixel_size,
        "train_pixel_size_A": frame.pixel_at(frame.train_box),
        "voltage_kV": _distinct(table.voltage),
        "spherical_aberration_mm": _distinct(table.spherical_aberration),
        "amplitude_contrast": _distinct(table.amplitude_contrast),
        "defocus_A": [float(defocus.min()), float(np.median(defocus)), float(defocus.max())],
        "half_sets": np.bincount(table.half, minlength=2).tolist(),
        "optics_groups": len(np.unique(table.group)),
        "ctf": sorted({table.groups[g].ctf_state for g in np.unique(table.group)}),
    }


def _answers(params: PrepParams) -> Answers:
    return Answers(
        project_dir=params.project_dir,
        pixel_size=params.pixel_size,
        voltage=params.voltage,
        spherical_aberration=params.spherical_aberration,
        amplitude_contrast=params.amplitude_contrast,
        defocus_unit=params.defocus_unit,
        passthrough=params.passthrough,
        use_class=params.use_class,
    )


def _choose(table: ParticleTable, params: PrepParams) -> ParticleTable:
    if params.min_scale is not None:
        table = table.take(table.scale >= params.min_scale)
        if not len(table):
            raise InputError(f"{params.particles}: no particle has a scale of {params.min_scale} or more.")
    if params.max_particles is not None and params.max_particles < len(table):
        drawn = np.random.default_rng(params.seed).choice(len(table), params.max_particles, replace=False)
        table = table.take(np.sort(drawn))
    return table


def _consensus(params: PrepParams, table: ParticleTable) -> tuple[Volume, Floats]:
    volume = read_consensus(
        params.map,
        table.box_size,
        table.pixel_size,
        map_pixel_size=params.map_pixel_size,
        resample=params.resample_map,
    )
    if params.mask is not None:
        return volume, read_mask(params.mask, volume, read_map(params.map), resample=params.resample_map)
    mask = automatic_mask(
        volume.data,
        volume.pixel_size,
        lowpass=params.mask_lowpass,
        threshold=params.mask_threshold,
        dilate=params.mask_dilate,
        pad=params.mask_pad,
    )
    share = 100 * float((mask > 0.5).mean())
    if not 0 < share < 95:
        raise InputError(
            f"{params.map}: the automatic mask fills {share:.1f} % of the box. "
            "Give a mask (--mask) or another threshold (--mask-threshold)."
        )
    return volume, mask


def _frame(params: PrepParams, table: ParticleTable, mask: Floats) -> Frame:
    box = table.box_size
    crop_box = params.crop_box or box
    train_box = min(128, crop_box) if params.train_box == "auto" else params.train_box
    for name, value, most in (("crop_box", crop_box, box), ("train_box", train_box, crop_box)):
        if value % 2 or value > most:
            raise InputError(f"{name} = {value}: must be even and at most {most}.")
    radius = radius_of(mask, table.pixel_size) / table.pixel_size
    if 2 * radius > crop_box * np.sqrt(3):
        raise InputError(f"crop_box = {crop_box}: the mask reaches {2 * radius:.0f} px. Use a larger box.")
    return Frame(box, crop_box, train_box, table.pixel_size, min(radius + 2, _LARGEST_CIRCLE * box))


def _write_table(table: ParticleTable, frame: Frame, out: Path) -> None:
    written = replace(table, box_size=frame.crop_box)
    names = [f"{number:06d}@{STACKS['full']}" for number in range(1, len(table) + 1)]
    write_star(out / "particles.star", particle_columns(written, names))


def _write_maps(volume: Volume, mask: Floats, frame: Frame, out: Path) -> None:
    for name, data, box in (
        ("map", volume.data, frame.crop_box),
        ("map_train", volume.data, frame.train_box),
        ("mask", mask, frame.crop_box),
        ("mask_train", mask, frame.train_box),
    ):
        small = on_box(data, frame.crop_box, box)
        small = np.clip(small, 0, 1) if data is mask else small
        write_map(out / f"{name}.mrc", small, like=volume, pixel_size=frame.pixel_at(box))


def _write_noise(power: Tensor, frame: Frame, out: Path) -> None:
    with atomic(out / "noise.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stack", "shell", "frequency", "power"])
        for stack, box in (("full", frame.crop_box), ("train", frame.train_box)):
            field = frame.crop_box * frame.pixel_size
            values = resample_noise(power, frame.box, frame.crop_box, box).tolist()
            writer.writerows((stack, s, f"{s / field:.6g}", f"{v:.6g}") for s, v in enumerate(values))


def _map_scales(check: SelfCheck, views: Views, frame: Frame) -> dict[str, float]:
    """Bring the map's scale from the check's box to each stack's.

    A projection has fewer voxels to sum over on a coarser grid, and `shrink` makes up for the lower noise:
    both are a factor of crop box over box.
    """
    at_crop = check.scale * (len(views.density) / frame.crop_box) ** 2
    return {"full": at_crop, "train": at_crop * (frame.crop_box / frame.train_box) ** 2}


def _distinct(values: NDArray[np.float64]) -> list[float]:
    return np.unique(values.round(4)).tolist()


def _ask_about_contrast(table: ParticleTable, check: SelfCheck) -> None:
    """Ask when the contrast stated in the file is not what the images show."""
    if table.contrast in (0, check.sign):
        return
    says, looks = ("dark", "bright") if check.sign == 1 else ("bright", "dark")
    margin = next(trial.margin for trial in check.trials if trial.name == "sign flipped")
    raise Question(f"blob/sign says {says}, the images look {looks} (z = {margin:.1f}).", "--sign")


def _draw(path: Path, views: Views, check: SelfCheck) -> None:
    """Draw some particles above what the map predicts for them, and the table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    some = slice(0, 8)
    few = replace(views, images=views.images[some], table=views.table.take(np.arange(len(views.table))[some]))
    images, models = model_images(few, max(25.0, 1.3 * check.resolution), check.scale * check.sign)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=[3, 2])
    upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    axes = upper.subplots(2, 1)
    for row, pictures in zip(axes, (images, models), strict=True):
        scaled = (pictures - pictures.mean((-2, -1), keepdim=True)) / pictures.std((-2, -1), keepdim=True)
        row.imshow(np.hstack(list(scaled.numpy())), cmap="gray", vmin=-4, vmax=4)
        row.set_axis_off()
    upper.suptitle("Particles, low-passed (top), and CTF × projection of the map (bottom)", fontsize=10)
    lower.text(0.02, 0.95, "\n".join(check.lines()), family="monospace", fontsize=9, va="top")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
