"""Masses spread with the cubic B-spline to the samples of the map: the inverse of (1, 4, 1) / 6 along each axis.

Unser, IEEE Signal Processing Magazine 16(6), 1999. Along x the inverse is a product of sparse filters whose sums are
one vector each; along y and z all columns go through the elimination side by side.
"""

from typing import Any, no_type_check

import numba
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from napari_flex3d.ops.projection._numba.vectors import load16, store
from napari_flex3d.ops.projection._numba.voxels import OPTIONS, inline
from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]

_REACH = 16
"""Voxels beyond the density that the inverse is carried on for; there it has fallen to 1e-9."""

_POLE = np.float32(np.sqrt(3) - 2)
"""The inverse falls off by this from voxel to voxel."""

_ROWS = 8
"""Neighbouring rows that go along z together: memory is read in long pieces."""

_DEAD = np.float32(1e-30)

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(**OPTIONS)


def sharpen(grid: Float[np.ndarray, "z y x"], first: Array, last: Array) -> None:
    """Solve the system along all axes, in place; outside ``first`` to ``last`` (z, y, x) the grid must be zero.

    Parameters
    ----------
    grid
        Contiguous, float32.
    first, last
        The part that is not zero, as of a slice.
    """
    if (last <= first).any():
        return
    shape = np.array(grid.shape)
    first, last = np.maximum(first - _REACH, 0), np.minimum(last + _REACH, shape)
    ratios, scales = _factors(int(shape.max()))
    given = grid.reshape(-1), shape, first, last, ratios, scales
    on_threads(_sharpen_planes, *given)
    on_threads(_sharpen_columns, *given)


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
def _sharpen_planes(thread, threads, flat, shape, first, last, ratios, scales):
    """Solve the system along x, then along y, in every plane that is not zero."""
    height, width = last[1] - first[1], last[2] - first[2]
    room = 2 * _REACH + _ROWS * _pitch(width)
    here, there = np.zeros(room, np.float32), np.zeros(room, np.float32)
    for z in range(first[0] + thread, last[0], threads):
        start = (z * shape[1] + first[1]) * shape[2] + first[2]
        full = False
        for y in range(0, height, _ROWS):
            rows = min(_ROWS, height - y)
            if _any(flat, start + y * shape[2], (rows - 1) * shape[2] + width):
                full = True
                _solve_rows(flat, start + y * shape[2], rows, shape[2], width, here, there)
        if full:
            _solve(flat, start, width, height, shape[2], ratios, scales)


@_compile
@no_type_check
def _sharpen_columns(thread, threads, flat, shape, first, last, ratios, scales):
    """Solve the system along z."""
    size, width = shape[1] * shape[2], last[2] - first[2]
    for y in range(first[1] + thread * _ROWS, last[1], threads * _ROWS):
        long = (min(y + _ROWS, last[1]) - y - 1) * shape[
            2
        ] + width  # also what lies between the rows: it is zero
        start = (first[0] * shape[1] + y) * shape[2] + first[2]
        _solve(flat, start, long, last[0] - first[0], size, ratios, scales)


@inline
@no_type_check
def _any(flat, start, count):
    total = np.float32(0)
    at = np.uintp(start)
    for n in range(np.uintp(count)):
        total += abs(flat[at + n])
    return total > 0


@inline
@no_type_check
def _pitch(width):
    """From row to row where they are solved: beyond each it goes on for the reach, on both sides."""
    return (width + 3 * _REACH - 1) // _REACH * _REACH


@inline
@no_type_check
def _solve_rows(flat, start, rows, step, width, here, there):
    """Solve (1, 4, 1) / 6 along a few rows, in place.

    1 / (1 - p S) of a shift S is (1 + p S) (1 + p2 S2) (1 + p4 S4) (1 + p8 S8) to p16 = 7e-10. Both ways together they
    solve rows that go on with zeros for ever; what that puts outside is taken back from the two ends.
    """
    here[:] = 0
    pitch = _pitch(width)
    for y in range(rows):
        row, at = np.uintp(_REACH + y * pitch), np.uintp(start + y * step)
        for x in range(np.uintp(width)):
            here[row + x] = flat[at + x] * (np.float32(-6) * _POLE)
    for sign in (-1, 1):
        shift, factor = sign, _POLE
        for _ in range(2):
            _shifted(here, there, shift, factor)
            _shifted(there, here, 2 * shift, factor * factor)
            shift, factor = 4 * shift, factor * factor * factor * factor
    for y in range(rows):
        row, at = np.uintp(_REACH + y * pitch), np.uintp(start + y * step)
        _mend(here, row, width)
        for x in range(np.uintp(width)):
            flat[at + x] = here[row + x]


@inline
@no_type_check
def _mend(row, start, width):
    """Take from the two ends of a solved row what it has outside."""
    a, b = row[start], row[start + np.uintp(width - 1)]
    across = _power(width + 1)
    whole = _POLE * _POLE / (np.float32(1) - across * across)
    left, right = (across * b - a) * whole, (across * a - b) * whole
    for x in range(np.uintp(min(_REACH, width))):
        row[start + x] += left
        row[start + np.uintp(width - 1) - x] += right
        left, right = left * _POLE, right * _POLE


@inline
@no_type_check
def _power(count):
    """The pole to a power, as far as it matters."""
    product = np.float32(1)
    for _ in range(min(count, 2 * _REACH)):
        product *= _POLE
    return product


@inline
@no_type_check
def _shifted(source, target, shift, factor):
    """Add the neighbours ``shift`` away times a factor."""
    for x in range(_REACH, len(source) - _REACH, _REACH):
        store(target, x, load16(source, x) + load16(source, x + shift) * factor)


@inline
@no_type_check
def _solve(flat, start, width, size, step, ratios, scales):
    """Solve (1, 4, 1) / 6 along ``step`` for ``width`` numbers side by side, in place."""
    _scale_first(flat, start, width, scales[0])
    for n in range(1, size):
        _eliminate(flat, start + n * step, start + (n - 1) * step, width, scales[n], ratios[n])
    for n in range(size - 2, -1, -1):
        _eliminate(flat, start + n * step, start + (n + 1) * step, width, np.float32(1), ratios[n])


@inline
@no_type_check
def _scale_first(flat, start, width, scale):
    for x in range(width):
        flat[np.uintp(start + x)] *= scale


@inline
@no_type_check
def _eliminate(flat, row, other, width, scale, ratio):
    """Scale a row and take a share of another away; what has all but died out becomes zero, since it is very slow."""
    here, there = np.uintp(row), np.uintp(other)
    for x in range(np.uintp(width)):
        value = flat[here + x] * scale - flat[there + x] * ratio
        flat[here + x] = value if abs(value) > _DEAD else np.float32(0)
