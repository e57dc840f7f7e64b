"""What is seen of a mesh from outside: the edges of its surface, and those of the borders where it is split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.mesh.tetmesh import Ints, TetMesh


@dataclass(frozen=True)
class Outline:
    """Edges of the faces that belong to one cell only.

    Parameters
    ----------
    edges
        Vertex pairs (E, 2), each once.
    segment
        Segment of each edge (E).
    is_split
        Whether each edge (E) lies on a border along which two segments may slide or part.
    """

    edges: Ints
    segment: Ints
    is_split: NDArray[np.bool_]


def outline(mesh: TetMesh) -> Outline:
    """Edges of the surface of a mesh, split borders included."""
    faces = mesh.boundary_faces()
    place = np.round(np.sort(mesh.vertices[faces].astype(np.float64), axis=1).reshape(-1, 9), 2)
    _, index, count = np.unique(place, axis=0, return_inverse=True, return_counts=True)
    is_split = count[index.reshape(-1)] > 1  # the same place twice: the two sides of a border
    pairs = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, which = np.unique(pairs, axis=0, return_inverse=True)
    split = np.bincount(which.reshape(-1), np.repeat(is_split, 3), len(edges)) > 0
    of_vertex = np.zeros(len(mesh.vertices), dtype=np.int32)
    of_vertex[mesh.cells] = mesh.segment[:, None]
    return Outline(edges.astype(np.int32), of_vertex[edges[:, 0]], split)
