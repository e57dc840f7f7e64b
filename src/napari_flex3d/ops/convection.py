"""Push a map along a flow into a 3-D grid: every voxel carries its value to where it goes.

The projection of particles needs no such volume (`ops.projection`); this is for showing and exporting.
"""

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]

_REACH = 16
"""Voxels beyond the density that the cubic spline's inverse is carried on for; there it has fallen to 1e-9."""

_ROWS = 8
"""Rows whose recursions run side by side, since one alone waits for its own last number."""

_DEAD = np.float32(1e-30)

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=True)
_exact = numba.njit(cache=True, nogil=True, boundscheck=False)  # NaN is told from numbers


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
    grid = np.zeros((box, box, box), dtype=np.float32)
    scale = np.float32(1 / pixel_size)
    first, last = _extent(places, box, scale)
    if first[0] > last[0]:  # everything has left
        return torch.from_numpy(grid).to(values.device)
    on_threads(_spread, grid.reshape(-1), masses, places, box, scale, order, first[2] - 1, last[2] + 3)
    if order == 3:
        window = grid[
            tuple(slice(max(0, a - _REACH), b + _REACH) for a, b in zip(first[::-1], last[::-1], strict=True))
        ]
        factors = [_factors(size) for size in window.shape]
        on_threads(_sharpen_planes, window, *factors[1], *factors[2])
        on_threads(_sharpen_columns, window, *factors[0])
    return torch.from_numpy(grid).to(values.device)


