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
from napari_flex3d.io.meshfile import read_mesh_npz
from napari_flex3d.ops.cells import barycentric, walk
from napari_flex3d.ops.projection import Body

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

TIE_BREAK = np.array([3e-3, 2e-3, 1e-3])
"""Å; a point on a face is looked for so far beside it, so that every mesh and every caller decides the same way."""


@dataclass(frozen=True, eq=False)
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
        faces, order, twice = self._faces
        alone = ~(twice | np.roll(twice, 1))
        return faces[order[alone]]

    def neighbours(self) -> NDArray[np.int64]:
        """Pairs of cells (F, 2) that share a face."""
        _, order, twice = self._faces
        first = np.flatnonzero(twice)
        return np.stack([order[first], order[first + 1]], axis=1) % len(self.cells)

    @cached_property
    def _faces(self) -> tuple[Ints, NDArray[np.int64], NDArray[np.bool_]]:
        """All faces (4 C, 3); an order in which equal ones follow one another; which there equal the next."""
        faces = np.concatenate([self.cells[:, list(p)] for p in itertools.combinations(range(4), 3)])
        a, b, c = np.sort(faces, axis=1).astype(np.int64).T
        low = a * len(self.vertices) + b
        order = np.lexsort((c, low))
        same = np.append((np.diff(low[order]) == 0) & (np.diff(c[order]) == 0), False)
        return faces, order, same

    @cached_property
    def _across(self) -> NDArray[np.int64]:
        """Cell across the face opposite to each corner (C, 4); -1 where there is none."""
        _, order, twice = self._faces
        first = np.flatnonzero(twice)
        number = len(self.cells)
        across = np.full((number, 4), -1)
        for one, other in ((order[first], order[first + 1]), (order[first + 1], order[first])):
            across[one % number, 3 - one // number] = other % number  # the faces leave out corner 3, 2, 1, 0
        return across

    def components(self) -> NDArray[np.int32]:
        """Part that each cell belongs to (C), from 0; cells that share a face are in the same part."""
        first, second = self.neighbours().T
        shape = (len(self.cells),) * 2
        return connected_components(
            coo_matrix((np.ones(len(first)), (first, second)), shape), directed=False
        )[1]

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
            How many of the nearest cells are tried for a point that no walk inside the mesh leads to.

        Returns
        -------
        cell
            (N). A point on a face belongs to the cell towards larger x, then y, then z, as in `regular_mesh`; a point
            outside all cells to the cell that it is nearest to being in.
        weights
            (N, 4), rows sum to 1; negative where a point lies outside its cell, so that it follows the cell's
            affine motion.
        """
        at = np.ascontiguousarray(points, dtype=np.float64).reshape(-1, 3)
        corner, inverse = self._corner_and_inverse
        cell = walk(at + TIE_BREAK, corner, inverse, self._across)
        for count in (4, candidates):  # most points are in one of the nearest few
            left = np.flatnonzero(cell < 0)
            for part in np.split(left, np.arange(20_000, len(left), 20_000)):
                best, inside = self._best(at[part] + TIE_BREAK, min(count, len(self.cells)))
                cell[part] = best if count == candidates else np.where(inside, best, -1)
        return cell, barycentric(at, cell, corner, inverse)

    def _best(self, at: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of the ``count`` nearest cells, that which each point is in, or nearest to being in; and whether it is in."""
        corner, inverse = self._corner_and_inverse
        near = self._centres.query(at, k=count, workers=-1)[1].reshape(len(at), count)
        inner = np.einsum("ncij,ncj->nci", inverse[near], at[:, None] - corner[near])
        depth = np.minimum(inner.min(-1), 1 - inner.sum(-1))
        rows, best = np.arange(len(at)), depth.argmax(-1)
        return near[rows, best], depth[rows, best] >= 0

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
        """Read a mesh from ``.npz``; raise InputError for what is none."""
        arrays = read_mesh_npz(path)
        return cls(**{name: getattr(arrays, name) for name in _KEYS})


_KEYS = {"vertices": "tm_points", "cells": "tm_cells", "rigidity": "tm_rweights", "segment": "tm_segmask"}


def voxel_positions(voxels: NDArray[np.int64], box: int, pixel_size: float) -> NDArray[np.float64]:
    """Coordinates (N, 3), x y z in Å from the box centre, of voxel indices (N, 3), z y x."""
    return np.multiply(voxels[:, ::-1] - box // 2, pixel_size, dtype=np.float64)
