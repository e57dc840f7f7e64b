"""What numba compiles to push voxels: where they go, and their taps into the grid.

Each thread owns a range of planes and adds all voxels that reach them in one order, so that the result does not depend
on the number of threads. It adds to a tile of its own, wider by what a voxel's taps can reach: what is far away is
brought to that rim, which nobody reads, so that the inner loop knows no borders.

Voxels go through in blocks, in the order of their cells. A `mesh` here is where its vertices (P, 3) go, the vertices of
each cell (C, 4), the first voxel of each cell and the number of voxels (C + 1), the cell of each block's first voxel,
and three barycentric coordinates (3, N and `LANES` more). Voxels are placed cell by cell and weighed 16 at a time; then
one after another adds its rows of taps, each as one vector. They come in turn from `STREAMS` parts of a block: taps of
neighbours overlap, and to load a part of what has just been stored takes long.

numba's cache on disk looks at this file only: after a change in `vectors` or `voxels`, touch it.
"""

from typing import no_type_check

import numba
import numpy as np

from napari_flex3d.ops.projection._numba.vectors import clip, floor, load4, load16, store, whole
from napari_flex3d.ops.projection._numba.voxels import (
    LANES,
    OPTIONS,
    inline,
    spline,
    store_four,
    times,
    to_rows,
)

BLOCK = 1024
"""Voxels of which one box around them says whether they reach a thread's planes, and the border."""

STREAMS = 8
_GROUP = STREAMS * LANES

_FAR = 1e30

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(**OPTIONS)


