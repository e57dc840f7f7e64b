"""Recorded images on their way to the other stages: a few at a time, normalised, cropped, down-sampled."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import open_stack, write_stack
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.ops.fourier import resample3
from napari_flex3d.ops.images import crop, noise_power, normalise, outside_circle, resample_noise, shrink
from napari_flex3d.particles import STACKS
from napari_flex3d.progress import Progress
from napari_flex3d.selfcheck import Views

Floats = NDArray[np.float32]

_NOISE_IMAGES = 2000
_CHUNK_PIXELS = 2**22
_OPEN_STACKS = 32


@dataclass(frozen=True)
class Frame:
    """Sizes that all images share.

    Parameters
    ----------
    box, crop_box, train_box
        As recorded, as cut out, as down-sampled, pixels.
    pixel_size
        As recorded, Å.
    radius
        Of the circle that holds the particle, pixels as recorded.
    """

    box: int
    crop_box: int
    train_box: int
    pixel_size: float
    radius: float

    def pixel_at(self, box: int) -> float:
        """Pixel size of the cut-out field on another box, Å."""
        return self.pixel_size * self.crop_box / box


def read_images(
    table: ParticleTable, rows: NDArray[Any], stacks: dict[int, NDArray[Any]] | None = None
) -> Tensor:
    """Images of some rows as they stand in their stacks, (B, n, n) float32.

    Parameters
    ----------
    stacks
        Stacks that are open already, by number; filled as needed, at most a few at a time.
    """
    opened = {} if stacks is None else stacks
    images = np.empty((len(rows), table.box_size, table.box_size), dtype=np.float32)
    numbers = table.stack[rows]
    for number in dict.fromkeys(numbers.tolist()):
        if number not in opened:
            if len(opened) >= _OPEN_STACKS:
                opened.pop(next(iter(opened)))
            opened[number] = open_stack(table.stacks[number])
        mine = np.flatnonzero(numbers == number)
        images[mine] = opened[number][table.image[rows[mine]]]
    return torch.from_numpy(images)


def _chunks(table: ParticleTable, frame: Frame) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """All images in order, a few at a time, whatever their number."""
    size = max(1, _CHUNK_PIXELS // frame.box**2)
    opened: dict[int, NDArray[Any]] = {}
    for start in range(0, len(table), size):
        rows = np.arange(start, min(start + size, len(table)))
        yield rows, read_images(table, rows, opened)


def _around(table: ParticleTable, frame: Frame, rows: NDArray[np.int64], edge: float = 0.0) -> Tensor:
    shift = torch.from_numpy((table.shift[rows] / frame.pixel_size).astype(np.float32))
    return outside_circle(frame.box, frame.radius, shift, edge)


def take_views(
    table: ParticleTable, frame: Frame, density: Floats, *, count: int, resolution: float, seed: int
) -> Views:
    """Take some particles and the map on a box just fine enough for the check."""
    count = min(count, len(table))
    rows = np.sort(np.random.default_rng(seed).choice(len(table), count, replace=False))
    field = frame.crop_box * frame.pixel_size
    box = min(frame.crop_box, int(2 * np.ceil(1.3 * field / resolution)))
    images, kept, power = [], [], torch.zeros(frame.box // 2 + 1)
    for part in np.array_split(rows, max(1, count // 25)):
        raw = read_images(table, part)
        part, raw = part[~_spoilt(raw)], raw[torch.from_numpy(~_spoilt(raw))]  # refused when all are read
        if not len(part):
            continue
        raw = normalise(raw, _around(table, frame, part))
        power += noise_power(raw, _around(table, frame, part, edge=4.0)).sum(0)
        images.append(shrink(crop(raw, frame.crop_box), box))
        kept.append(part)
    if not kept:
        raise InputError(_about_spoilt(table, rows.tolist()))
    rows_kept = np.concatenate(kept)
    return Views(
        torch.cat(images),
        table.take(rows_kept),
        frame.pixel_at(box),
        on_box(density, frame.crop_box, box) * _inside(density, frame, box),
        resample_noise(power / len(rows_kept), frame.box, frame.crop_box, box),
    )


def on_box(volume: Floats, crop_box: int, box: int) -> Floats:
    """Cut the middle of a map and bring it to another box over that field."""
    first = len(volume) // 2 - crop_box // 2
    part = np.ascontiguousarray(volume[(slice(first, first + crop_box),) * 3])
    return resample3(torch.from_numpy(part), box).numpy()


def _inside(density: Floats, frame: Frame, box: int) -> Floats:
    """1 where the mask left anything, so that ringing of the resampling adds no points far away."""
    return (on_box((density != 0).astype(np.float32), frame.crop_box, box) > 0.05).astype(np.float32)


def write_images(
    table: ParticleTable, frame: Frame, sign: int, out: Path
) -> Generator[Progress, None, Tensor]:
    """Write both stacks in one pass over the images; return the noise power of a shell as recorded."""
    power, seen = torch.zeros(frame.box // 2 + 1), 0
    every = -(-len(table) // _NOISE_IMAGES)
    bad: list[int] = []
    with ExitStack() as files:
        full = files.enter_context(write_stack(out / STACKS["full"], frame.crop_box, frame.pixel_size))
        train_pixel = frame.pixel_at(frame.train_box)
        train = files.enter_context(write_stack(out / STACKS["train"], frame.train_box, train_pixel))
        for rows, raw in _chunks(table, frame):
            bad += rows[_spoilt(raw)].tolist()
            if not bad:
                images = normalise(sign * raw, _around(table, frame, rows))
                cropped = crop(images, frame.crop_box)
                full.append(cropped.numpy())
                train.append(shrink(cropped, frame.train_box).numpy())
                some = slice(None, None, every)
                power += noise_power(images[some], _around(table, frame, rows[some], edge=4.0)).sum(0)
                seen += len(rows[some])
            yield Progress(int(rows[-1]) + 1, len(table))
        if bad:
            raise InputError(_about_spoilt(table, bad))
    return power / seen


def _spoilt(images: Tensor) -> NDArray[np.bool_]:
    finite = images.isfinite().all(-1).all(-1)
    deviation = images.double().nan_to_num().std((-2, -1))
    return (~finite | (deviation < 1e-6)).numpy()


def _about_spoilt(table: ParticleTable, bad: list[int]) -> str:
    first = table.image_name(bad[0])
    where = table.stacks[table.stack[bad[0]]]
    if open_stack(where).dtype.itemsize == 2 and open_stack(where).dtype.kind == "f":
        images = read_images(table, np.array(bad)[table.stack[bad] == table.stack[bad[0]]])
        overflows = int(images.isinf().sum())
        if overflows:
            return f"{where}: {overflows} values overflow float16; write float32."
    return f"{len(bad)} images are constant or not finite, first {first}."
