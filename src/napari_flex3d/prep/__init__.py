"""The stage "prep": particles, map and mask as the other stages need them, checked against each other."""

import json
import warnings
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.images import LARGEST_CIRCLE, Frame, take_views, write_images
from napari_flex3d.io.consensus import read_consensus
from napari_flex3d.io.copies import expanded, images_once
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.files import atomic
from napari_flex3d.io.halves import split_halves
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.ops.mask import radius_of
from napari_flex3d.prep.inputs import map_and_mask, read_table, symmetry_of
from napari_flex3d.prep.params import PrepParams
from napari_flex3d.prep.picture import draw_check
from napari_flex3d.prep.results import check_space, write_maps, write_noise, write_table
from napari_flex3d.progress import Progress
from napari_flex3d.selfcheck import SelfCheck, Views, self_check

__all__ = ["PrepParams", "prep", "summary"]

Floats = NDArray[np.float32]

_CHECKED = 300
_CHECK_RESOLUTION = 15.0


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
    own = read_consensus(params.map, pixel_size=params.map_pixel_size, accept=params.accept_map)
    table, is_new_split = split_halves(read_table(params, own), params.seed)
    volume, mask = map_and_mask(params, own, table)
    rotations = symmetry_of(params, volume)
    frame = _frame(params, table, mask)
    first, image = images_once(table)
    total = len(first)
    check_space(out, total, frame)
    yield Progress(0, total, f"{len(table)} particles, {frame.box} px at {frame.pixel_size:g} Å.")

    views = take_views(
        table, frame, volume.data * mask, count=_CHECKED, resolution=_CHECK_RESOLUTION, seed=params.seed
    )
    check = self_check(views, params.sign, resolution=_CHECK_RESOLUTION, seed=params.seed)
    yield Progress(0, total, "\n".join(check.lines()))
    draw_check(out / "check.png", replace(views, images=views.images * check.sign), check)
    _judge(params, table, check)

    power = yield from write_images(table.take(first), frame, check.sign, out)
    if len(rotations) > 1:
        table, image = expanded(table, rotations), np.repeat(image, len(rotations))
    write_table(table, image, frame, out)
    write_maps(volume, mask, frame, out)
    write_noise(power, frame, out)
    record = check.to_record() | {
        "map_scale": _map_scales(check, views, frame),
        "particle_radius": frame.radius * frame.pixel_size,
        "ignored": bool(check.flag),
        "new_half_sets": is_new_split,
        "seed": params.seed,
        "summary": summary(table, frame) | ({"images": total} if total < len(table) else {}),
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


def _judge(params: PrepParams, table: ParticleTable, check: SelfCheck) -> None:
    """Stop where the check fails, unless the person wants to go on."""
    if not params.ignore_check:
        switches = ("flip_hand", "negate_shifts", "invert_rotations")
        given = [f"--{name.replace('_', '-')}" for name in switches if getattr(params, name)]
        check.demand(str(params.particles), given)
    elif check.flag:
        warnings.warn(f"The self-check is ignored: {check.verdict}", InputWarning, stacklevel=2)
    if params.sign == "auto":
        _ask_about_contrast(table, check)


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
    return Frame(box, crop_box, train_box, table.pixel_size, min(radius + 2, LARGEST_CIRCLE * box))


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
    stated = set(np.unique(table.contrast).tolist()) - {0}
    margin = next(trial.margin for trial in check.trials if trial.name == "sign flipped")
    if stated == {1, -1} and check.sign == -1:
        raise Question(
            f"blob/sign is 1 for some images and -1 for others, they look the other way round (z = {margin:.1f}).",
            "--sign",
        )
    if len(stated) == 1 and stated != {check.sign}:
        says, looks = ("dark", "bright") if check.sign == 1 else ("bright", "dark")
        raise Question(f"blob/sign says {says}, the images look {looks} (z = {margin:.1f}).", "--sign")
