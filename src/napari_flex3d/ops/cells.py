"""Which cell of a mesh of tetrahedra a point is in, by walking there from cell to cell."""

from typing import Any, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Integer
from numpy.typing import NDArray

from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]

FARTHEST = 64
"""Cells that a walk goes through at most; a mesh of odd shapes can send it in circles."""

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(cache=True, nogil=True, boundscheck=False)


def walk(
    points: Float[np.ndarray, "points 3"],
    corner: Float[np.ndarray, "cells 3"],
    inverse: Float[np.ndarray, "cells 3 3"],
    across: Integer[np.ndarray, "cells 4"],
) -> Integer[np.ndarray, " points"]:
    """Cell of each point; -1 where the walk has left the mesh, which the point may be in all the same.

    Parameters
    ----------
    points
        Float64. The walk to a point begins in the cell of the point before it, so neighbours should follow each other.
    corner
        First corner of every cell.
    inverse
        Barycentric coordinates of the other three corners = this times (point - corner).
    across
        The cell across the face that lies opposite to each corner; -1 where there is none.

    Notes
    -----
    Visibility walk (Devillers, Pion & Teillaud 2002), each step across the face that the point lies farthest beyond.
    """
    cell = np.full(len(points), -1, np.int64)
    on_threads(_walk, points, corner, inverse, across, cell)
    return cell


def barycentric(
    points: Float[np.ndarray, "points 3"],
    cell: Integer[np.ndarray, " points"],
    corner: Float[np.ndarray, "cells 3"],
    inverse: Float[np.ndarray, "cells 3 3"],
) -> Float[np.ndarray, "points 4"]:
    """Barycentric coordinates of each point, float64, in its cell; float32."""
    weights = np.empty((len(points), 4), np.float32)
    on_threads(_barycentric, points, cell, corner, inverse, weights)
    return weights


@_compile
@no_type_check
def _walk(thread, threads, points, corner, inverse, across, cell):
    count = len(points)
    here = 0
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        at = here
        for _ in range(FARTHEST):
            x, y, z = points[n, 0] - corner[at, 0], points[n, 1] - corner[at, 1], points[n, 2] - corner[at, 2]
            least, face, rest = 0.0, -1, 1.0
            for k in range(3):
                share = inverse[at, k, 0] * x + inverse[at, k, 1] * y + inverse[at, k, 2] * z
                rest -= share
                if share < least:
                    least, face = share, k + 1
            if rest < least:
                face = 0
            if face < 0:
                cell[n] = here = at
                break
            at = across[at, face]
            if at < 0:
                break


@_compile
@no_type_check
def _barycentric(thread, threads, points, cell, corner, inverse, weights):
    count = len(points)
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        at = cell[n]
        x, y, z = points[n, 0] - corner[at, 0], points[n, 1] - corner[at, 1], points[n, 2] - corner[at, 2]
        rest = 1.0
        for k in range(3):
            share = inverse[at, k, 0] * x + inverse[at, k, 1] * y + inverse[at, k, 2] * z
            weights[n, k + 1] = share
            rest -= share
        weights[n, 0] = rest
