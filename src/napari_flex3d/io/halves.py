"""Half sets: those of the file, or a new split."""

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputWarning
from napari_flex3d.io.table import ParticleTable


def split_halves(table: ParticleTable, seed: int) -> tuple[ParticleTable, bool]:
    """Give every particle a half set: the file's own, or else a split by micrograph.

    Whole micrographs go to one half; with fewer than ten, or none named, single images are drawn instead.
    Images that occur more than once, and copies of a particle, always stay together.

    Returns
    -------
    The table, and whether the split is new.
    """
    source_image = table.particle_numbers()
    repeats = len(table) - int(source_image.max()) - 1
    if repeats:
        warnings.warn(
            f"{repeats} images occur more than once; half sets are split by source image.",
            InputWarning,
            stacklevel=2,
        )
    named = set(np.unique(table.half).tolist()) == {0, 1}
    low, high = np.full((2, source_image.max() + 1), 2), np.full(source_image.max() + 1, -1)
    if named:
        low = np.full(source_image.max() + 1, 2)
        np.minimum.at(low, source_image, table.half)
        np.maximum.at(high, source_image, table.half)
        if np.array_equal(low, high):
            return table, False
        return replace(table, half=low[source_image].astype(np.int8)), False
    warnings.warn(
        f"No half sets: a new split by micrograph (seed {seed}) is used and saved.",
        InputWarning,
        stacklevel=2,
    )
    _, unit = np.unique(table.micrograph, return_inverse=True)
    if unit.max() + 1 < 10:
        unit = source_image
    return replace(table, half=_balanced(unit.ravel(), seed)), True


def _balanced(unit: NDArray[np.intp], seed: int) -> NDArray[np.int8]:
    """Units in random order, each to the half that has fewer members so far."""
    sizes = np.bincount(unit)
    half_of = np.zeros(len(sizes), dtype=np.int8)
    total = [0, 0]
    for number in np.random.default_rng(seed).permutation(len(sizes)):
        smaller = int(total[1] < total[0])
        half_of[number] = smaller
        total[smaller] += int(sizes[number])
    return half_of[unit]
