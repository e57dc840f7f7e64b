"""What numba compiles: voxels to a tile, a tile to voxels.

Each thread spreads into a tile of its own that is three columns and rows larger than the grid, so that the inner loop
knows no borders; the tile is folded onto the periodic grid at the end.

Voxels go through in blocks, in two steps. First 16 of them at a time are placed, weighed and given the address of
their first tap. Then one voxel after another adds its four rows of four taps to the tile, or reads them, each row as
one vector.

Where it is added, a block holds runs from `STREAMS` far parts of the map, and the voxels of these take turns. The taps
of neighbouring voxels overlap, and a load that wants a part of what has just been stored must wait for the store;
voxels of different parts seldom meet.
"""

from typing import no_type_check

import numba
import numpy as np

from napari_flex3d.ops.projection._numba.vectors import load4, load16, store
from napari_flex3d.ops.projection._numba.voxels import (
    BLOCK,
    LANES,
    OPTIONS,
    RUN,
    dot,
    from_rows,
    inline,
    load_four,
    place,
    pull,
    slope,
    spline,
    split,
    store_four,
    times,
    to_rows,
    ways,
)

STREAMS = BLOCK // RUN

PAD = 4
"""Columns of a tile beyond the grid: three taps and one to keep rows even."""

_compile = numba.njit(**OPTIONS)


@inline
@no_type_check
def _fold(tile, grid):
    """Add the tile's three extra rows and columns to the other side of the periodic grid."""
    m = grid.shape[0]
    for y in range(m):
        for x in range(m):
            grid[y, x] = tile[y * (m + PAD) + x]
        for x in range(3):
            grid[y, x] += tile[y * (m + PAD) + m + x]
    for y in range(3):
        for x in range(m):
            grid[y, x] += tile[(m + y) * (m + PAD) + x]
        for x in range(3):
            grid[y, x] += tile[(m + y) * (m + PAD) + m + x]


@inline
@no_type_check
def _unfold(grid, tile):
    """Copy the periodic grid into a tile that continues for three more rows and columns."""
    m = grid.shape[0]
    for y in range(m + 3):
        row = y * (m + PAD)
        for x in range(m):
            tile[row + x] = grid[y if y < m else y - m, x]
        for x in range(3):
            tile[row + m + x] = tile[row + x]


@inline
@no_type_check
def _four_arrays(kind):
    """Four numbers for each voxel of a block, four times."""
    arrays = np.empty((4, 4 * BLOCK), kind)
    return arrays[0], arrays[1], arrays[2], arrays[3]


