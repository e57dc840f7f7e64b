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
from napari_flex3d.io.grids import grid_of, is_same_grid
from napari_flex3d.io.mrc import open_stack, write_stack
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.ops.fourier import resample3
from napari_flex3d.ops.images import (
    crop,
    noise_power,
    normalise,
    outside_circle,
    regrid,
    resample_noise,
    shrink,
)
from napari_flex3d.particles import STACKS
from napari_flex3d.progress import Progress
from napari_flex3d.selfcheck import Views

Floats = NDArray[np.float32]

_NOISE_IMAGES = 2000
_CHUNK_PIXELS = 2**22
_OPEN_STACKS = 32
LARGEST_CIRCLE = 0.48
"""Radius of the particle circle in boxes at most: a share of the image must be left to see the noise."""


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
    """Images of some rows as they stand in their stacks, (B, n, n) float32; all must be of one box.

    Parameters
    ----------
    stacks
        Stacks that are open already, by number; filled as needed, at most a few at a time.
    """
    opened = {} if stacks is None else stacks
    box = table.groups[table.group[rows[0]]].box_size
    images = np.empty((len(rows), box, box), dtype=np.float32)
    numbers = table.stack[rows]
    for number in dict.fromkeys(numbers.tolist()):
        if number not in opened:
            if len(opened) >= _OPEN_STACKS:
                opened.pop(next(iter(opened)))
            opened[number] = open_stack(table.stacks[number])
        mine = np.flatnonzero(numbers == number)
        images[mine] = opened[number][table.image[rows[mine]]]
    return torch.from_numpy(images)


class Recorded:
    """Recorded images: normalised, each of its stated contrast, and on the one grid of the table.

    Parameters
    ----------
    table
        The particles.
    frame
        Sizes; ``box`` and ``pixel_size`` are the table's.
    """

    def __init__(self, table: ParticleTable, frame: Frame) -> None:
        self.table, self.frame = table, frame
        self._opened: dict[int, NDArray[Any]] = {}
        grids = [grid_of(group) for group in table.groups]
        same = [is_same_grid(grid, (frame.box, frame.pixel_size)) for grid in grids]
        self._grid_of = [grids.index(grid) for grid in grids]
        self.is_on_grid = np.array(same)[table.group]
        """(N) whether an image is on the table's grid as it was recorded."""
        both = {1, -1} <= set(np.unique(table.contrast).tolist())
        self._turn = np.where(table.contrast == 0, 1, table.contrast) if both else None

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Images (B, box, box) of some rows, and which of them are constant or not finite."""
        box = self.frame.box
        images, spoilt = torch.zeros(len(rows), box, box), np.zeros(len(rows), dtype=bool)
        kind = np.array(self._grid_of)[self.table.group[rows]]
        for number in np.unique(kind):
            mine = np.flatnonzero(kind == number)
            raw = read_images(self.table, rows[mine], self._opened)
            spoilt[mine] = _spoilt(raw)
            if self._turn is not None:
                raw = raw * torch.from_numpy(self._turn[rows[mine]].astype(np.float32))[:, None, None]
            images[mine] = self._placed(raw, rows[mine])
        return images, spoilt

    def around(self, rows: NDArray[np.int64], edge: float = 0.0) -> Tensor:
        """Weight 1 outside the circle of each particle, on the table's grid."""
        return self._around(rows, self.frame.box, self.frame.pixel_size, edge)

    def _placed(self, raw: Tensor, rows: NDArray[np.int64]) -> Tensor:
        group = self.table.groups[self.table.group[rows[0]]]
        images = normalise(raw, self._around(rows, group.box_size, group.pixel_size))
        if self.is_on_grid[rows[0]]:
            return images
        return regrid(images, group.pixel_size, self.frame.box, self.frame.pixel_size)

    def _around(self, rows: NDArray[np.int64], box: int, pixel_size: float, edge: float = 0.0) -> Tensor:
        shift = torch.from_numpy((self.table.shift[rows] / pixel_size).astype(np.float32))
        radius = min(self.frame.radius * self.frame.pixel_size / pixel_size, LARGEST_CIRCLE * box)
        return outside_circle(box, radius, shift, edge)