@_exact
@no_type_check
def _on_grid(positions, n, box, scale):
    """Whether a voxel touches the box, its lower grid point and its place above it, from 0 to 1."""
    centre = np.float32(box // 2 + 1)  # one more, so that truncating to integers is rounding down
    x = positions[n, 0] * scale + centre
    y = positions[n, 1] * scale + centre
    z = positions[n, 2] * scale + centre
    top = np.float32(box + 1)
    if not (x > 0 and x < top and y > 0 and y < top and z > 0 and z < top):  # also NaN
        return False, 0, 0, 0, x, y, z
    ix, iy, iz = np.int64(x), np.int64(y), np.int64(z)
    return True, ix - 1, iy - 1, iz - 1, x - np.float32(ix), y - np.float32(iy), z - np.float32(iz)


@_exact
@no_type_check
def _extent(positions, box, scale):
    """Smallest and largest lower grid point (x, y, z) of the voxels that touch the box."""
    first, last = np.full(3, box), np.full(3, -2)
    for n in range(len(positions)):
        inside, ix, iy, iz, _, _, _ = _on_grid(positions, n, box, scale)
        if inside:
            first[0], first[1], first[2] = min(first[0], ix), min(first[1], iy), min(first[2], iz)
            last[0], last[1], last[2] = max(last[0], ix), max(last[1], iy), max(last[2], iz)
    return first, last


@_exact
@no_type_check
def _spread(thread, threads, flat, values, positions, box, scale, order, bottom, top):
    """Add all voxels to the planes that are this thread's, whole or in part, in their order."""
    height = top - bottom
    low = max(0, bottom + height * thread // threads)
    high = min(box, bottom + height * (thread + 1) // threads)
    before, after = (1, 2) if order == 3 else (0, 1)
    for n in range(len(positions)):
        inside, ix, iy, iz, fx, fy, fz = _on_grid(positions, n, box, scale)
        if not inside or iz + after < low or iz - before >= high:
            continue
        mine = max(low - iz, -before), min(high - iz, after + 1)  # planes from the voxel's own
        whole = ix >= before and ix + after < box and iy >= before and iy + after < box
        if whole and order == 1:
            _add_linear(flat, box, mine, values[n], ix, iy, iz, fx, fy, fz)
        elif whole:
            _add_cubic(flat, box, mine, values[n], ix, iy, iz, _cubic(fx), _cubic(fy), _cubic(fz))
        elif order == 1:
            _add_some(flat, box, mine, values[n], ix, iy, iz, _linear(fx), _linear(fy), _linear(fz))
        else:
            _add_some(flat, box, mine, values[n], ix, iy, iz, _cubic(fx), _cubic(fy), _cubic(fz))


@_compile
@no_type_check
def _linear(f):
    """Trilinear weights at the grid points -1, 0, 1, 2 about a point at ``f`` between 0 and 1."""
    zero = np.float32(0)
    return zero, np.float32(1) - f, f, zero


@_compile
@no_type_check
def _cubic(f):
    """Cubic B-spline at the grid points -1, 0, 1, 2 about a point at ``f`` between 0 and 1."""
    sixth = np.float32(1 / 6)
    g = np.float32(1) - f
    first = g * g * g * sixth
    last = f * f * f * sixth
    second = np.float32(2 / 3) - f * f * (np.float32(1) - np.float32(0.5) * f)
    third = np.float32(1) - first - second - last  # the sum is 1 whatever the rounding: mass is kept
    return first, second, third, last


@_compile
@no_type_check
def _add_linear(flat, box, planes, value, ix, iy, iz, fx, fy, fz):
    one = np.float32(1)
    for dz in range(planes[0], planes[1]):
        wz = value * (fz if dz else one - fz)
        at = np.uintp(((iz + dz) * box + iy) * box + ix)
        for dy in range(2):
            w = wz * (fy if dy else one - fy)
            flat[at] += w * (one - fx)
            flat[at + np.uintp(1)] += w * fx
            at += np.uintp(box)


@_compile
@no_type_check
def _add_cubic(flat, box, planes, value, ix, iy, iz, wx, wy, wz):
    u0, u1, u2, u3 = wx
    for dz in range(planes[0], planes[1]):
        at = np.uintp(((iz + dz) * box + iy - 1) * box + ix - 1)
        for dy in range(4):
            w = value * wz[dz + 1] * wy[dy]
            flat[at] += w * u0
            flat[at + np.uintp(1)] += w * u1
            flat[at + np.uintp(2)] += w * u2
            flat[at + np.uintp(3)] += w * u3
            at += np.uintp(box)


@_compile
@no_type_check
def _add_some(flat, box, planes, value, ix, iy, iz, wx, wy, wz):
    """Add a voxel at the border: only those taps that are inside."""
    for dz in range(planes[0], planes[1]):
        for dy in range(max(-1, -iy), min(3, box - iy)):
            for dx in range(max(-1, -ix), min(3, box - ix)):
                at = ((iz + dz) * box + iy + dy) * box + ix + dx
                flat[at] += value * wz[dz + 1] * wy[dy + 1] * wx[dx + 1]


def _factors(size: int) -> tuple[Array, Array]:
    """Elimination of the matrix (1, 4, 1) / 6 (Thomas): share of the row before, factor of this row."""
    ratio = np.empty(size)
    scale = np.empty(size)
    last = 0.0
    for n in range(size):
        scale[n] = 6.0 / (4.0 - last)
        last = ratio[n] = 1.0 / (4.0 - last)
    return ratio.astype(np.float32), scale.astype(np.float32)


@_compile
@no_type_check
def _sharpen_planes(thread, threads, window, ratio_y, scale_y, ratio_x, scale_x):
    """Solve the system along y, then along x, in every plane."""
    for z in range(thread, len(window), threads):
        _solve(window[z], ratio_y, scale_y)
        for start in range(0, window.shape[1], _ROWS):
            _solve_along(window[z, start : start + _ROWS], ratio_x, scale_x)


@_compile
@no_type_check
def _sharpen_columns(thread, threads, window, ratio, scale):
    """Solve the system along z."""
    for y in range(thread, window.shape[1], threads):
        _solve(window[:, y], ratio, scale)


@_compile
@no_type_check
def _or_zero(value):
    """The value, or zero where it has all but died out: numbers below the least normal one are very slow."""
    return value if abs(value) > _DEAD else np.float32(0)


@_compile
@no_type_check
def _solve(rows, ratio, scale):
    """Solve (1, 4, 1) / 6 along the first axis for all columns at once, in place."""
    size, width = rows.shape
    for x in range(width):
        rows[0, x] *= scale[0]
    for n in range(1, size):
        for x in range(width):
            rows[n, x] = _or_zero(rows[n, x] * scale[n] - rows[n - 1, x] * ratio[n])
    for n in range(size - 2, -1, -1):
        for x in range(width):
            rows[n, x] = _or_zero(rows[n, x] - ratio[n] * rows[n + 1, x])


@_compile
@no_type_check
def _solve_along(rows, ratio, scale):
    """Solve (1, 4, 1) / 6 along the second axis of a few rows, in place."""
    count, size = rows.shape
    for r in range(count):
        rows[r, 0] *= scale[0]
    for n in range(1, size):
        for r in range(count):
            rows[r, n] = _or_zero(rows[r, n] * scale[n] - rows[r, n - 1] * ratio[n])
    for n in range(size - 2, -1, -1):
        for r in range(count):
            rows[r, n] = _or_zero(rows[r, n] - ratio[n] * rows[r, n + 1])
