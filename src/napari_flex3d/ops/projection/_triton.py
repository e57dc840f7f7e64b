"""Spread, gather and tangent in Triton, for NVIDIA GPUs.

A program handles a block of voxels and a share of the images: what belongs to the voxels is read once, and their places
in each image are worked out in registers from the projected vertices of their cells. Nothing as large as images times
voxels is ever stored. Voxels are sorted by cell, so that most blocks fall into a small tile of the grid. Spread, they
add up to the product of two matrices of spline weights, which goes to the grid by whole rows; the 16 taps of each voxel
of a wider block go there one by one. The pull on a cell's vertices is summed in the block before it is added to theirs.

Sums are made in the order in which the GPU gets to them: results are repeated to rounding, not bit for bit.
"""

from typing import TYPE_CHECKING, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from napari_flex3d.ops.projection import Body

BLOCK = 64
"""Voxels of a program of `gather`, two a lane."""

WARPS = 1
"""A warp sums its voxels' pull by shuffles; more would have to meet in shared memory."""

SPREAD_BLOCK, TILE = 32, 16
"""Voxels of a program of `spread`, and side of the tile in pixels of the grid that most such blocks fall into."""

PROGRAMS = 16384
"""So many programs keep the largest GPUs busy; with fewer blocks than this the images are shared out as well."""


def spread(values: Tensor, vertices_px: Tensor, body: "Body", box: int, fine: int) -> Tensor:
    """Grids (B, fine, fine) of values (N) at the voxels of vertices (B, P, 2)."""
    return tangent(values, vertices_px, vertices_px[:, None][:, :0], body, box, fine)[:, 0]


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
    to_values = torch.zeros_like(values, memory_format=torch.contiguous_format)
    to_vertices = torch.zeros_like(vertices_px, memory_format=torch.contiguous_format)
    arguments, programs = _arguments(values, vertices_px, body, box, fine, BLOCK)
    if programs[0]:
        _gather[programs](
            gradient.contiguous(),
            to_values,
            to_vertices,
            *arguments,
            FOR_VALUES=for_values,
            FOR_VERTICES=for_vertices,
            BLOCK=BLOCK,
            num_warps=WARPS,
        )
    return to_values if for_values else None, to_vertices.mul_(fine / box) if for_vertices else None


def tangent(
    values: Tensor, vertices_px: Tensor, directions_px: Tensor, body: "Body", box: int, fine: int
) -> Tensor:
    """Grids (B, 1 + K, fine, fine): the spread values, then their derivatives along directions (B, K, P, 2)."""
    batch, directions = directions_px.shape[:2]
    grids = values.new_zeros(batch, 1 + directions, fine, fine)
    arguments, programs = _arguments(values, vertices_px, body, box, fine, SPREAD_BLOCK)
    scaled = (directions_px * (fine / box)).contiguous()
    if programs[0]:
        chosen = {"MOVING": directions > 0, "BLOCK": SPREAD_BLOCK, "TILE": TILE}
        _spread[programs](grids, scaled, directions, *arguments, **chosen, num_warps=WARPS)
    return grids


def _arguments(
    values: Tensor, vertices: Tensor, body: "Body", box: int, fine: int, block: int
) -> tuple[tuple[Tensor | int, ...], tuple[int, int]]:
    """What every kernel is told, and how many programs: blocks of voxels, shares of the images."""
    blocks = triton.cdiv(len(values), block)
    shares = min(len(vertices), triton.cdiv(PROGRAMS, max(1, blocks)))
    arguments = (
        values.contiguous(),
        body.weights.to(values.dtype),
        body.cell_of,
        body.cells,
        (vertices * (fine / box)).contiguous(),
        len(values),
        len(vertices),
        vertices.shape[1],
        fine,
    )
    return arguments, (blocks if shares else 0, shares)


# no_type_check keeps the shape checks of the tests out of what Triton compiles.


@triton.jit
@no_type_check
def _spline(t, tap: tl.constexpr):
    """Weight and slope of the cubic B-spline at tap 0, 1, 2 or 3 around a point; ``t`` in [0, 1)."""
    if tap == 0 or tap == 3:
        s = t if tap == 3 else 1 - t
        weight = s * s * s / 6
        slope = s * s / 2 if tap == 3 else -(s * s) / 2
    else:
        s = t if tap == 1 else 1 - t  # distance from the tap
        weight = 2.0 / 3 + s * s * (0.5 * s - 1)
        slope = s * (1.5 * s - 2) if tap == 1 else -s * (1.5 * s - 2)
    return weight, slope


