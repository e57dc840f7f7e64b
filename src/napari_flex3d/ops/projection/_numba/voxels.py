"""Voxels in groups of 16: where they fall in an image, the weights of their taps, what they pull at the mesh.

In the arrays here a block's voxels stand one after another; arrays of four numbers a voxel hold the first number of
all voxels, then the second, and so on. numba's cache on disk does not see a change here: touch `kernels`.
"""

from typing import Any, no_type_check

import numba

from napari_flex3d.ops.projection._numba.vectors import (
    clip,
    floor,
    high_of_each,
    high_pairs,
    load2,
    load4,
    load16,
    low_of_each,
    low_pairs,
    store,
    whole,
)

LANES = 16
BLOCK = 256
"""Voxels of a block; its arrays and the tiles' parts that it meets lie in the first-level cache."""
RUN = 32
"""Voxels that follow each other in a block that is made of several parts of the map."""

OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    "cache": True,
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
}

# no_type_check keeps the shape checks of the tests out of what numba compiles.
inline = numba.njit(**OPTIONS, forceinline=True)


@inline
@no_type_check
def ways(q, cells, out):
    """Of each cell where its first vertex is, x and y, and the ways from it to the others: 8 numbers in ``out``."""
    for cell in range(len(cells)):
        first = load2(q, 2 * cells[cell, 0])
        store(out, 8 * cell, first)
        for vertex in range(1, 4):
            store(out, 8 * cell + 2 * vertex, load2(q, 2 * cells[cell, vertex]) - first)


@inline
@no_type_check
def place(way, groups, begins, shares, run, xs, ys, slot):
    """Image coordinates of a run's voxels into ``xs[slot:]`` and ``ys[slot:]``, and up to 15 numbers more."""
    shift = slot - run * RUN
    for group in range(begins[run], begins[run + 1]):
        w, k = 8 * groups[group, 0], groups[group, 1]
        b1, b2, b3 = load16(shares[0], k), load16(shares[1], k), load16(shares[2], k)
        store(xs, shift + k, b1 * way[w + 2] + b2 * way[w + 4] + b3 * way[w + 6] + way[w])
        store(ys, shift + k, b1 * way[w + 3] + b2 * way[w + 5] + b3 * way[w + 7] + way[w + 1])


@inline
@no_type_check
def pull(forces, cells, offsets, shares, cell, start, stop, xs, ys, mask, sums):
    """Adjoint of `place`: add what pulls at the coordinates of voxels ``start:stop`` to the vertices' forces.

    ``cell`` is that of the first; ``mask`` holds 16 ones, then 16 zeros, ``sums`` room for 16 numbers; what comes after
    voxel ``stop`` in ``xs`` and ``ys`` must be finite.
    """
    n = start
    while n < stop:
        while cell < len(cells) - 1 and offsets[cell + 1] <= n:
            cell += 1
        end = stop if cell == len(cells) - 1 else min(stop, offsets[cell + 1])
        x0 = x1 = x2 = x3 = y0 = y1 = y2 = y3 = load16(mask, LANES)
        for k in range(n, end, LANES):
            held = load16(mask, LANES - min(LANES, end - k))
            x, y = load16(xs, k - start) * held, load16(ys, k - start) * held
            b1, b2, b3 = load16(shares[0], k), load16(shares[1], k), load16(shares[2], k)
            x0, x1, x2, x3 = x0 + x, x1 + b1 * x, x2 + b2 * x, x3 + b3 * x
            y0, y1, y2, y3 = y0 + y, y1 + b1 * y, y2 + b2 * y, y3 + b3 * y
        _share_out(forces, cells, cell, 0, (x0, x1, x2, x3), sums)
        _share_out(forces, cells, cell, 1, (y0, y1, y2, y3), sums)
        n = end


@inline
@no_type_check
def _share_out(forces, cells, cell, axis, four, sums):
    """Add the sums over a cell's voxels: of all forces, and of their shares in the last three vertices."""
    a, b, c, d = to_rows(four)
    store(sums, 0, (a + b) + (c + d))
    store(sums, 0, (load4(sums, 0) + load4(sums, 4)) + (load4(sums, 8) + load4(sums, 12)))
    forces[cells[cell, 0], axis] += sums[0] - sums[1] - sums[2] - sums[3]
    for vertex in range(1, 4):
        forces[cells[cell, vertex], axis] += sums[vertex]


@inline
@no_type_check
def split(x, m):
    """How far each coordinate is beyond a tap, and the number of the tap before that one on the periodic grid."""
    low = floor(x)
    first = low - 1.0
    first = first - floor((first + 0.5) * (1.0 / m)) * m
    return x - low, whole(clip(first, 0.0, m - 1))


@inline
@no_type_check
def spline(t):
    """Cubic B-spline at the four taps around a point; ``t`` in [0, 1)."""
    s = 1.0 - t
    ss, tt = s * s, t * t
    w1, w2 = tt * (t * 0.5 - 1.0) + 2 / 3, ss * (s * 0.5 - 1.0) + 2 / 3
    return ss * s * (1 / 6), w1, w2, tt * t * (1 / 6)


@inline
@no_type_check
def slope(t):
    """Derivative of `spline`."""
    s = 1.0 - t
    return s * s * -0.5, t * (t * 1.5 - 2.0), s * (2.0 - s * 1.5), t * t * 0.5


@inline
@no_type_check
def times(four, factor):
    """Four vectors times a fifth."""
    return four[0] * factor, four[1] * factor, four[2] * factor, four[3] * factor


@inline
@no_type_check
def dot(a, b):
    """Sum of the products of four vectors and four others."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]


@inline
@no_type_check
def store_four(out, at, step, four):
    """Write four vectors ``step`` numbers apart."""
    for j in range(4):
        store(out, at + j * step, four[j])


@inline
@no_type_check
def load_four(array, at, step):
    """Four vectors ``step`` numbers apart."""
    return (
        load16(array, at),
        load16(array, at + step),
        load16(array, at + 2 * step),
        load16(array, at + 3 * step),
    )


@inline
@no_type_check
def to_rows(four):
    """Four numbers of 16 voxels each, so that the four of one voxel stand side by side; its own inverse.

    Voxel ``4 b + a`` comes to place ``4 a + b``.
    """
    a, b, c, d = four
    ab, ab_high, cd, cd_high = low_of_each(a, b), high_of_each(a, b), low_of_each(c, d), high_of_each(c, d)
    return low_pairs(ab, cd), high_pairs(ab, cd), low_pairs(ab_high, cd_high), high_pairs(ab_high, cd_high)


@inline
@no_type_check
def from_rows(rows, at):
    """Inverse of `to_rows` on 64 numbers of an array."""
    return to_rows(load_four(rows, at, LANES))
