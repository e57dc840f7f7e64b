"""Points that follow a mesh, and the surfaces between them: what a slider asks for many times a second."""

from typing import Any, no_type_check

import numba
import numpy as np
from jaxtyping import Float, Integer
from numpy.typing import NDArray

from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(cache=True, nogil=True, boundscheck=False, fastmath=True)


def interpolate(
    of_vertices: Float[np.ndarray, "vertices 3"],
    corners: Integer[np.ndarray, "points 4"],
    weights: Float[np.ndarray, "points 4"],
) -> Float[np.ndarray, "points 3"]:
    """Displacements of points from those of the four vertices of each point's cell; float32.

    Parameters
    ----------
    of_vertices
        Displacement of every vertex.
    corners
        The vertices of each point's cell.
    weights
        Barycentric coordinates of each point in its cell.
    """
    found = np.empty((len(corners), 3), np.float32)
    given = (np.ascontiguousarray(a, np.float32) for a in (of_vertices, weights))
    on_threads(_interpolate, *given, np.ascontiguousarray(corners, np.int32), found)
    return found


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Integer[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "vertices 3"]:
    """Area-weighted mean of the normals of the faces around every vertex, not normalised; float32.

    Parameters
    ----------
    vertices
        Positions.
    faces
        Three vertices of each face.
    """
    normals = np.zeros((len(vertices), 3), np.float32)
    _add_normals(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32), normals)
    return normals


@_compile
@no_type_check
def _interpolate(thread, threads, of_vertices, weights, corners, found):
    count = len(corners)
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        x = y = z = np.float32(0)
        for k in range(4):
            v, b = np.uintp(corners[n, k]), weights[n, k]
            x += b * of_vertices[v, 0]
            y += b * of_vertices[v, 1]
            z += b * of_vertices[v, 2]
        found[n, 0], found[n, 1], found[n, 2] = x, y, z


@_compile
@no_type_check
def _add_normals(vertices, faces, normals):
    for f in range(len(faces)):
        a, b, c = np.uintp(faces[f, 0]), np.uintp(faces[f, 1]), np.uintp(faces[f, 2])
        ux, vx = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
        uy, vy = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += x
            normals[v, 1] += y
            normals[v, 2] += z
