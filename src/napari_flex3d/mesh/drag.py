"""A segment of a mesh in a person's hand: where the rest goes when it is dragged, without any training."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix, diags
from scipy.sparse.linalg import SuperLU, splu

from napari_flex3d.mesh.tetmesh import Floats, TetMesh
from napari_flex3d.ops.elasticity import closest_rotation, deformation_gradient, shape_gradients

REACH = 0.3
"""The rest bends over about this share of the mesh's radius and stays where it is beyond."""

STEPS = 8
"""Local and global steps for one place of the hand; each begins where the last one ended."""

Doubles = NDArray[np.float64]


@dataclass
class Drag:
    """A mesh of which one segment is held.

    The held segment moves rigidly; every other vertex is drawn back weakly to where it rests, and follows as far as
    the mesh and its rigidity weights pull it. What shares no vertex with the held segment, by any way, stays.

    Parameters
    ----------
    mesh
        The mesh.
    segment
        The segment that is held.

    Notes
    -----
    Local and global steps on the rigidity energy (Sorkine & Alexa 2007, for tetrahedra Chao et al. 2010): the closest
    rotation of every cell, then one linear solution with a matrix that is factored once.
    """

    mesh: TetMesh
    segment: int

    def __post_init__(self) -> None:
        """Lay out the energy and factor its matrix."""
        rest = torch.from_numpy(self.mesh.vertices).double()
        self._cells = torch.from_numpy(self.mesh.cells).long()
        self._inverse, volume = shape_gradients(rest, self._cells)
        self._weight = (torch.from_numpy(self.mesh.rigidity) * volume).numpy()
        self._held = np.zeros(len(rest), dtype=bool)
        self._held[self.mesh.cells[self.mesh.segment == self.segment]] = True
        self._rest: Doubles = rest.numpy()
        self._centre = self._rest[self._held].mean(0)
        self._moved = self._rest.copy()
        self._slope = _hat_slopes(self._inverse)
        self._gradient = _gradient_of(self.mesh.cells, self._slope, len(rest))
        energy = (self._gradient.T @ diags(np.repeat(self._weight, 3)) @ self._gradient).tocsc()
        self._hold = self._hold_of(volume.numpy())
        self._matrix = (energy + diags(self._hold)).tocsr()
        self._solver: SuperLU | None = None
        if not self._held.all():
            free = self._matrix[~self._held]
            self._solver = splu(csc_matrix(free[:, ~self._held]))
            self._pulled = free[:, self._held]

    def _hold_of(self, volume: Doubles) -> Doubles:
        """Strength with which each vertex is drawn back, by the volume it carries: it sets how far a bend reaches."""
        share = np.bincount(self.mesh.cells.ravel(), np.repeat(volume / 4, 4), minlength=len(self._rest))
        radius = np.sqrt(np.square(self._rest - self._rest.mean(0)).sum(1).mean())
        return share / (REACH * max(float(radius), 1.0)) ** 2

    def to(self, shift: Doubles, turn: Doubles | None = None) -> Floats:
        """Displacements (P, 3) in Å when the held segment is shifted, and turned about its centre.

        Parameters
        ----------
        shift
            (3), Å.
        turn
            Rotation matrix (3, 3); none when not given.
        """
        held = self._rest[self._held]
        if turn is not None:
            held = (held - self._centre) @ turn.T + self._centre
        self._moved[self._held] = held + shift
        if self._solver is not None:
            drawn_back = self._hold[:, None] * self._rest
            for _ in range(STEPS):
                wanted = self._gradient.T @ (np.repeat(self._weight, 3)[:, None] * self._rotations())
                right = (wanted + drawn_back)[~self._held] - self._pulled @ self._moved[self._held]
                self._moved[~self._held] = self._solver.solve(right)
        return (self._moved - self._rest).astype(np.float32)

    def _rotations(self) -> Doubles:
        """Closest rotation of every cell, transposed and one above the other (3 C, 3)."""
        gradient = deformation_gradient(torch.from_numpy(self._moved)[None], self._cells, self._inverse)
        return closest_rotation(gradient)[:, :, 0].permute(2, 1, 0).reshape(-1, 3).numpy()


def _hat_slopes(inverse: torch.Tensor) -> Doubles:
    """Slope of the hat function of each of a cell's vertices, (C, 4, 3), 1/Å."""
    return torch.cat([-inverse.sum(1, keepdim=True), inverse], dim=1).numpy()


def _gradient_of(cells: NDArray[np.int32], slope: Doubles, vertices: int) -> csc_matrix:
    """Matrix (3 C, P) from positions to the transposed gradient of each cell."""
    rows = np.arange(len(cells))[:, None, None] * 3 + np.arange(3)[None, None]
    rows, columns = np.broadcast_arrays(rows, cells[:, :, None])
    entries = (slope.ravel(), (rows.ravel(), columns.ravel()))
    return coo_matrix(entries, (3 * len(cells), vertices)).tocsc()
