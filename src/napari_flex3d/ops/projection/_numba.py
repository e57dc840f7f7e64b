"""Spread, gather and tangent in numba: the CPU implementation.

One image per thread at a time. Each thread spreads into a tile of its own that is three columns and rows larger than
the grid, so that the inner loop knows no borders; the tile is folded onto the periodic grid at the end. Voxels are
sorted by cell, and a cell's four projected vertices stay in registers while its voxels are handled.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, no_type_check

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from napari_flex3d.ops.projection import Body

Array = NDArray[Any]

# A voxel's four taps in a row are one vector; numba leaves that to be asked for. It is asked of all that is compiled
# after this line, in other modules as well, where it does no harm.
numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]

PAD = 4
"""Columns of a tile beyond the grid: three taps and one to keep rows even."""

# Unsigned indices spare numba the question whether an index counts from the end.
ONE, TWO, THREE = np.uintp(1), np.uintp(2), np.uintp(3)

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(fastmath=True, cache=True, nogil=True, boundscheck=False)
_inline = numba.njit(fastmath=True, cache=True, nogil=True, inline="always")


def spread(values: Tensor, vertices_px: Tensor, body: "Body", box: int, fine: int) -> Tensor:
    """Grids (B, fine, fine) of values (N) at the voxels of vertices (B, P, 2)."""
    grids = values.new_empty(len(vertices_px), fine, fine)
    _on_threads(_spread, len(grids), *_arrays(values, vertices_px * (fine / box), body), grids.numpy())
    return grids


def gather(
    gradient: Tensor,
    values: Tensor,
    vertices_px: Tensor,
    body: "Body",
    box: int,
    fine: int,
    for_values: bool,
    for_vertices: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Adjoint of `spread`: gradients for the values (N) and for the vertices (B, P, 2), each if wanted."""
    arrays = _arrays(values, vertices_px * (fine / box), body)
    threads = _threads(len(vertices_px))
    to_values = values.new_zeros(threads, len(values) if for_values else 0)
    to_vertices = (
        torch.zeros_like(vertices_px) if for_vertices else vertices_px.new_zeros(len(vertices_px), 0, 2)
    )
    if for_vertices:
        _on_threads(
            _gather_both,
            len(vertices_px),
            *arrays,
            gradient.contiguous().numpy(),
            to_values.numpy(),
            to_vertices.numpy(),
        )
    else:
        _on_threads(
            _gather_values, len(vertices_px), *arrays, gradient.contiguous().numpy(), to_values.numpy()
        )
    return (
        to_values.sum(0) if for_values else None,
        to_vertices.mul_(fine / box) if for_vertices else None,
    )


def tangent(
    values: Tensor, vertices_px: Tensor, directions_px: Tensor, body: "Body", box: int, fine: int
) -> Tensor:
    """Grids (B, 1 + K, fine, fine): the spread values, then their derivatives along directions (B, K, P, 2)."""
    batch, directions = directions_px.shape[:2]
    grids = values.new_empty(batch, 1 + directions, fine, fine)
    scaled = (directions_px * (fine / box)).contiguous().numpy()
    _on_threads(_tangent, batch, *_arrays(values, vertices_px * (fine / box), body), scaled, grids.numpy())
    return grids


def _threads(images: int) -> int:
    return max(1, min(torch.get_num_threads(), images))


def _on_threads(kernel: Callable[..., None], images: int, *arrays: Array) -> None:
    """Run a kernel on as many threads as torch uses, each with its own share of the images.

    Python's threads serve, since the kernels release the lock. numba's own parallel loops are not used: machine code
    of theirs that comes from the cache differs in rounding from the same freshly compiled, so that a first run
    would not be repeated bit for bit.
    """
    threads = _threads(images)
    others = [_pool().submit(kernel, thread, threads, *arrays) for thread in range(1, threads)]
    kernel(0, threads, *arrays)
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="projection")