@_compile
@no_type_check
def bound(thread, threads, mesh, bounds):
    """The boxes around blocks of voxels where they go; what is not a number counts as far away."""
    xyz, few = np.empty((3, BLOCK + _GROUP), np.float32), np.empty(LANES, np.float32)
    for block in range(len(bounds) * thread // threads, len(bounds) * (thread + 1) // threads):
        length = _place(mesh, block, xyz)
        for axis in range(3):
            low = high = clip(load16(xyz[axis], 0), -_FAR, _FAR)
            for k in range(LANES, STREAMS * length, LANES):
                p = load16(xyz[axis], k)
                low, high = clip(p, -_FAR, low), clip(p, high, _FAR)
            store(few, 0, low)
            bounds[block, 0, axis] = few.min()
            store(few, 0, high)
            bounds[block, 1, axis] = few.max()


@inline
@no_type_check
def _place(mesh, block, xyz):
    """Places of a block's voxels, then that of the first again to the end of the streams; the length of these."""
    moved, cells, offsets, firsts, shares = mesh
    start, stop = block * BLOCK, min(offsets[-1], (block + 1) * BLOCK)
    n, cell = start, firsts[block]
    while n < stop:
        end = min(stop, offsets[cell + 1])
        x0, x1, x2, x3 = _ways(moved, cells, cell, 0)
        y0, y1, y2, y3 = _ways(moved, cells, cell, 1)
        z0, z1, z2, z3 = _ways(moved, cells, cell, 2)
        for k in range(n, end, LANES):
            q, r, s = load16(shares[0], k), load16(shares[1], k), load16(shares[2], k)
            store(xyz[0], k - start, q * x1 + r * x2 + s * x3 + x0)
            store(xyz[1], k - start, q * y1 + r * y2 + s * y3 + y0)
            store(xyz[2], k - start, q * z1 + r * z2 + s * z3 + z0)
        n, cell = end, cell + 1
    length = -(-(stop - start) // _GROUP) * LANES
    for axis in range(3):
        xyz[axis, stop - start : STREAMS * length] = xyz[axis, 0]
    return length


@inline
@no_type_check
def _ways(moved, cells, cell, axis):
    """A coordinate of a cell's first vertex, and the ways from it to the others."""
    p = moved[np.uintp(cells[cell, 0]), axis]
    return (
        p,
        moved[np.uintp(cells[cell, 1]), axis] - p,
        moved[np.uintp(cells[cell, 2]), axis] - p,
        moved[np.uintp(cells[cell, 3]), axis] - p,
    )


@_compile
@no_type_check
def share_out(bounds, box, taps, threads):
    """Part of the grid that is reached (first and end, by x, y, z), and the first planes of the threads, and the box.

    As many blocks of voxels have their middle in each thread's planes.
    """
    part = np.zeros((2, 3), np.int64)
    planes = np.full(threads + 1, box)
    planes[0] = 0
    if len(bounds) == 0:
        return part, planes
    for axis in range(3):
        low, high = np.floor(bounds[:, 0, axis].min()), np.floor(bounds[:, 1, axis].max())
        part[0, axis] = min(max(low - taps // 2 + 1, 0), box)
        part[1, axis] = min(max(high + taps // 2 + 1, 0), box)
    middles = np.empty(len(bounds), np.float32)
    for block in range(len(bounds)):
        middle = (bounds[block, 0, 2] + bounds[block, 1, 2]) / 2
        middles[block] = min(max(middle, 0), box)
    middles.sort()
    for thread in range(1, threads):
        planes[thread] = np.int64(middles[len(middles) * thread // threads])
    return part, planes


@_compile
@no_type_check
def room_for(part, taps, threads):
    """Numbers that the tiles of all threads hold."""
    nz, ny, nx = part[1, 2] - part[0, 2], part[1, 1] - part[0, 1], part[1, 0] - part[0, 0]
    return (max(nz, 0) + threads * 2 * taps) * max(ny + 2 * taps, 0) * max(nx + 2 * taps + 2, 0)


@_compile
@no_type_check
def spread(thread, threads, grid, room, density, at, mesh, bounds, part, planes, taps):
    """Fill the planes that are this thread's: add all voxels that reach them to a tile in their order, copy that."""
    bottom, top = planes[thread], planes[thread + 1]
    near, far = max(bottom, part[0, 2]), min(top, part[1, 2])
    if near >= far or part[0, 1] >= part[1, 1] or part[0, 0] >= part[1, 0]:
        grid[bottom:top] = 0
        return
    pitch = part[1, 0] - part[0, 0] + 2 * taps + 2
    size = (part[1, 1] - part[0, 1] + 2 * taps) * pitch
    begin = (near - part[0, 2] + thread * 2 * taps) * size
    tile = room[begin : begin + (far - near + 2 * taps) * size]
    tile[:] = 0
    shift, last = _to_tile(part, near, far, taps)
    xyz, values = np.empty((3, BLOCK + _GROUP), np.float32), np.empty(BLOCK, np.float32)
    first, rows = np.empty(_GROUP, np.int32), np.empty(4 * _GROUP, np.float32)
    weights, ends = np.empty(8 * _GROUP, np.float32), np.array([1, 0, 0, 0, -1, 1, 0, 0], np.float32)
    for block in range(len(bounds)):
        low, high = np.floor(bounds[block, 0, 2]) - taps // 2 + 1, np.floor(bounds[block, 1, 2]) + taps // 2
        if low >= far or high < near:
            continue
        length = _place(mesh, block, xyz)
        _read(density, at, len(grid), bounds[block], block, xyz, values)
        for n in range(0, length, LANES):
            for s in range(STREAMS):
                k = s * length + n
                x, y, z = load16(xyz[0], k), load16(xyz[1], k), load16(xyz[2], k)
                fx, fy, fz = floor(x), floor(y), floor(z)
                _weigh(x - fx, y - fy, z - fz, load16(values, k), taps, rows, weights, s)
                column = whole(clip(fx + shift[0], 0.0, last[0]))
                row = whole(clip(fy + shift[1], 0.0, last[1])) * np.int32(pitch)
                plane = whole(clip(fz + shift[2], 0.0, last[2])) * np.int32(size)
                store(first, s * LANES, plane + row + column)
            if taps == 2:
                _add_linear(tile, first, pitch, size, rows, weights, ends)
            else:
                _add_cubic(tile, first, pitch, size, rows, weights)
    _copy(tile, taps, pitch, size, part, near, far, bottom, top, grid)


@inline
@no_type_check
def _to_tile(part, near, far, taps):
    """From the grid point before a voxel to its first tap in the tile, by axis; and the last first tap there."""
    shift, last = np.empty(3, np.float32), np.empty(3, np.float32)
    for axis in range(3):
        begin, end = part[:, axis]
        if axis == 2:
            begin, end = near, far
        shift[axis] = taps - taps // 2 + 1 - begin
        last[axis] = taps + end - begin
    return shift, last


@inline
@no_type_check
def _read(density, at, box, bounds, block, xyz, values):
    """Values of a block's voxels, none for those outside the box, then zeros."""
    count = min(BLOCK, len(at) - block * BLOCK)
    start = np.uintp(block * BLOCK)  # unsigned, so that numba looks for no negative index
    for n in range(np.uintp(count)):
        values[n] = density[np.uintp(at[start + n])]
    values[count:] = 0
    low, high = bounds
    for axis in range(3):
        if not (low[axis] > -1 and high[axis] < box):
            for n in range(BLOCK):
                if not (xyz[axis, n] > -1 and xyz[axis, n] < box):
                    xyz[axis, n] = values[n] = 0


@inline
@no_type_check
def _weigh(tx, ty, tz, value, taps, rows, weights, s):
    """Weights of the taps of 16 voxels of a stream: along x, and across."""
    if taps == 2:
        high = value * tz
        low = value - high
        low_far, high_far = low * ty, high * ty
        store(rows, s * LANES, tx)
        store_four(weights, s * LANES, _GROUP, (low - low_far, low_far, high - high_far, high_far))
    else:
        store_four(rows, 4 * LANES * s, LANES, to_rows(spline(tx)))
        store_four(weights, s * LANES, _GROUP, spline(ty))
        store_four(weights, 4 * _GROUP + s * LANES, _GROUP, times(spline(tz), value))


@inline
@no_type_check
def _add_linear(tile, at, pitch, size, rows, weights, ends):
    """Add a group's voxels, of each stream in turn, each as four rows."""
    here, slope = load4(ends, 0), load4(ends, 4)
    for n in range(LANES):
        for s in range(0, _GROUP, LANES):
            k = np.uintp(s + n)
            p, row = at[k], here + slope * rows[k]
            q = p + size
            a = load4(tile, p) + row * weights[k]
            b = load4(tile, p + pitch) + row * weights[np.uintp(_GROUP) + k]
            c = load4(tile, q) + row * weights[np.uintp(2 * _GROUP) + k]
            d = load4(tile, q + pitch) + row * weights[np.uintp(3 * _GROUP) + k]
            store(tile, p, a)
            store(tile, p + pitch, b)
            store(tile, q, c)
            store(tile, q + pitch, d)


@inline
@no_type_check
def _add_cubic(tile, at, pitch, size, rows, weights):
    """Add a group's voxels, of each stream in turn, each as four times four rows."""
    for a in range(4):
        for b in range(4):
            for s in range(0, _GROUP, LANES):
                k, p = s + 4 * b + a, at[s + 4 * b + a]
                row = load4(rows, 4 * s + 16 * a + 4 * b)
                for dy in range(4):
                    across = row * weights[dy * _GROUP + k]
                    one = load4(tile, p) + across * weights[4 * _GROUP + k]
                    two = load4(tile, p + size) + across * weights[5 * _GROUP + k]
                    three = load4(tile, p + 2 * size) + across * weights[6 * _GROUP + k]
                    four = load4(tile, p + 3 * size) + across * weights[7 * _GROUP + k]
                    store(tile, p, one)
                    store(tile, p + size, two)
                    store(tile, p + 2 * size, three)
                    store(tile, p + 3 * size, four)
                    p += pitch


@inline
@no_type_check
def _copy(tile, taps, pitch, size, part, near, far, bottom, top, grid):
    """The inner part of a tile into the thread's planes, and zeros around it."""
    grid[bottom:near] = 0
    grid[far:top] = 0
    left, width = part[0, 0], part[1, 0] - part[0, 0]
    flat = grid.reshape(-1)
    for z in range(near, far):
        grid[z] = 0
        for y in range(part[0, 1], part[1, 1]):
            to = (z * len(grid) + y) * len(grid) + left
            at = (z - near + taps) * size + (y - part[0, 1] + taps) * pitch + taps
            for x in range(0, width - LANES + 1, LANES):
                store(flat, to + x, load16(tile, at + x))
            for x in range(width - width % LANES, width):
                flat[to + x] = tile[at + x]
