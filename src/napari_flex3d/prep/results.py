"""What prep writes beside the images, and whether there is room for it."""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.images import Frame, on_box
from napari_flex3d.io.columns import Texts
from napari_flex3d.io.errors import Question
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume, write_map
from napari_flex3d.io.relion import particle_columns
from napari_flex3d.io.star import write_star
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.ops.images import resample_noise
from napari_flex3d.particles import STACKS

Floats = NDArray[np.float32]

_SPARE = 1.02
"""For tables, maps and pictures, which are small beside the stacks."""


def check_space(out: Path, count: int, frame: Frame) -> None:
    """Look whether both stacks fit on the disk before anything is written.

    Raises
    ------
    Question
        If they do not; with the number of particles and the box that would.
    """
    folder = next(place for place in (out, *out.resolve().parents) if place.exists())
    free = shutil.disk_usage(folder).free

    def bytes_of(crop_box: int, train_box: int) -> float:
        return 2 * _SPARE * (crop_box**2 + train_box**2)

    need = count * bytes_of(frame.crop_box, frame.train_box)
    if need <= free:
        return
    fit = int(free / bytes_of(frame.crop_box, frame.train_box))
    box = math.isqrt(int(max(free / count / 2 / _SPARE - frame.train_box**2, 0))) // 2 * 2
    smaller = f" cut them to {box} px (--crop-box)," if box >= max(frame.train_box, 2 * frame.radius) else ""
    raise Question(
        f"{count} images need {need / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {out}: use {fit} of them,"
        f"{smaller} or a folder on another disk?",
        "--max-particles",
    )


def write_table(table: ParticleTable, image: NDArray[np.intp], frame: Frame, out: Path) -> None:
    """Write ``particles.star``: the table of the images as they are written, with the image of each row (N)."""
    written = replace(table, box_size=frame.crop_box)
    names = Texts(lambda images: [f"{number + 1:06d}@{STACKS['full']}" for number in images], image)
    write_star(out / "particles.star", particle_columns(written, names))


def write_maps(volume: Volume, mask: Floats, frame: Frame, out: Path) -> None:
    """Write map and mask at both boxes; they overlay the map that was given."""
    for name, data, box in (
        ("map", volume.data, frame.crop_box),
        ("map_train", volume.data, frame.train_box),
        ("mask", mask, frame.crop_box),
        ("mask_train", mask, frame.train_box),
    ):
        small = on_box(data, frame.crop_box, box)
        small = np.clip(small, 0, 1) if data is mask else small
        write_map(out / f"{name}.mrc", small, like=volume, pixel_size=frame.pixel_at(box))


def write_noise(power: Tensor, frame: Frame, out: Path) -> None:
    """Write the noise power of both stacks, ``noise.csv``."""
    with atomic(out / "noise.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stack", "shell", "frequency", "power"])
        for stack, box in (("full", frame.crop_box), ("train", frame.train_box)):
            field = frame.crop_box * frame.pixel_size
            values = resample_noise(power, frame.box, frame.crop_box, box).tolist()
            writer.writerows((stack, s, f"{s / field:.6g}", f"{v:.6g}") for s, v in enumerate(values))
