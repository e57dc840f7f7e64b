"""Push a map along a flow into a 3-D grid: every voxel carries its value to where it goes.

The projection of particles needs no such volume (`ops.projection`); this is for showing and exporting.
"""

from collections.abc import Callable
from typing import Any, TypeVar, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
_F = TypeVar("_F", bound=Callable[..., Any])

_MARGIN = 2
"""Voxels beyond each face of the box that the taps of a voxel inside can reach."""

_SLAB = 4
"""Planes whose voxels one thread spreads. Taps reach 3 further, so every second slab is free to go."""


def convect(
    values: Float[Tensor, " voxels"],
    positions: Float[Tensor, "voxels 3"],
    box: int,
    pixel_size: float,
    order: int = 3,
) -> Float[Tensor, "box box box"]:
    """Grid of values pushed to new positions; mass is conserved, whatever leaves the box is dropped.

    Parameters
    ----------
    values
        Density of each voxel.
    positions
        Where it goes, (x, y, z) in Å from the box centre.
    box
        Side of the grid.
    pixel_size
        Å per voxel of the grid. Values are masses: pushing a map into voxels of another size keeps its sum.
    order
        1 spreads over 2 voxels an axis (trilinear, fast), 3 over 4 (tricubic, sharp).

    Returns
    -------
    Tensor
        Density ``[z, y, x]``, float32, on the device of ``values``.

    Raises
    ------
    ValueError
        If ``order`` is neither 1 nor 3.

    Notes
    -----
    Order 3 spreads with the cubic B-spline and solves, along each axis, the tridiagonal system (1, 4, 1) / 6
    that its samples form (Unser, IEEE Signal Process. Mag. 1999), so that voxels which stay give their own
    map back. It keeps the sum but may ring below zero by some percent, as any sharp interpolation does. The
    result does not depend on the number of threads.
    """
    if order not in (1, 3):
        raise ValueError(f"order = {order}: must be 1 (trilinear) or 3 (tricubic)")
    masses = np.ascontiguousarray(values.detach().cpu().numpy(), dtype=np.float32)
    places = np.ascontiguousarray(positions.detach().cpu().numpy(), dtype=np.float32)
    grid = np.zeros((box + 2 * _MARGIN,) * 3, dtype=np.float32)
    by_slab, starts = _sort_by_slab(places, box, pixel_size)
    for parity in (0, 1):
        _spread(grid, masses, places, by_slab, starts, box // 2 + _MARGIN, 1 / pixel_size, order, parity)
    if order == 3:
        _sharpen_planes(grid, *_factors(len(grid)))
        _sharpen_columns(grid, *_factors(len(grid)))
    inside = slice(_MARGIN, _MARGIN + box)
    return torch.from_numpy(np.ascontiguousarray(grid[inside, inside, inside])).to(values.device)


def _compile(parallel: bool = False, fastmath: bool = True) -> Callable[[_F], _F]:
    """Decorate a kernel; `no_type_check` keeps the shape checks of the tests out of what numba compiles."""
    compiled: Any = numba.njit(
        cache=True, nogil=True, boundscheck=False, parallel=parallel, fastmath=fastmath
    )
    return compiled


@_compile(fastmath=False)
@no_type_check
def _sort_by_slab(positions: Array, box: int, pixel_size: float) -> tuple[Array, Array]:
    """Voxels inside the box in the order of their slab (stable), and where each slab begins."""
    slabs = (box + 2 * _MARGIN + _SLAB - 1) // _SLAB
    slab_of = np.empty(len(positions), np.int32)
    starts = np.zeros(slabs + 1, np.int64)
    for n in range(len(positions)):
        slab_of[n] = -1
        x = positions[n, 0] / pixel_size + box // 2
        y = positions[n, 1] / pixel_size + box // 2
        z = positions[n, 2] / pixel_size + box // 2
        # NaN fails and is dropped; the hair's breadth is for `_spread`, which rounds to single precision
        if min(x, y, z) > -0.999 and max(x, y, z) < box - 0.001:
            slab_of[n] = int(np.floor(z + _MARGIN)) // _SLAB
            starts[slab_of[n] + 1] += 1
    for slab in range(slabs):
        starts[slab + 1] += starts[slab]
    next_free = starts[:-1].copy()
    order = np.empty(starts[-1], np.int32)
    for n in range(len(positions)):
        if slab_of[n] >= 0:
            order[next_free[slab_of[n]]] = n
            next_free[slab_of[n]] += 1
    return order, starts


@_compile(parallel=True)
@no_type_check
def _spread(
    grid: Array,
    values: Array,
    positions: Array,
    by_slab: Array,
    starts: Array,
    centre: int,
    scale: float,
    order: int,
    parity: int,
) -> None:
    """Add the voxels of every second slab to the grid."""
    slabs = (len(starts) - parity) // 2
    for half in numba.prange(slabs):
        slab = 2 * half + parity
        for place in range(starts[slab], starts[slab + 1]):
            n = by_slab[place]
            x = positions[n, 0] * np.float32(scale) + np.float32(centre)
            y = positions[n, 1] * np.float32(scale) + np.float32(centre)
            z = positions[n, 2] * np.float32(scale) + np.float32(centre)
            ix, iy, iz = int(x), int(y), int(z)
            if order == 1:
                _add_linear(grid, values[n], ix, iy, iz, x - ix, y - iy, z - iz)
            else:
                _add_cubic(grid, values[n], ix, iy, iz, x - ix, y - iy, z - iz)


@_compile()
@no_type_check
def _add_linear(
    grid: Array, value: float, ix: int, iy: int, iz: int, fx: float, fy: float, fz: float
) -> None:
    one = np.float32(1)
    for dz in range(2):
        wz = value * (fz if dz else one - fz)
        for dy in range(2):
            w = wz * (fy if dy else one - fy)
            grid[iz + dz, iy + dy, ix] += w * (one - fx)
            grid[iz + dz, iy + dy, ix + 1] += w * fx


@_compile()
@no_type_check
def _cubic_weights(f: float) -> tuple[float, float, float, float]:
    """Cubic B-spline at the grid points -1, 0, 1, 2 about a point at ``f`` between 0 and 1."""
    sixth = np.float32(1 / 6)
    g = np.float32(1) - f
    first = g * g * g * sixth
    last = f * f * f * sixth
    second = np.float32(2 / 3) - f * f * (np.float32(1) - np.float32(0.5) * f)
    third = np.float32(1) - first - second - last  # the sum is 1 whatever the rounding: mass is kept
    return first, second, third, last


@_compile()
@no_type_check
def _add_cubic(grid: Array, value: float, ix: int, iy: int, iz: int, fx: float, fy: float, fz: float) -> None:
    x0, x1, x2, x3 = _cubic_weights(fx)
    rows = _cubic_weights(fy)
    planes = _cubic_weights(fz)
    for dz in range(4):
        wz = value * planes[dz]
        for dy in range(4):
            w = wz * rows[dy]
            row = grid[iz + dz - 1, iy + dy - 1]
            row[ix - 1] += w * x0
            row[ix] += w * x1
            row[ix + 1] += w * x2
            row[ix + 2] += w * x3


def _factors(size: int) -> tuple[Array, Array]:
    """Elimination of the matrix (1, 4, 1) / 6 (Thomas): share of the row before, factor of this row."""
    ratio = np.empty(size)
    scale = np.empty(size)
    last = 0.0
    for n in range(size):
        scale[n] = 6.0 / (4.0 - last)
        last = ratio[n] = 1.0 / (4.0 - last)
    return ratio.astype(np.float32), scale.astype(np.float32)


@_compile(parallel=True)
@no_type_check
def _sharpen_planes(grid: Array, ratio: Array, scale: Array) -> None:
    """Solve the system along y, then along x, in every plane."""
    size = len(grid)
    for z in numba.prange(size):
        plane = grid[z]
        _solve_rows(plane, ratio, scale)
        turned = np.ascontiguousarray(plane.T)  # so that the inner loop runs along memory again
        _solve_rows(turned, ratio, scale)
        for y in range(size):
            for x in range(size):
                plane[y, x] = turned[x, y]


@_compile(parallel=True)
@no_type_check
def _sharpen_columns(grid: Array, ratio: Array, scale: Array) -> None:
    """Solve the system along z."""
    for y in numba.prange(len(grid)):
        _solve_rows(grid[:, y], ratio, scale)


@_compile()
@no_type_check
def _solve_rows(rows: Array, ratio: Array, scale: Array) -> None:
    """Solve (1, 4, 1) / 6 along the first axis for all columns at once, in place."""
    size, width = rows.shape
    for x in range(width):
        rows[0, x] *= scale[0]
    for n in range(1, size):
        for x in range(width):
            rows[n, x] = rows[n, x] * scale[n] - rows[n - 1, x] * ratio[n]
    for n in range(size - 2, -1, -1):
        for x in range(width):
            rows[n, x] -= ratio[n] * rows[n + 1, x]