def _arrays(values: Tensor, vertices: Tensor, body: "Body") -> tuple[Array, Array, Array, Array, Array]:
    return (
        values.detach().contiguous().numpy(),
        vertices.detach().contiguous().numpy(),
        body.cells.numpy(),
        body.offsets.numpy(),
        body.weights.to(values.dtype).numpy(),
    )


@_inline
@no_type_check
def _weights(t: float) -> tuple[float, float, float, float]:
    """Cubic B-spline at the four taps around a point; ``t`` in [0, 1)."""
    one = type(t)(1)
    s = one - t
    sixth = one / type(t)(6)
    w0 = s * s * s * sixth
    w3 = t * t * t * sixth
    w1 = (t * t * (type(t)(0.5) * t - one)) + type(t)(4) * sixth
    return w0, w1, one - w0 - w1 - w3, w3


@_inline
@no_type_check
def _slopes(t: float) -> tuple[float, float, float, float]:
    """Derivative of `_weights`."""
    half = type(t)(0.5)
    s = type(t)(1) - t
    d0 = -half * s * s
    d3 = half * t * t
    d1 = t * (type(t)(1.5) * t - type(t)(2))
    return d0, d1, -d0 - d1 - d3, d3


@_inline
@no_type_check
def _first_tap(fx: float, fy: float, m: int) -> int:
    """Flat index in the tile of the first of a voxel's taps; a division only for what has left the grid."""
    ix, iy = np.int64(fx) - 1, np.int64(fy) - 1
    if ix < 0 or ix >= m:
        ix %= m
    if iy < 0 or iy >= m:
        iy %= m
    return np.uintp(iy * (m + PAD) + ix)


@_inline
@no_type_check
def _add(tile: Array, at: int, value: float, u0: float, u1: float, u2: float, u3: float) -> None:
    """Add one row of four taps."""
    tile[at] += value * u0
    tile[at + ONE] += value * u1
    tile[at + TWO] += value * u2
    tile[at + THREE] += value * u3


@_inline
@no_type_check
def _dot(tile: Array, at: int, u0: float, u1: float, u2: float, u3: float) -> float:
    """Weighted sum of one row of four taps."""
    return u0 * tile[at] + u1 * tile[at + ONE] + u2 * tile[at + TWO] + u3 * tile[at + THREE]


@_inline
@no_type_check
def _fold(flat: Array, grid: Array) -> None:
    """Add the tile's three extra rows and columns to the other side of the periodic grid."""
    m = grid.shape[0]
    tile = flat.reshape(m + 3, m + PAD)
    for y in range(m):
        for x in range(m):
            grid[y, x] = tile[y, x]
        for x in range(3):
            grid[y, x] += tile[y, m + x]
    for y in range(3):
        for x in range(m):
            grid[y, x] += tile[m + y, x]
        for x in range(3):
            grid[y, x] += tile[m + y, m + x]


@_inline
@no_type_check
def _unfold(grid: Array, flat: Array) -> None:
    """Copy the periodic grid into a tile that continues for three more rows and columns."""
    m = grid.shape[0]
    tile = flat.reshape(m + 3, m + PAD)
    for y in range(m + 3):
        row = grid[y if y < m else y - m]
        for x in range(m):
            tile[y, x] = row[x]
        for x in range(3):
            tile[y, m + x] = row[x]


@_compile
@no_type_check
def _spread(thread, threads, values, vertices, cells, offsets, weights, grids):
    m = grids.shape[1]
    row = np.uintp(m + PAD)
    for i in range(thread, len(grids), threads):
        tile = np.zeros((m + 3) * (m + PAD), grids.dtype)
        q = vertices[i]
        for c in range(len(cells)):
            first, last = offsets[c], offsets[c + 1]
            if first == last:
                continue
            v0, v1, v2, v3 = cells[c, 0], cells[c, 1], cells[c, 2], cells[c, 3]
            x0, x1, x2, x3 = q[v0, 0], q[v1, 0], q[v2, 0], q[v3, 0]
            y0, y1, y2, y3 = q[v0, 1], q[v1, 1], q[v2, 1], q[v3, 1]
            for n in range(np.uintp(first), np.uintp(last)):
                b0, b1, b2, b3 = weights[n, 0], weights[n, 1], weights[n, 2], weights[n, 3]
                px = b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                py = b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
                fx, fy = np.floor(px), np.floor(py)
                u0, u1, u2, u3 = _weights(px - fx)
                w0, w1, w2, w3 = _weights(py - fy)
                at = _first_tap(fx, fy, m)
                value = values[n]
                _add(tile, at, value * w0, u0, u1, u2, u3)
                _add(tile, at + row, value * w1, u0, u1, u2, u3)
                _add(tile, at + row + row, value * w2, u0, u1, u2, u3)
                _add(tile, at + row + row + row, value * w3, u0, u1, u2, u3)
        _fold(tile, grids[i])


