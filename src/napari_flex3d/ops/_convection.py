"""What numba compiles to push voxels: where they go, and their taps into the grid.

Each thread owns a range of planes and adds all voxels that reach them in one order, so that the result does not depend
on the number of threads. A voxel's taps are rows of four numbers, added as one vector. numba's cache on disk looks at
this file only: after a change in `vectors`, touch it.
"""

from typing import no_type_check

import numba
import numpy as np

from napari_flex3d.ops.projection._numba.vectors import clip, load4, store
from napari_flex3d.ops.projection._numba.voxels import OPTIONS, inline

BLOCK = 1024
"""Voxels of which one box around them says whether they reach a thread's planes, and the border."""

_FAR = 1e30

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(**OPTIONS)


@_compile
@no_type_check
def move(thread, threads, density, at, cell, weights, corners, places, bounds):
    """Places of voxels between their cells' moved corners."""
    count, blocks = len(at), len(bounds)
    for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        for n in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            k, c = 4 * n, 16 * cell[n]
            p = load4(corners, c) * weights[k] + load4(corners, c + 4) * weights[k + 1]
            q = load4(corners, c + 8) * weights[k + 2] + load4(corners, c + 12) * weights[k + 3]
            store(places, k, p + q)
            places[k + 3] = density[at[n]]
        _bound_block(places, bounds, block)


@_compile
@no_type_check
def bound(thread, threads, places, bounds):
    for block in range(thread, len(bounds), threads):
        _bound_block(places, bounds, block)


@inline
@no_type_check
def _bound_block(places, bounds, block):
    """Least and greatest coordinates of a block; what is not a number counts as far away."""
    start = block * BLOCK * 4
    low = clip(load4(places, start), -_FAR, _FAR)
    high = low
    for k in range(start + 4, min(len(places), start + BLOCK * 4), 4):
        p = load4(places, k)
        low, high = clip(p, -_FAR, low), clip(p, high, _FAR)
    store(bounds, block * 8, low)
    store(bounds, block * 8 + 4, high)


@_compile
@no_type_check
def spread(thread, threads, flat, places, bounds, middles, box, weights, taps):
    """Clear the planes that are this thread's and add all voxels to them, whole or in part, in their order."""
    bottom = np.int64(middles[len(middles) * thread // threads]) if thread else 0
    top = np.int64(middles[len(middles) * (thread + 1) // threads]) if thread + 1 < threads else box
    flat[bottom * box * box : top * box * box] = 0
    back = taps // 2
    rows = np.empty(12, np.float32)
    for block in range(len(bounds)):
        low, high = bounds[block]
        if low[2] - back >= top or high[2] + back < bottom:
            continue
        inner = low[0] >= back and low[1] >= back
        inner = inner and high[0] < box + back - 3 and high[1] < box + back - 3
        for k in range(block * BLOCK * 4, min(len(places), (block + 1) * BLOCK * 4), 4):
            x, y, z = places[k], places[k + 1], places[k + 2]
            if not (z > 0 and z < box + 1):
                continue
            if not (inner or (x > 0 and x < box + 1 and y > 0 and y < box + 1)):  # also NaN
                continue
            ix, iy, iz = np.int64(x), np.int64(y), np.int64(z)
            begin, end = max(bottom - iz + back, 0), min(top - iz + back, taps)
            if begin >= end:
                continue
            row = _row(weights, x - np.float32(ix))
            store(rows, 4, _row(weights, y - np.float32(iy)))
            store(rows, 8, _row(weights, z - np.float32(iz)) * places[k + 3])
            if not inner:
                store(rows, 0, row)
                _add_some(flat, box, begin, end, taps, ix - back, iy - back, iz - back, rows)
                continue
            p = ((iz - back) * box + iy - back) * box + ix - back
            if end - begin < taps:
                _add_planes(flat, box, begin, end, taps, p, row, rows)
            elif taps == 4:
                _add_cubic(flat, box, p, row, rows)
            else:
                _add_linear(flat, box, p, row, rows)


@inline
@no_type_check
def _row(weights, t):
    """Four weights along an axis, for a place ``t`` from 0 to 1 beyond a grid point."""
    first, second = load4(weights, 0) + load4(weights, 4) * t, load4(weights, 8) + load4(weights, 12) * t
    return first + second * (t * t)


@inline
@no_type_check
def _add_linear(flat, box, p, row, rows):
    """Add a voxel; all planes are read before one is written, since their addresses end in the same digits."""
    q = p + box * box
    a, b = row * rows[4], row * rows[5]
    low, next_low, high, next_high = (
        load4(flat, p),
        load4(flat, p + box),
        load4(flat, q),
        load4(flat, q + box),
    )
    store(flat, p, low + a * rows[8])
    store(flat, p + box, next_low + b * rows[8])
    store(flat, q, high + a * rows[9])
    store(flat, q + box, next_high + b * rows[9])


@inline
@no_type_check
def _add_cubic(flat, box, p, row, rows):
    """Add a voxel; of each row all planes are read before one is written."""
    size = box * box
    for dy in range(4):
        across = row * rows[4 + dy]
        a = load4(flat, p) + across * rows[8]
        b = load4(flat, p + size) + across * rows[9]
        c = load4(flat, p + 2 * size) + across * rows[10]
        d = load4(flat, p + 3 * size) + across * rows[11]
        store(flat, p, a)
        store(flat, p + size, b)
        store(flat, p + 2 * size, c)
        store(flat, p + 3 * size, d)
        p += box


@inline
@no_type_check
def _add_planes(flat, box, begin, end, taps, p, row, rows):
    """Add a voxel to those of its planes that are this thread's; the same sums."""
    for dy in range(taps):
        across = row * rows[4 + dy]
        for dz in range(begin, end):
            at = p + dz * box * box + dy * box
            store(flat, at, load4(flat, at) + across * rows[8 + dz])


@_compile
@no_type_check
def _add_some(flat, box, begin, end, taps, ix, iy, iz, rows):
    """Add a voxel at the border: only those taps that are inside."""
    for dz in range(begin, end):
        for dy in range(max(0, -iy), min(taps, box - iy)):
            for dx in range(max(0, -ix), min(taps, box - ix)):
                at = ((iz + dz) * box + iy + dy) * box + ix + dx
                flat[at] += rows[dx] * (rows[4 + dy] * rows[8 + dz])
