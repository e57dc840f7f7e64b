"""Box and pixel size of the images of several optics groups, and the one grid that they are brought to."""

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.table import Answers, Floats, Ints, OpticsGroup, ParticleTable

Grid = tuple[int, float]

_SAME = 1e-4
"""Relative difference of pixel sizes that is no difference."""
_LISTED = 8


def is_same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids (box in pixels, pixel size in Å) are the same."""
    return one[0] == other[0] and abs(one[1] - other[1]) <= _SAME * max(one[1], other[1])


def grid_of(group: OpticsGroup) -> Grid:
    """Box and pixel size of a group's images as recorded."""
    return group.box_size, group.pixel_size


def with_pixel_sizes(
    group: Ints, groups: tuple[OpticsGroup, ...], pixel_size: Floats
) -> tuple[Ints, tuple[OpticsGroup, ...]]:
    """Give the groups the pixel sizes of their particles (N); one with several becomes several groups."""
    parts: list[tuple[OpticsGroup, NDArray[np.intp]]] = []
    is_split = False
    for index, old in enumerate(groups):
        mine = np.flatnonzero(group == index)
        sizes = np.unique(pixel_size[mine].round(6))
        if len(sizes) < 2 or np.ptp(sizes) <= _SAME * sizes[-1]:
            parts.append((replace(old, pixel_size=float(pixel_size[mine[0]])) if len(mine) else old, mine))
            continue
        is_split = True
        parts += [
            (replace(old, pixel_size=float(size)), mine[pixel_size[mine].round(6) == size]) for size in sizes
        ]
    if not is_split:
        return group, tuple(part for part, _ in parts)
    split = np.empty_like(group)
    for number, (_, rows) in enumerate(parts):
        split[rows] = number
    return split, tuple(
        replace(part, number=number, name=f"opticsGroup{number}") for number, (part, _) in enumerate(parts, 1)
    )


def of_groups(table: ParticleTable, numbers: tuple[int, ...]) -> ParticleTable:
    """Keep the particles of some optics groups; all when none is named.

    Raises
    ------
    InputError
        If a group has no particles.
    """
    if not numbers:
        return table
    known = {table.groups[g].number: int(g) for g in np.unique(table.group)}
    missing = [number for number in numbers if number not in known]
    if missing:
        listed = ", ".join(map(str, sorted(known)))
        raise InputError(
            f"{table.source} has no particles of optics group {missing[0]} (--optics-groups); it has {listed}."
        )
    kept = table.take(np.isin(table.group, [known[number] for number in numbers]))
    used, stack = np.unique(kept.stack, return_inverse=True)
    return replace(kept, stack=stack.astype(np.int64), stacks=tuple(table.stacks[s] for s in used))


def on_one_grid(table: ParticleTable, answers: Answers, *, check: bool) -> ParticleTable:
    """Choose the grid that all images are brought to: the map's if a group has it, else that of most images."""
    used, counts = np.unique(table.group, return_counts=True)
    order = used[np.argsort(-counts, kind="stable")]
    grids = [grid_of(table.groups[g]) for g in order]
    chosen = grids[0]
    if answers.map_grid is not None:
        box, pixel_size = answers.map_grid
        near = [grid for grid in grids if grid[0] == box and abs(grid[1] / pixel_size - 1) <= 0.01]
        chosen = min(near, key=lambda grid: abs(grid[1] - pixel_size), default=chosen)
    if check and not all(is_same_grid(grid, chosen) for grid in grids):
        rows = [f"group {table.groups[g].number}: {_in_words(grid_of(table.groups[g]))}" for g in used]
        listed = "; ".join(rows[:_LISTED]) + ("; ..." if len(rows) > _LISTED else "")
        warnings.warn(
            f"Optics groups differ: {listed}. They are re-scaled to one box and pixel, {_in_words(chosen)}; "
            "or choose groups (--optics-groups).",
            InputWarning,
            stacklevel=4,
        )
    return replace(table, box_size=chosen[0], pixel_size=chosen[1])


def _in_words(grid: Grid) -> str:
    box, pixel_size = grid
    return f"{pixel_size:g} Å" + (f", {box} px" if box else "")