@triton.jit
@no_type_check
def _along(b0, b1, b2, b3, v0, v1, v2, v3, vertices):
    """Affine map of voxels with barycentric weights b by their cells' vertices v: x and y from (P, 2)."""
    x = b0 * tl.load(vertices + 2 * v0) + b1 * tl.load(vertices + 2 * v1)
    y = b0 * tl.load(vertices + 2 * v0 + 1) + b1 * tl.load(vertices + 2 * v1 + 1)
    x += b2 * tl.load(vertices + 2 * v2) + b3 * tl.load(vertices + 2 * v3)
    y += b2 * tl.load(vertices + 2 * v2 + 1) + b3 * tl.load(vertices + 2 * v3 + 1)
    return x, y


@triton.jit
@no_type_check
def _first_tap(low, fine):
    """Row or column of the first of four taps on the periodic grid; the remainder may have the sign of ``low``."""
    first = (low.to(tl.int32) - 1) % fine
    return tl.where(first < 0, first + fine, first)


@triton.jit
@no_type_check
def _tap(first, tap: tl.constexpr, fine):
    """Row or column of one of the four taps."""
    index = first + tap
    return tl.where(index >= fine, index - fine, index)


@triton.jit
@no_type_check
def _voxels(values, cell_of, count, BLOCK: tl.constexpr):
    """The block's voxels: their numbers, whether there is such a voxel, value and cell."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    value = tl.load(values + n, mask=inside, other=0.0)
    return n, inside, value, tl.load(cell_of + n, mask=inside, other=0)


@triton.jit
@no_type_check
def _four(rows, n, inside):
    """The four numbers of each row n of a table, zeros where there is no such row."""
    at = rows + 4 * n
    a0, a1 = tl.load(at, mask=inside, other=0), tl.load(at + 1, mask=inside, other=0)
    return a0, a1, tl.load(at + 2, mask=inside, other=0), tl.load(at + 3, mask=inside, other=0)


@triton.jit
@no_type_check
def _splines(at, TILE: tl.constexpr):
    """Weights and slopes (BLOCK, TILE) of the cubic B-spline on all columns or rows of a tile, zero on most."""
    way = at[:, None] - tl.arange(0, TILE)[None, :].to(at.dtype)
    outer, inner = tl.maximum(2 - tl.abs(way), 0.0), tl.maximum(1 - tl.abs(way), 0.0)
    weight = outer * outer * outer / 6 - inner * inner * inner * (2.0 / 3)
    slope = 2 * inner * inner - outer * outer / 2
    return weight, tl.where(way < 0, -slope, slope)


@triton.jit
@no_type_check
def _sum_of_products(rows, columns):
    """Tile (TILE, TILE) that a block adds up to, of each voxel's weights on rows and columns (BLOCK, TILE)."""
    return tl.dot(tl.trans(rows), columns, input_precision="tf32x3", out_dtype=rows.dtype)


@triton.jit
@no_type_check
def _spread(
    grids,
    directions,
    count_directions,
    values,
    weights,
    cell_of,
    cells,
    vertices,
    count,
    images,
    points,
    fine,
    MOVING: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE: tl.constexpr,
):
    n, inside, value, cell = _voxels(values, cell_of, count, BLOCK)
    b0, b1, b2, b3 = _four(weights, n, inside)
    v0, v1, v2, v3 = _four(cells, cell, inside)
    for image in range(tl.program_id(1), images, tl.num_programs(1)):
        stack = tl.cast(image, tl.int64) * (1 + count_directions)
        x, y = _along(b0, b1, b2, b3, v0, v1, v2, v3, vertices + tl.cast(image, tl.int64) * points * 2)
        low_x, low_y = tl.floor(x), tl.floor(y)
        left, right = tl.min(tl.where(inside, low_x, 1e9)), tl.max(tl.where(inside, low_x, -1e9))
        top, bottom = tl.min(tl.where(inside, low_y, 1e9)), tl.max(tl.where(inside, low_y, -1e9))
        if tl.maximum(right - left, bottom - top) + 4 <= TILE:
            column = (_first_tap(left, fine) + tl.arange(0, TILE)) % fine
            row = (_first_tap(top, fine) + tl.arange(0, TILE)) % fine
            tile = row[:, None] * fine + column[None, :]
            wx, dx = _splines(x - (left - 1), TILE)
            wy, dy = _splines(y - (top - 1), TILE)
            total = _sum_of_products(wy * value[:, None], wx)
            tl.atomic_add(grids + stack * fine * fine + tile, total, mask=total != 0, sem="relaxed")
            if MOVING:
                for k in range(count_directions):
                    motion = directions + (tl.cast(image, tl.int64) * count_directions + k) * points * 2
                    speed_x, speed_y = _along(b0, b1, b2, b3, v0, v1, v2, v3, motion)
                    total = _sum_of_products(wy * (value * speed_x)[:, None], dx)
                    total += _sum_of_products(dy * (value * speed_y)[:, None], wx)
                    grid = grids + (stack + 1 + k) * fine * fine
                    tl.atomic_add(grid + tile, total, mask=total != 0, sem="relaxed")
        else:
            first_x, first_y = _first_tap(low_x, fine), _first_tap(low_y, fine)
            for product in range(1 + count_directions):  # the spread values, then each direction
                grid = grids + (stack + product) * fine * fine
                speed_x, speed_y = tl.zeros_like(value), tl.zeros_like(value)
                if product > 0:
                    number = tl.cast(image, tl.int64) * count_directions + product - 1
                    motion = directions + number * points * 2
                    speed_x, speed_y = _along(b0, b1, b2, b3, v0, v1, v2, v3, motion)
                plain = tl.where(product == 0, 1.0, 0.0).to(value.dtype)
                for j in tl.static_range(4):
                    wy, dy = _spline(y - low_y, j)
                    row = _tap(first_y, j, fine) * fine
                    for i in tl.static_range(4):
                        wx, dx = _spline(x - low_x, i)
                        change = plain * wy * wx + speed_x * wy * dx + speed_y * dy * wx
                        at = grid + row + _tap(first_x, i, fine)
                        tl.atomic_add(at, value * change, mask=inside, sem="relaxed")


