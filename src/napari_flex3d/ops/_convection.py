"""What numba compiles to push voxels: where they go, and their taps into the grid.

Each thread owns a range of planes and adds all voxels that reach them in one order, so that the result does not depend
on the number of threads. A voxel's taps are rows of four numbers, added as one vector. numba's cache on disk looks at
this file only: after a change in `vectors`, touch it.
"""

from typing import no_type_check

import numba
import numpy as np

from napari_flex3d.ops.projection._numba.vectors import clip, load4, load16, store
from napari_flex3d.ops.projection._numba.voxels import OPTIONS, inline

BLOCK = 1024
"""Voxels of which one box around them says whether they reach a thread's planes, and the border."""

_FAR = 1e30

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(**OPTIONS)


@_compile
@no_type_check
def move(thread, threads, density, at, cell, weights, cells, moved, places, bounds):
    """Places of voxels between their cells' moved vertices, four numbers each."""
    count, blocks = len(at), len(bounds)
    for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
        for n in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            v = np.uintp(n)  # unsigned, so that numba looks for no negative index
            k, c = np.uintp(4) * v, np.uintp(4) * np.uintp(cell[v])
            one, two, three = k + np.uintp(1), k + np.uintp(2), k + np.uintp(3)
            p = load4(moved, 4 * cells[c]) * weights[k]
            p += load4(moved, 4 * cells[c + np.uintp(1)]) * weights[one]
            q = load4(moved, 4 * cells[c + np.uintp(2)]) * weights[two]
            q += load4(moved, 4 * cells[c + np.uintp(3)]) * weights[three]
            store(places, k, p + q)
            places[three] = density[np.uintp(at[v])]
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
    start, stop = block * BLOCK * 4, min(len(places), (block + 1) * BLOCK * 4)
    low = clip(load4(places, start), -_FAR, _FAR)
    high = low
    fours = (stop - start) // 16
    if fours:
        lows = clip(load16(places, start), -_FAR, _FAR)
        highs = lows
        for k in range(start + 16, start + 16 * fours, 16):
            p = load16(places, k)
            lows, highs = clip(p, -_FAR, lows), clip(p, highs, _FAR)
        wide = np.empty(32, np.float32)
        store(wide, 0, lows)
        store(wide, 16, highs)
        for k in range(0, 16, 4):
            low, high = clip(load4(wide, k), -_FAR, low), clip(load4(wide, 16 + k), high, _FAR)
    for k in range(start + 16 * fours, stop, 4):
        p = load4(places, k)
        low, high = clip(p, -_FAR, low), clip(p, high, _FAR)
    store(bounds, block * 8, low)
    store(bounds, block * 8 + 4, high)


@_compile
@no_type_check
def cuts(bounds, box, threads):
    """First planes of the threads, and the box: as many blocks of voxels have their middle in each range."""
    planes = np.empty(threads + 1, np.int64)
    planes[0], planes[threads] = 0, box
    middles = np.empty(len(bounds), np.float32)
    for block in range(len(bounds)):
        middle = (bounds[block, 0, 2] + bounds[block, 1, 2]) / 2
        middles[block] = min(max(middle, 0), box)
    middles.sort()
    for thread in range(1, threads):
        planes[thread] = np.int64(middles[len(middles) * thread // threads]) if len(middles) else 0
    return planes


@_compile
@no_type_check
def spread(thread, threads, flat, places, bounds, planes, box, weights, taps):
    """Clear the planes that are this thread's and add all voxels to them, whole or in part, in their order."""
    bottom, top = planes[thread], planes[thread + 1]
    flat[bottom * box * box : top * box * box] = 0
    back = taps // 2
    rows = np.empty(12, np.float32)
    for block in range(len(bounds)):
        low, high = bounds[block]
        if low[2] - back >= top or high[2] + back < bottom:
            continue
        inner = _off_border(low, high, back, box)
        mine = inner and low[2] >= bottom + back and high[2] < top - back + 1
        for k in range(block * BLOCK * 4, min(len(places), (block + 1) * BLOCK * 4), 4):
            a = np.uintp(k)
            x, y, z = places[a], places[a + np.uintp(1)], places[a + np.uintp(2)]
            ix, iy, iz = np.int64(x), np.int64(y), np.int64(z)
            begin, end = 0, taps
            if not mine:
                if not _inside(x, y, z, box + 1):
                    continue
                begin, end = max(bottom - iz + back, 0), min(top - iz + back, taps)
                if begin >= end:
                    continue
            tx, ty, tz, value = (
                x - np.float32(ix),
                y - np.float32(iy),
                z - np.float32(iz),
                places[a + np.uintp(3)],
            )
            p = ((iz - back) * box + iy - back) * box + ix - back
            if taps == 2 and inner and end - begin == 2:
                _add_linear(flat, box, p, load4(weights, 0) + load4(weights, 4) * tx, ty, tz, value)
                continue
            row = _row(weights, tx)
            store(rows, 4, _row(weights, ty))
            store(rows, 8, _row(weights, tz) * value)
            if not inner:
                store(rows, 0, row)
                _add_some(flat, box, begin, end, taps, (ix - back, iy - back, iz - back), rows)
            elif end - begin < taps:
                _add_planes(flat, box, begin, end, taps, p, row, rows)
            else:  # no branches in what is called here for every voxel: they would count references
                _add_cubic(flat, box, p, row, rows)


@inline
@no_type_check
def _off_border(low, high, back, box):
    """Whether whole rows of taps of a block are inside along x and y."""
    far = box + back - 3
    return low[0] >= back and low[1] >= back and high[0] < far and high[1] < far


@inline
@no_type_check
def _inside(x, y, z, top):
    """Whether a voxel touches the box; not numbers do not."""
    return x > 0 and x < top and y > 0 and y < top and z > 0 and z < top


@inline
@no_type_check
def _row(weights, t):
    """Four weights along an axis, for a place ``t`` from 0 to 1 beyond a grid point."""
    first, second = load4(weights, 0) + load4(weights, 4) * t, load4(weights, 8) + load4(weights, 12) * t
    return first + second * (t * t)


@inline
@no_type_check
def _add_linear(flat, box, p, row, ty, tz, value):
    """Add a voxel; all planes are read before one is written, since their addresses end in the same digits."""
    one = np.float32(1)
    q = p + box * box
    near, far = row * (one - ty), row * ty
    low, high = value * (one - tz), value * tz
    a, b = load4(flat, p) + near * low, load4(flat, p + box) + far * low
    c, d = load4(flat, q) + near * high, load4(flat, q + box) + far * high
    store(flat, p, a)
    store(flat, p + box, b)
    store(flat, q, c)
    store(flat, q + box, d)


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
def _add_some(flat, box, begin, end, taps, first, rows):
    """Add a voxel at the border: only those taps that are inside."""
    ix, iy, iz = first
    for dz in range(begin, end):
        for dy in range(max(0, -iy), min(taps, box - iy)):
            for dx in range(max(0, -ix), min(taps, box - ix)):
                at = ((iz + dz) * box + iy + dy) * box + ix + dx
                flat[at] += rows[dx] * (rows[4 + dy] * rows[8 + dz])
