"""Push a map along a flow into a 3-D grid: every voxel carries its value to where it goes.

The projection of particles needs no such volume (`ops.projection`); this is for showing and exporting.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.ops import _convection as kernels
from napari_flex3d.ops.projection._numba.voxels import LANES
from napari_flex3d.ops.splines import sharpen
from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]


def convect(
    values: Float[Tensor, " voxels"],
    positions: Float[Tensor, "voxels 3"],
    box: int,
    pixel_size: float,
    order: int = 3,
) -> Float[Tensor, "box box box"]:
    """Grid of values pushed to new positions; mass is conserved, whatever leaves the box is dropped.

    Parameters
    ----------
    values
        Density of each voxel.
    positions
        Where it goes, (x, y, z) in Å from the box centre.
    box
        Side of the grid.
    pixel_size
        Å per voxel of the grid. Values are masses: pushing a map into voxels of another size keeps its sum.
    order
        1 spreads over 2 voxels an axis (trilinear, fast), 3 over 4 (tricubic, sharp).

    Returns
    -------
    Tensor
        Density ``[z, y, x]``, float32, on the device of ``values``.

    Raises
    ------
    ValueError
        If ``order`` is neither 1 nor 3.

    Notes
    -----
    Order 3 spreads with the cubic B-spline and solves, along each axis, the tridiagonal system (1, 4, 1) / 6
    that its samples form (Unser, IEEE Signal Process. Mag. 1999), so that voxels which stay give their own
    map back. It keeps the sum but may ring below zero by some percent, as any sharp interpolation does. The
    result does not depend on the number of threads.
    """
    density = np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)
    at, nowhere = np.arange(len(density)), np.zeros(len(density), np.int64)
    places = _to_grid(positions.detach().cpu().numpy(), box, pixel_size)
    voxels = _Tied.of(at, np.arange(4)[None], nowhere, places)
    unit = np.vstack([np.zeros(3), np.eye(3)])  # places are their own coordinates in such a cell
    return torch.from_numpy(voxels.pushed(density, unit, box, order)).to(values.device)


@dataclass(frozen=True)
class CarriedVoxels:
    """Voxels of a grid that follow a mesh, in an order that is quick to push.

    Parameters
    ----------
    vertices
        Of the mesh at rest, Å (P, 3).
    box, pixel_size
        The grid; Å.
    """

    vertices: Array
    box: int
    pixel_size: float
    _tied: "_Tied"

    @classmethod
    def of(
        cls,
        mask: Bool[np.ndarray, "box box box"],
        pixel_size: float,
        vertices: Float[np.ndarray, "vertices 3"],
        cells: Integer[np.ndarray, "cells 4"],
        cell: Integer[np.ndarray, " voxels"],
        weights: Float[np.ndarray, "voxels 4"],
    ) -> "CarriedVoxels":
        """Voxels of a mask, of which cells and barycentric coordinates are given in the order of the grid."""
        upwards = np.argsort(
            vertices[cells, 2].mean(1)
        )  # so that a thread can leave out most that it does not meet
        tied = _Tied.of(np.flatnonzero(mask), cells[upwards], np.argsort(upwards)[cell], weights[:, 1:])
        return cls(vertices, len(mask), pixel_size, tied)

    def pushed(
        self,
        density: Float[np.ndarray, "box box box"],
        displacements: Float[np.ndarray, "vertices 3"],
        order: int,
    ) -> Float[np.ndarray, "box box box"]:
        """The density of these voxels where the vertices' displacements, Å, take them; `convect` says how."""
        flat = np.ascontiguousarray(density, np.float32).reshape(-1)
        moved = _to_grid(self.vertices + displacements, self.box, self.pixel_size)
        return self._tied.pushed(flat, moved, self.box, order)


@dataclass(frozen=True)
class _Tied:
    """Voxels in the order of their cells.

    Parameters
    ----------
    at
        Index (N) of each voxel's value.
    cells, offsets
        The four vertices of each cell (C, 4), its first voxel, and the number of voxels (C + 1).
    firsts
        The cell of each block's first voxel.
    shares
        Barycentric coordinates (3, N and a few more) to the second, third and fourth vertex.
    """

    at: Array
    cells: Array
    offsets: Array
    firsts: Array
    shares: Array
    _rooms: list[Array] = field(default_factory=list, init=False, repr=False, compare=False)
    """Memory for tiles that is not asked for anew for every map, one for each thread that pushes."""

    @classmethod
    def of(cls, at: Array, cells: Array, cell: Array, shares: Array) -> "_Tied":
        order = np.argsort(cell, kind="stable")
        offsets = np.searchsorted(cell[order], np.arange(len(cells) + 1))
        firsts = np.searchsorted(offsets, np.arange(0, len(at), kernels.BLOCK), side="right") - 1
        padded = np.zeros((3, len(at) + LANES), np.float32)
        padded[:, : len(at)] = shares[order].T
        return cls(at[order].astype(np.int32), np.ascontiguousarray(cells), offsets, firsts, padded)

    def pushed(self, density: Array, moved: Array, box: int, order: int) -> Array:
        """Grid of values of the flat density where the vertices, in grid points, take them."""
        if order not in (1, 3):
            raise ValueError(f"order = {order}: must be 1 (trilinear) or 3 (tricubic)")
        taps, threads = order + 1, torch.get_num_threads()
        bounds = np.empty((len(self.firsts), 2, 3), np.float32)
        mesh = moved.astype(np.float32), self.cells, self.offsets, self.firsts, self.shares
        on_threads(kernels.bound, mesh, bounds)
        part, planes = kernels.share_out(bounds, box, taps, threads)
        needed = kernels.room_for(part, taps, threads)
        room = self._rooms.pop() if self._rooms else np.empty(0, np.float32)
        if len(room) < needed:
            room = np.empty(needed, np.float32)
        grid = np.empty((box, box, box), np.float32)
        on_threads(kernels.spread, grid, room, density, self.at, mesh, bounds, part, planes, taps)
        self._rooms.append(room)
        if order == 3:
            sharpen(grid, part[0, ::-1], part[1, ::-1])
        return grid


def _to_grid(positions: Array, box: int, pixel_size: float) -> Array:
    """Å to grid points."""
    return positions * (1 / pixel_size) + box // 2