@_compile
@no_type_check
def _gather_values(thread, threads, values, vertices, cells, offsets, weights, gradient, to_values):
    m = gradient.shape[1]
    row = np.uintp(m + PAD)
    tile = np.empty((m + 3) * (m + PAD), gradient.dtype)
    out = to_values[thread]
    for i in range(thread, len(gradient), threads):
        _unfold(gradient[i], tile)
        q = vertices[i]
        for c in range(len(cells)):
            first, last = offsets[c], offsets[c + 1]
            if first == last:
                continue
            v0, v1, v2, v3 = cells[c, 0], cells[c, 1], cells[c, 2], cells[c, 3]
            x0, x1, x2, x3 = q[v0, 0], q[v1, 0], q[v2, 0], q[v3, 0]
            y0, y1, y2, y3 = q[v0, 1], q[v1, 1], q[v2, 1], q[v3, 1]
            for n in range(np.uintp(first), np.uintp(last)):
                b0, b1, b2, b3 = weights[n, 0], weights[n, 1], weights[n, 2], weights[n, 3]
                px = b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                py = b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
                fx, fy = np.floor(px), np.floor(py)
                u0, u1, u2, u3 = _weights(px - fx)
                w0, w1, w2, w3 = _weights(py - fy)
                at = _first_tap(fx, fy, m)
                total = w0 * _dot(tile, at, u0, u1, u2, u3)
                total += w1 * _dot(tile, at + row, u0, u1, u2, u3)
                total += w2 * _dot(tile, at + row + row, u0, u1, u2, u3)
                out[n] += total + w3 * _dot(tile, at + row + row + row, u0, u1, u2, u3)


@_compile
@no_type_check
def _gather_both(
    thread, threads, values, vertices, cells, offsets, weights, gradient, to_values, to_vertices
):
    m = gradient.shape[1]
    row = np.uintp(m + PAD)
    for_values = to_values.shape[1] > 0
    tile = np.empty((m + 3) * (m + PAD), gradient.dtype)
    out = to_values[thread]
    zero = values.dtype.type(0)
    for i in range(thread, len(gradient), threads):
        _unfold(gradient[i], tile)
        q = vertices[i]
        pull = to_vertices[i]
        for c in range(len(cells)):
            first, last = offsets[c], offsets[c + 1]
            if first == last:
                continue
            v0, v1, v2, v3 = cells[c, 0], cells[c, 1], cells[c, 2], cells[c, 3]
            x0, x1, x2, x3 = q[v0, 0], q[v1, 0], q[v2, 0], q[v3, 0]
            y0, y1, y2, y3 = q[v0, 1], q[v1, 1], q[v2, 1], q[v3, 1]
            gx0 = gx1 = gx2 = gx3 = gy0 = gy1 = gy2 = gy3 = zero
            for n in range(np.uintp(first), np.uintp(last)):
                b0, b1, b2, b3 = weights[n, 0], weights[n, 1], weights[n, 2], weights[n, 3]
                px = b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                py = b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
                fx, fy = np.floor(px), np.floor(py)
                u0, u1, u2, u3 = _weights(px - fx)
                d0, d1, d2, d3 = _slopes(px - fx)
                w = _weights(py - fy)
                d = _slopes(py - fy)
                at = _first_tap(fx, fy, m)
                c0 = c1 = c2 = c3 = e0 = e1 = e2 = e3 = zero  # columns first: one vector operation a row
                for j in range(4):
                    t0, t1, t2, t3 = tile[at], tile[at + ONE], tile[at + TWO], tile[at + THREE]
                    c0 += w[j] * t0
                    c1 += w[j] * t1
                    c2 += w[j] * t2
                    c3 += w[j] * t3
                    e0 += d[j] * t0
                    e1 += d[j] * t1
                    e2 += d[j] * t2
                    e3 += d[j] * t3
                    at += row
                total = u0 * c0 + u1 * c1 + u2 * c2 + u3 * c3
                dx = d0 * c0 + d1 * c1 + d2 * c2 + d3 * c3
                dy = u0 * e0 + u1 * e1 + u2 * e2 + u3 * e3
                if for_values:
                    out[n] += total
                dx *= values[n]
                dy *= values[n]
                gx0 += b0 * dx
                gx1 += b1 * dx
                gx2 += b2 * dx
                gx3 += b3 * dx
                gy0 += b0 * dy
                gy1 += b1 * dy
                gy2 += b2 * dy
                gy3 += b3 * dy
            pull[v0, 0] += gx0
            pull[v1, 0] += gx1
            pull[v2, 0] += gx2
            pull[v3, 0] += gx3
            pull[v0, 1] += gy0
            pull[v1, 1] += gy1
            pull[v2, 1] += gy2
            pull[v3, 1] += gy3


