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
from napari_flex3d.ops.splines import sharpen
from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]

_STREAMS = 16
"""Voxels one after another in a carried map are from so many parts of a plane: the taps of neighbours overlap, and to
load a part of what has just been stored takes long."""

_WEIGHTS = {
    1: np.array([[1, 0, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32),
    3: np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]], np.float32) / np.float32(6),
}
"""Weights of the taps by order: four polynomials of the place between two grid points, constants first."""


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
    places = np.empty((len(values), 4), np.float32)
    places[:, :3] = _to_grid(positions.detach().cpu().numpy(), box, pixel_size)
    places[:, 3] = values.detach().cpu().numpy()
    bounds = _room_for_bounds(len(places))
    on_threads(kernels.bound, places.reshape(-1), bounds)
    return torch.from_numpy(_pushed(places, bounds, box, order)).to(values.device)


@dataclass(frozen=True)
class CarriedVoxels:
    """Voxels of a grid that follow a mesh, in an order that is quick to push.

    Parameters
    ----------
    vertices, cells
        The mesh at rest, Å (P, 3), and the four vertices of each cell (C, 4).
    at, cell, weights
        Of each voxel: place in the flat grid, cell, barycentric coordinates (N, 4).
    box, pixel_size
        The grid; Å.
    """

    vertices: Array
    cells: Array
    at: Array
    cell: Array
    weights: Array
    box: int
    pixel_size: float
    _rooms: list[Array] = field(default_factory=list, init=False, repr=False, compare=False)
    """Where places are written: memory that is not asked for anew for every map, one for each thread that pushes."""

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
        """Voxels of a mask, of which cells and weights are given in the order of the grid."""
        z = np.nonzero(mask)[0]
        of_plane = np.bincount(z, minlength=len(mask))
        in_plane = np.arange(len(z)) - (np.cumsum(of_plane) - of_plane)[z]
        stream, step = np.divmod(in_plane, -(-of_plane // _STREAMS)[z])
        order = np.lexsort((stream, step, z))
        return cls(
            vertices,
            cells,
            np.flatnonzero(mask)[order].astype(np.int32),
            cell[order].astype(np.int32),
            weights[order].astype(np.float32),
            len(mask),
            pixel_size,
        )

    def pushed(
        self,
        density: Float[np.ndarray, "box box box"],
        displacements: Float[np.ndarray, "vertices 3"],
        order: int,
    ) -> Float[np.ndarray, "box box box"]:
        """The density of these voxels where the vertices' displacements, Å, take them; `convect` says how."""
        moved = np.zeros((len(self.vertices), 4), np.float32)
        moved[:, :3] = _to_grid(self.vertices + displacements, self.box, self.pixel_size)
        try:
            places = self._rooms.pop()
        except IndexError:
            places = np.empty((len(self.at), 4), np.float32)
        bounds = _room_for_bounds(len(self.at))
        given = (
            np.ascontiguousarray(density, np.float32).reshape(-1),
            self.at,
            self.cell,
            self.weights.reshape(-1),
            self.cells.reshape(-1),
            moved.reshape(-1),
        )
        on_threads(kernels.move, *given, places.reshape(-1), bounds)
        grid = _pushed(places, bounds, self.box, order)
        self._rooms.append(places)
        return grid


def _to_grid(positions: Array, box: int, pixel_size: float) -> Array:
    """Å to grid points; one more, so that truncating to integers is rounding down."""
    return positions * (1 / pixel_size) + (box // 2 + 1)


def _room_for_bounds(voxels: int) -> Array:
    return np.empty((-(-voxels // kernels.BLOCK), 2, 4), np.float32)


def _pushed(places: Array, bounds: Array, box: int, order: int) -> Array:
    """Grid of voxels at places (x, y, z, value), of which every block's least and greatest numbers are given."""
    if order not in _WEIGHTS:
        raise ValueError(f"order = {order}: must be 1 (trilinear) or 3 (tricubic)")
    grid = np.empty((box, box, box), np.float32)
    weights = _WEIGHTS[order].reshape(-1)
    taps = order + 1
    on_threads(
        kernels.spread,
        grid.reshape(-1),
        places.reshape(-1),
        bounds,
        kernels.cuts(bounds, box, torch.get_num_threads()),
        box,
        weights,
        taps,
    )
    if order == 3 and len(bounds):
        first = np.clip(np.floor(bounds[:, 0, 2::-1].min(0)) - taps // 2, 0, box).astype(int)
        last = np.clip(np.floor(bounds[:, 1, 2::-1].max(0)) + taps // 2, 0, box).astype(int)
        sharpen(grid, first, last)
    return grid