@inline
@no_type_check
def _place_runs(way, groups, begins, shares, start, length, xs, ys):
    """`place` a run of each stream; streams are ``length`` voxels apart."""
    for s in range(STREAMS):
        place(way, groups, begins, shares, (s * length + start) // RUN, xs, ys, s * RUN)


@inline
@no_type_check
def _values_at(values, k, start, length):
    """Density of the 16 voxels ``k`` of a block of runs."""
    return load16(values, k // RUN * length + start + k % RUN)


@inline
@no_type_check
def _add(tile, at, row, rows, across):
    """Add each voxel's row of taps times each of its four numbers across."""
    for k in range(0, RUN, LANES):
        for a in range(4):
            for b in range(4):
                for s in range(k, k + BLOCK, RUN):
                    n = s + 4 * b + a
                    p, taps = at[n], load4(rows, 4 * s + 16 * a + 4 * b)
                    for j in range(4):
                        store(tile, p, load4(tile, p) + taps * across[j * BLOCK + n])
                        p += row


@inline
@no_type_check
def _add_two(tile, at, row, rows, across, other_rows, other_across):
    """`_add` of two things at once."""
    for k in range(0, RUN, LANES):
        for a in range(4):
            for b in range(4):
                for s in range(k, k + BLOCK, RUN):
                    n, slot = s + 4 * b + a, 4 * s + 16 * a + 4 * b
                    p, taps, others = at[n], load4(rows, slot), load4(other_rows, slot)
                    for j in range(4):
                        sum_here = taps * across[j * BLOCK + n] + others * other_across[j * BLOCK + n]
                        store(tile, p, load4(tile, p) + sum_here)
                        p += row


@_compile
@no_type_check
def spread(thread, threads, values, vertices, cells, offsets, groups, begins, shares, grids):
    """Grids (B, m, m) of values (N, whole blocks) at voxels of vertices (B, P, 2), grid points."""
    m, kind = grids.shape[1], grids.dtype
    row, length = m + PAD, len(values) // STREAMS
    xs, ys, at = np.zeros(BLOCK + LANES, kind), np.zeros(BLOCK + LANES, kind), np.empty(BLOCK, np.int32)
    us, ws, _, _ = _four_arrays(kind)
    tile, way = np.empty((m + 3) * row, kind), np.empty(8 * len(cells), kind)
    for i in range(thread, len(grids), threads):
        tile[:] = 0
        ways(vertices[i], cells, way)
        for start in range(0, length, RUN):
            _place_runs(way, groups, begins, shares, start, length, xs, ys)
            for k in range(0, BLOCK, LANES):
                tx, ix = split(load16(xs, k), m)
                ty, iy = split(load16(ys, k), m)
                store(at, k, iy * row + ix)
                store_four(us, 4 * k, LANES, to_rows(spline(tx)))
                store_four(ws, k, BLOCK, times(spline(ty), _values_at(values, k, start, length)))
            _add(tile, at, row, us, ws)
        _fold(tile, grids[i])


@_compile
@no_type_check
def tangent(thread, threads, values, vertices, cells, offsets, groups, begins, shares, directions, grids):
    """Grids (B, 1 + K, m, m): those of `spread`, then their derivatives along directions (B, K, P, 2)."""
    m, kind, count = grids.shape[2], grids.dtype, directions.shape[1]
    row, length = m + PAD, len(values) // STREAMS
    xs, ys, at = np.zeros(BLOCK + LANES, kind), np.zeros(BLOCK + LANES, kind), np.empty(BLOCK, np.int32)
    us, dus, ws, dws = _four_arrays(kind)
    along_x, along_y, _, _ = _four_arrays(kind)
    tiles = np.empty((1 + count, (m + 3) * row), kind)
    way, turns = np.empty(8 * len(cells), kind), np.empty((count, 8 * len(cells)), kind)
    for i in range(thread, len(grids), threads):
        tiles[:] = 0
        ways(vertices[i], cells, way)
        for d in range(count):
            ways(directions[i, d], cells, turns[d])
        for start in range(0, length, RUN):
            _place_runs(way, groups, begins, shares, start, length, xs, ys)
            for k in range(0, BLOCK, LANES):
                tx, ix = split(load16(xs, k), m)
                ty, iy = split(load16(ys, k), m)
                store(at, k, iy * row + ix)
                store_four(us, 4 * k, LANES, to_rows(spline(tx)))
                store_four(dus, 4 * k, LANES, to_rows(slope(tx)))
                value = _values_at(values, k, start, length)
                store_four(ws, k, BLOCK, times(spline(ty), value))
                store_four(dws, k, BLOCK, times(slope(ty), value))
            _add(tiles[0], at, row, us, ws)
            for d in range(count):
                _place_runs(turns[d], groups, begins, shares, start, length, xs, ys)
                for k in range(0, BLOCK, LANES):
                    store_four(along_x, k, BLOCK, times(load_four(ws, k, BLOCK), load16(xs, k)))
                    store_four(along_y, k, BLOCK, times(load_four(dws, k, BLOCK), load16(ys, k)))
                _add_two(tiles[1 + d], at, row, dus, along_x, us, along_y)
        for d in range(1 + count):
            _fold(tiles[d], grids[i, d])


@inline
@no_type_check
def _columns(tile, at, row, across, columns):
    """Each voxel's four columns of taps times its numbers across."""
    for k in range(0, BLOCK, LANES):
        for a in range(4):
            for b in range(4):
                n = k + 4 * b + a
                p = at[n]
                c = load4(tile, p) * across[n]
                for j in range(1, 4):
                    p += row
                    c += load4(tile, p) * across[j * BLOCK + n]
                store(columns, 4 * k + 16 * a + 4 * b, c)


@inline
@no_type_check
def _columns_two(tile, at, row, across, columns, other_across, other_columns):
    """`_columns` of two things at once."""
    for k in range(0, BLOCK, LANES):
        for a in range(4):
            for b in range(4):
                n = k + 4 * b + a
                p = at[n]
                taps = load4(tile, p)
                c, e = taps * across[n], taps * other_across[n]
                for j in range(1, 4):
                    p += row
                    taps = load4(tile, p)
                    c += taps * across[j * BLOCK + n]
                    e += taps * other_across[j * BLOCK + n]
                store(columns, 4 * k + 16 * a + 4 * b, c)
                store(other_columns, 4 * k + 16 * a + 4 * b, e)


@_compile
@no_type_check
def gather_values(
    thread, threads, values, vertices, cells, offsets, groups, begins, shares, gradient, to_values
):
    """Add the adjoint of `spread` to this thread's gradient (N) of the values."""
    m, kind = gradient.shape[1], gradient.dtype
    row = m + PAD
    tile, out = np.empty((m + 3) * row, kind), to_values[thread]
    way = np.empty(8 * len(cells), kind)
    xs, ys, at = np.zeros(BLOCK + LANES, kind), np.zeros(BLOCK + LANES, kind), np.empty(BLOCK, np.int32)
    ws, cs, _, _ = _four_arrays(kind)
    for i in range(thread, len(gradient), threads):
        _unfold(gradient[i], tile)
        ways(vertices[i], cells, way)
        for start in range(0, len(values), BLOCK):
            _place_runs(way, groups, begins, shares, start, RUN, xs, ys)
            for k in range(0, BLOCK, LANES):
                tx, ix = split(load16(xs, k), m)
                ty, iy = split(load16(ys, k), m)
                store(xs, k, tx)
                store(at, k, iy * row + ix)
                store_four(ws, k, BLOCK, spline(ty))
            _columns(tile, at, row, ws, cs)
            for k in range(0, BLOCK, LANES):
                store(
                    out, start + k, load16(out, start + k) + dot(spline(load16(xs, k)), from_rows(cs, 4 * k))
                )


@_compile
@no_type_check
def gather_both(
    thread,
    threads,
    values,
    vertices,
    cells,
    offsets,
    groups,
    begins,
    shares,
    gradient,
    to_values,
    to_vertices,
):
    """`gather_values`, unless ``to_values`` is empty, and the gradient (B, P, 2) of the vertices."""
    m, kind, for_values = gradient.shape[1], gradient.dtype, to_values.shape[1] > 0
    row = m + PAD
    tile, out = np.empty((m + 3) * row, kind), to_values[thread]
    way = np.empty(8 * len(cells), kind)
    xs, ys, at = np.zeros(BLOCK + LANES, kind), np.zeros(BLOCK + LANES, kind), np.empty(BLOCK, np.int32)
    ws, dws, cs, dcs = _four_arrays(kind)
    mask, sums = np.zeros(2 * LANES, kind), np.empty(LANES, kind)
    mask[:LANES] = 1
    for i in range(thread, len(gradient), threads):
        _unfold(gradient[i], tile)
        ways(vertices[i], cells, way)
        for start in range(0, len(values), BLOCK):
            _place_runs(way, groups, begins, shares, start, RUN, xs, ys)
            for k in range(0, BLOCK, LANES):
                tx, ix = split(load16(xs, k), m)
                ty, iy = split(load16(ys, k), m)
                store(xs, k, tx)
                store(at, k, iy * row + ix)
                store_four(ws, k, BLOCK, spline(ty))
                store_four(dws, k, BLOCK, slope(ty))
            _columns_two(tile, at, row, ws, cs, dws, dcs)
            for k in range(0, BLOCK, LANES):
                t, value, c = load16(xs, k), load16(values, start + k), from_rows(cs, 4 * k)
                if for_values:
                    store(out, start + k, load16(out, start + k) + dot(spline(t), c))
                store(xs, k, dot(slope(t), c) * value)
                store(ys, k, dot(spline(t), from_rows(dcs, 4 * k)) * value)
            cell = groups[begins[start // RUN], 0]
            pull(to_vertices[i], cells, offsets, shares, cell, start, start + BLOCK, xs, ys, mask, sums)
