"""Voxels spread onto a periodic 3-D grid where a flow has carried them, and gathered from it: an adjoint pair."""

from typing import Any, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.ops.projection import Body

_compile = numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=True)


def spread3(
    values: Float[Tensor, " voxels"], vertices_px: Float[Tensor, "vertices 3"], body: Body, grid: int
) -> Float[Tensor, "grid grid grid"]:
    """Grid of the voxels' values by the cubic B-spline; what leaves the grid on one side enters on the other.

    Parameters
    ----------
    values
        In the body's order.
    vertices_px
        Where the mesh's vertices are, (x, y, z) in voxels; voxel 0 is at the origin.
    body
        The voxels and their tetrahedra.
    """
    out = torch.zeros(grid, grid, grid)
    _spread(values.numpy(), *_arrays(vertices_px, body), out.numpy())
    return out


def gather3(
    field: Float[Tensor, "grid grid grid"], vertices_px: Float[Tensor, "vertices 3"], body: Body
) -> Float[Tensor, " voxels"]:
    """Values of a field at the voxels, in the body's order: adjoint of `spread3`."""
    out = torch.empty(len(body.order))
    _gather(field.contiguous().numpy(), *_arrays(vertices_px, body), out.numpy())
    return out


def _arrays(vertices: Tensor, body: Body) -> tuple[NDArray[Any], ...]:
    return (
        vertices.float().contiguous().numpy(),
        body.cells.numpy(),
        body.offsets.numpy(),
        body.weights.numpy(),
    )


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
