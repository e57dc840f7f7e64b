"""Voxels spread onto a periodic 3-D grid where a flow has carried them, and gathered from it: an adjoint pair.

On the CPU compiled by numba; on any other device by torch, row of taps by row.
"""

from collections.abc import Iterator
from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.ops.projection import Body

_compile = numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=True)

_PART = 2**20
"""Voxels at a time on other devices."""


def spread3(
    values: Float[Tensor, " voxels"], vertices_px: Float[Tensor, "vertices 3"], body: Body, grid: int
) -> Float[Tensor, "grid grid grid"]:
    """Grid of the voxels' values by the cubic B-spline; what leaves the grid on one side enters on the other.

    Parameters
    ----------
    values
        In the body's order; they say on which device this is computed.
    vertices_px
        Where the mesh's vertices are, (x, y, z) in voxels; voxel 0 is at the origin.
    body
        The voxels and their tetrahedra.
    """
    out = torch.zeros((grid,) * 3, device=values.device)
    if values.device.type == "cpu":
        _spread(values.numpy(), *_arrays(vertices_px, body), out.numpy())
        return out
    for part, index, weights in _rows(vertices_px, body, grid):
        out.view(-1).index_add_(0, index.flatten(), (values[part, None] * weights).flatten())
    return out


def gather3(
    field: Float[Tensor, "grid grid grid"], vertices_px: Float[Tensor, "vertices 3"], body: Body
) -> Float[Tensor, " voxels"]:
    """Values of a field at the voxels, in the body's order: adjoint of `spread3`."""
    out = torch.zeros(len(body.order), device=field.device)
    if field.device.type == "cpu":
        _gather(field.contiguous().numpy(), *_arrays(vertices_px, body), out.numpy())
        return out
    flat = field.reshape(-1)
    for part, index, weights in _rows(vertices_px, body, len(field)):
        out[part] += (flat[index] * weights).sum(-1)
    return out


def _arrays(vertices: Tensor, body: Body) -> tuple[NDArray[Any], ...]:
    return (
        vertices.float().contiguous().numpy(),
        body.cells.numpy(),
        body.offsets.numpy(),
        body.weights.numpy(),
    )


def _rows(vertices: Tensor, body: Body, n: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some voxels after the others, and for each of their 16 rows of taps the grid's indices and the weights (N, 4)."""
    for start in range(0, len(body.order), _PART):
        part = slice(start, start + _PART)
        corners = vertices[body.cells.long()[body.cell_of[part].long()]]
        at = (body.weights[part, :, None] * corners).sum(1)
        below = at.floor()
        weights = _cubic(at - below)
        first = below.long() - 1
        index = (first[..., None] + torch.arange(4, device=at.device)) % n
        for dz in range(4):
            for dy in range(4):
                row = (index[:, 2, dz] * n + index[:, 1, dy]) * n
                share = weights[:, 2, dz] * weights[:, 1, dy]
                yield part, row[:, None] + index[:, 0], share[:, None] * weights[:, 0]


def _cubic(t: Float[Tensor, "*some"]) -> Float[Tensor, "*some 4"]:
    """Weights of the cubic B-spline's four taps at a place between two grid points."""
    s = 1 - t
    second, third = (2 / 3 - x * x * (1 - x / 2) for x in (t, s))
    return torch.stack([s**3 / 6, second, third, t**3 / 6], -1)


@_compile
@no_type_check
def _taps(inner, corners, vertices, first, weights, n):
    """First index (wrapped) and the four weights of the cubic B-spline, along each axis, of a voxel in its cell."""
    for axis in range(3):
        at = (
            inner[0] * vertices[corners[0], axis]
            + inner[1] * vertices[corners[1], axis]
            + inner[2] * vertices[corners[2], axis]
            + inner[3] * vertices[corners[3], axis]
        )
        below = np.floor(at)
        t = at - below
        s = np.float32(1) - t
        sixth = np.float32(1 / 6)
        weights[axis, 0] = s * s * s * sixth
        weights[axis, 1] = np.float32(2 / 3) - t * t * (np.float32(1) - np.float32(0.5) * t)
        weights[axis, 3] = t * t * t * sixth
        weights[axis, 2] = np.float32(1) - weights[axis, 0] - weights[axis, 1] - weights[axis, 3]
        first[axis] = (int(below) - 1) % n


@_compile
@no_type_check
def _spread(values, vertices, cells, offsets, weights, grid):
    n = len(grid)
    first, w = np.empty(3, np.int64), np.empty((3, 4), np.float32)
    for c in range(len(cells)):
        for i in range(offsets[c], offsets[c + 1]):
            _taps(weights[i], cells[c], vertices, first, w, n)
            inside = first[0] < n - 3
            for dz in range(4):
                z = (first[2] + dz) % n
                for dy in range(4):
                    row = grid[z, (first[1] + dy) % n]
                    share = values[i] * w[2, dz] * w[1, dy]
                    if inside:
                        for dx in range(4):
                            row[first[0] + dx] += share * w[0, dx]
                    else:
                        for dx in range(4):
                            row[(first[0] + dx) % n] += share * w[0, dx]


@_compile
@no_type_check
def _gather(field, vertices, cells, offsets, weights, out):
    n = len(field)
    first, w = np.empty(3, np.int64), np.empty((3, 4), np.float32)
    for c in range(len(cells)):
        for i in range(offsets[c], offsets[c + 1]):
            _taps(weights[i], cells[c], vertices, first, w, n)
            inside = first[0] < n - 3
            total = np.float32(0)
            for dz in range(4):
                z = (first[2] + dz) % n
                for dy in range(4):
                    row = field[z, (first[1] + dy) % n]
                    line = np.float32(0)
                    if inside:
                        for dx in range(4):
                            line += row[first[0] + dx] * w[0, dx]
                    else:
                        for dx in range(4):
                            line += row[(first[0] + dx) % n] * w[0, dx]
                    total += line * w[2, dz] * w[1, dy]
            out[i] = total