@_compile
@no_type_check
def _tangent(thread, threads, values, vertices, cells, offsets, weights, directions, grids):
    m = grids.shape[2]
    row = np.uintp(m + PAD)
    count = directions.shape[1]
    for i in range(thread, len(grids), threads):
        tiles = np.zeros((1 + count, (m + 3) * (m + PAD)), grids.dtype)
        q = vertices[i]
        speed = np.empty((count, 8), grids.dtype)
        for c in range(len(cells)):
            first, last = offsets[c], offsets[c + 1]
            if first == last:
                continue
            v0, v1, v2, v3 = cells[c, 0], cells[c, 1], cells[c, 2], cells[c, 3]
            x0, x1, x2, x3 = q[v0, 0], q[v1, 0], q[v2, 0], q[v3, 0]
            y0, y1, y2, y3 = q[v0, 1], q[v1, 1], q[v2, 1], q[v3, 1]
            for k in range(count):
                for a in range(4):
                    speed[k, a] = directions[i, k, cells[c, a], 0]
                    speed[k, 4 + a] = directions[i, k, cells[c, a], 1]
            for n in range(np.uintp(first), np.uintp(last)):
                b0, b1, b2, b3 = weights[n, 0], weights[n, 1], weights[n, 2], weights[n, 3]
                px = b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                py = b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
                fx, fy = np.floor(px), np.floor(py)
                u = _weights(px - fx)
                du = _slopes(px - fx)
                w = _weights(py - fy)
                dw = _slopes(py - fy)
                at = _first_tap(fx, fy, m)
                value = values[n]
                below = at
                for j in range(4):
                    _add(tiles[0], below, value * w[j], u[0], u[1], u[2], u[3])
                    below += row
                for k in range(count):
                    s = speed[k]
                    sx = value * (b0 * s[0] + b1 * s[1] + b2 * s[2] + b3 * s[3])
                    sy = value * (b0 * s[4] + b1 * s[5] + b2 * s[6] + b3 * s[7])
                    tile = tiles[1 + k]
                    below = at
                    for j in range(4):
                        ax, ay = sx * w[j], sy * dw[j]
                        tile[below] += ax * du[0] + ay * u[0]
                        tile[below + ONE] += ax * du[1] + ay * u[1]
                        tile[below + TWO] += ax * du[2] + ay * u[2]
                        tile[below + THREE] += ax * du[3] + ay * u[3]
                        below += row
        for k in range(1 + count):
            _fold(tiles[k], grids[i, k])
