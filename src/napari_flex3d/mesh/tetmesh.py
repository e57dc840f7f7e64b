"""A mesh of tetrahedra."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_flex3d.io.files import atomic
from napari_flex3d.ops.projection import Body

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class TetMesh:
    """A mesh of tetrahedra in Å about the box centre; it knows no box and no pixel size.

    Parameters
    ----------
    vertices
        Rest positions (P, 3), x y z.
    cells
        Vertex indices (C, 4).
    rigidity
        Rigidity weight of each cell (C).
    segment
        Segment that each cell belongs to (C).
    """

    vertices: Floats
    cells: Ints
    rigidity: Floats
    segment: Ints

    @cached_property
    def _corner_and_inverse(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        corners = self.vertices[self.cells].astype(np.float64)
        edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
        inverse = np.linalg.inv(edges).astype(np.float64)
        return corners[:, 0], inverse

    @cached_property
    def _centres(self) -> cKDTree:
        return cKDTree(self.vertices[self.cells].mean(1))

    def volumes(self) -> Floats:
        """Volume of each cell, Å³."""
        corners = self.vertices[self.cells].astype(np.float64)
        return (np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6).astype(np.float32)

    def edges(self) -> Ints:
        """Vertex pairs (E, 2) of all edges, each once."""
        pairs = np.concatenate([self.cells[:, list(p)] for p in itertools.combinations(range(4), 2)])
        return np.unique(np.sort(pairs, axis=1), axis=0)

    def boundary_faces(self) -> Ints:
        """Faces (F, 3) that belong to one cell only."""
        faces = np.concatenate([self.cells[:, list(p)] for p in itertools.combinations(range(4), 3)])
        _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
        return faces[first[count == 1]]

    def components(self) -> NDArray[np.int32]:
        """Part that each cell belongs to (C), from 0; cells that share a face are in the same part."""
        faces = np.concatenate([self.cells[:, list(p)] for p in itertools.combinations(range(4), 3)])
        _, face = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
        cell = np.tile(np.arange(len(self.cells)), 4)
        touches = coo_matrix((np.ones(len(cell)), (cell, face.reshape(-1))))
        return connected_components(touches @ touches.T, directed=False)[1]

    def subset(self, keep: NDArray[np.bool_]) -> "TetMesh":
        """Mesh of those cells for which ``keep`` (C) is true, and their vertices."""
        used, cells = np.unique(self.cells[keep], return_inverse=True)
        shape = (-1, 4)
        return TetMesh(
            self.vertices[used],
            cells.reshape(shape).astype(np.int32),
            self.rigidity[keep],
            self.segment[keep],
        )

    def locate(self, points: ArrayLike, candidates: int = 24) -> tuple[NDArray[np.int64], Floats]:
        """Cell of each point and its barycentric coordinates there.

        Parameters
        ----------
        points
            (N, 3), Å about the box centre.
        candidates
            How many of the nearest cell centres are tried.

        Returns
        -------
        cell
            (N). A point outside all cells gets the cell that it is nearest to being in.
        weights
            (N, 4), rows sum to 1; negative where a point lies outside its cell, so that it follows the cell's
            affine motion.
        """
        at = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        cell = np.empty(len(at), dtype=np.int64)
        weights = np.empty((len(at), 4), dtype=np.float32)
        corner, inverse = self._corner_and_inverse
        _, near = self._centres.query(at, k=min(candidates, len(self.cells)), workers=-1)
        near = near.reshape(len(at), -1)
        for start in range(0, len(at), 20_000):
            part = slice(start, start + 20_000)
            tried = near[part]
            inner = np.einsum("ncij,ncj->nci", inverse[tried], at[part, None] - corner[tried])
            all_four = np.concatenate([1 - inner.sum(-1, keepdims=True), inner], axis=-1)
            best = all_four.min(-1).argmax(-1)
            rows = np.arange(len(tried))
            cell[part], weights[part] = tried[rows, best], all_four[rows, best]
        return cell, weights

    def bind(self, points: ArrayLike) -> Body:
        """Points (N, 3) in Å tied to their cells, for the projection kernels."""
        cell, weights = self.locate(points)
        tensors = (
            torch.from_numpy(np.ascontiguousarray(a)) for a in (self.vertices, self.cells, cell, weights)
        )
        return Body.from_cells(*tensors)

    def save(self, path: Path, **extra: ArrayLike) -> None:
        """Write the mesh, and what else is given, as ``.npz`` under CryoSPARC's names."""
        arrays = {key: getattr(self, name) for name, key in _KEYS.items()}
        with atomic(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays, **extra)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a mesh from ``.npz``."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[key] for name, key in _KEYS.items()})


_KEYS = {"vertices": "tm_points", "cells": "tm_cells", "rigidity": "tm_rweights", "segment": "tm_segmask"}


def voxel_positions(voxels: NDArray[np.int64], box: int, pixel_size: float) -> NDArray[np.float64]:
    """Coordinates (N, 3), x y z in Å from the box centre, of voxel indices (N, 3), z y x."""
    return np.multiply(voxels[:, ::-1] - box // 2, pixel_size, dtype=np.float64)