@triton.jit
@no_type_check
def _gather(
    gradient,
    to_values,
    to_vertices,
    values,
    weights,
    cell_of,
    cells,
    vertices,
    count,
    images,
    points,
    fine,
    FOR_VALUES: tl.constexpr,
    FOR_VERTICES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    n, inside, value, cell = _voxels(values, cell_of, count, BLOCK)
    b0, b1, b2, b3 = _four(weights, n, inside)
    v0, v1, v2, v3 = _four(cells, cell, inside)
    total = tl.zeros_like(value)
    for image in range(tl.program_id(1), images, tl.num_programs(1)):
        grid = gradient + tl.cast(image, tl.int64) * fine * fine
        x, y = _along(b0, b1, b2, b3, v0, v1, v2, v3, vertices + tl.cast(image, tl.int64) * points * 2)
        low_x, low_y = tl.floor(x), tl.floor(y)
        first_x, first_y = _first_tap(low_x, fine), _first_tap(low_y, fine)
        pull_x, pull_y = tl.zeros_like(value), tl.zeros_like(value)
        for j in tl.static_range(4):
            wy, dy = _spline(y - low_y, j)
            row = _tap(first_y, j, fine) * fine
            for i in tl.static_range(4):
                wx, dx = _spline(x - low_x, i)
                found = tl.load(grid + row + _tap(first_x, i, fine), mask=inside, other=0.0)
                total += found * wy * wx
                pull_x += found * wy * dx
                pull_y += found * dy * wx
        if FOR_VERTICES:
            pull = to_vertices + tl.cast(image, tl.int64) * points * 2
            _add_to_vertices(pull, cell, inside, cells, b0, b1, b2, b3, value * pull_x, value * pull_y)
    if FOR_VALUES:
        tl.atomic_add(to_values + n, total, mask=inside, sem="relaxed")


@triton.jit
@no_type_check
def _add_to_vertices(pull, cell, inside, cells, b0, b1, b2, b3, x, y):
    """Sum the voxels' pull on the four vertices of each cell in the block, then add it to theirs."""
    none = 2147483647
    now = tl.min(tl.where(inside, cell, none))
    while now != none:
        mine = inside & (cell == now)
        mx, my = tl.where(mine, x, 0.0), tl.where(mine, y, 0.0)
        v0, v1, v2, v3 = _four(cells, now, now != none)
        _add_pair(pull + 2 * v0, b0, mx, my)
        _add_pair(pull + 2 * v1, b1, mx, my)
        _add_pair(pull + 2 * v2, b2, mx, my)
        _add_pair(pull + 2 * v3, b3, mx, my)
        now = tl.min(tl.where(inside & (cell > now), cell, none))


@triton.jit
@no_type_check
def _add_pair(at, b, x, y):
    """Add the weighted sums of x and y to two neighbours in memory."""
    tl.atomic_add(at, tl.sum(b * x, axis=0), sem="relaxed")
    tl.atomic_add(at + 1, tl.sum(b * y, axis=0), sem="relaxed")