def for_noise(recorded: Recorded, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows tell about the noise: images that kept their grid, for others lack frequencies or a rim."""
    whole = recorded.is_on_grid[rows]
    return whole if recorded.is_on_grid.any() else np.ones(len(rows), dtype=bool)


def take_views(
    table: ParticleTable, frame: Frame, density: Floats, *, count: int, resolution: float, seed: int
) -> Views:
    """Take some particles and the map on a box just fine enough for the check."""
    count = min(count, len(table))
    rows = np.sort(np.random.default_rng(seed).choice(len(table), count, replace=False))
    field = frame.crop_box * frame.pixel_size
    box = min(frame.crop_box, int(2 * np.ceil(1.3 * field / resolution)))
    recorded = Recorded(table, frame)
    images, kept, power, seen = [], [], torch.zeros(frame.box // 2 + 1), 0
    for part in np.array_split(rows, max(1, count // 25)):
        whole, spoilt = recorded.take(part)
        part, whole = part[~spoilt], whole[torch.from_numpy(~spoilt)]  # refused when all are read
        if not len(part):
            continue
        some = for_noise(recorded, part)
        if some.any():
            power += noise_power(whole[some], recorded.around(part[some], edge=4.0)).sum(0)
            seen += int(some.sum())
        images.append(shrink(crop(whole, frame.crop_box), box))
        kept.append(part)
    if not kept:
        raise InputError(_about_spoilt(table, rows))
    rows_kept = np.concatenate(kept)
    noise = power / seen if seen else torch.full_like(power, float(frame.box**2))
    return Views(
        torch.cat(images),
        table.take(rows_kept),
        frame.pixel_at(box),
        on_box(density, frame.crop_box, box) * _inside(density, frame, box),
        resample_noise(noise, frame.box, frame.crop_box, box),
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
    recorded = Recorded(table, frame)
    power, seen = torch.zeros(frame.box // 2 + 1), 0
    telling = for_noise(recorded, np.arange(len(table)))
    every = -(-int(telling.sum()) // _NOISE_IMAGES)
    is_counted = telling & (np.cumsum(telling) % every == 0)
    spoilt = np.zeros(len(table), dtype=bool)
    with ExitStack() as files:
        full = files.enter_context(write_stack(out / STACKS["full"], frame.crop_box, frame.pixel_size))
        train_pixel = frame.pixel_at(frame.train_box)
        train = files.enter_context(write_stack(out / STACKS["train"], frame.train_box, train_pixel))
        for rows in _chunks(len(table), frame):
            images, spoilt[rows] = recorded.take(rows)
            if not spoilt.any():
                cropped = crop(sign * images, frame.crop_box)
                full.append(cropped.numpy())
                train.append(shrink(cropped, frame.train_box).numpy())
                some = is_counted[rows]
                if some.any():
                    power += noise_power(images[some], recorded.around(rows[some], edge=4.0)).sum(0)
                    seen += int(some.sum())
            yield Progress(int(rows[-1]) + 1, len(table))
        if spoilt.any():
            raise InputError(_about_spoilt(table, np.flatnonzero(spoilt)))
    return power / seen


def _spoilt(images: Tensor) -> NDArray[np.bool_]:
    finite = images.isfinite().all(-1).all(-1)
    deviation = images.double().nan_to_num().std((-2, -1))
    return (~finite | (deviation < 1e-6)).numpy()


def _about_spoilt(table: ParticleTable, bad: NDArray[np.intp]) -> str:
    first, where = table.image_name(int(bad[0])), table.stacks[table.stack[bad[0]]]
    if open_stack(where).dtype.itemsize == 2 and open_stack(where).dtype.kind == "f":
        same = bad[(table.stack[bad] == table.stack[bad[0]]) & (table.group[bad] == table.group[bad[0]])]
        overflows = int(sum(read_images(table, same[i : i + 1]).isinf().sum() for i in range(len(same))))
        if overflows:
            return f"{where}: {overflows} values overflow float16; write float32."
    return f"{len(bad)} images are constant or not finite, first {first}."


def _chunks(count: int, frame: Frame) -> Iterator[NDArray[np.int64]]:
    """All rows in order, a few at a time, whatever their number."""
    size = max(1, _CHUNK_PIXELS // frame.box**2)
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
