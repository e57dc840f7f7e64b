"""Spread, gather and tangent in plain torch: any device, any float type; the reference for the others.

Voxels and images are handled in parts of at most `AT_ONCE` pairs, so that memory does not grow with either.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from napari_flex3d.ops.projection import Body

AT_ONCE = 1 << 16
"""Voxels times images in a part; each has 16 taps."""


def spread(values: Tensor, vertices_px: Tensor, body: "Body", box: int, fine: int) -> Tensor:
    """Grids (B, fine, fine) of values (N) at the voxels of vertices (B, P, 2)."""
    grids = values.new_zeros(len(vertices_px), fine, fine)
    for part in _parts(values, vertices_px, body, box, fine):
        part.add(grids.view(-1), part.taps(1), part.wy * part.wx)
    return grids


def gather(
    gradient: Tensor,
    values: Tensor,
    vertices_px: Tensor,
    body: "Body",
    box: int,
    fine: int,
    for_values: bool,
    for_vertices: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Adjoint of `spread`: gradients for the values (N) and for the vertices (B, P, 2), each if wanted."""
    to_values = torch.zeros_like(values) if for_values else None
    to_vertices = torch.zeros_like(vertices_px) if for_vertices else None
    flat = gradient.reshape(-1)
    for part in _parts(values, vertices_px, body, box, fine):
        at = flat[part.taps(1)]
        if to_values is not None:
            to_values[part.voxels] += (at * part.wy * part.wx).sum((0, 2, 3))
        if to_vertices is not None:
            pull = [(at * part.wy * part.dx).sum((2, 3)), (at * part.dy * part.wx).sum((2, 3))]
            on_voxel = torch.stack(pull, dim=-1) * (part.values[:, None] * (fine / box))
            on_corner = part.weights[:, :, None] * on_voxel[:, :, None]  # (b, n, 4, 2)
            to_vertices[part.images].index_add_(1, part.corners.reshape(-1), on_corner.flatten(1, 2))
    return to_values, to_vertices


def tangent(
    values: Tensor, vertices_px: Tensor, directions_px: Tensor, body: "Body", box: int, fine: int
) -> Tensor:
    """Grids (B, 1 + K, fine, fine): the spread values, then their derivatives along directions (B, K, P, 2)."""
    batch, directions = directions_px.shape[:2]
    grids = values.new_zeros(batch, 1 + directions, fine, fine)
    for part in _parts(values, vertices_px, body, box, fine):
        taps = part.taps(1 + directions)
        part.add(grids.view(-1), taps, part.wy * part.wx)
        for k in range(directions):
            speed = part.carry(directions_px[part.images, k])[..., None, None] * (fine / box)
            taps = taps + fine * fine
            change = speed[:, :, 0] * part.wy * part.dx + speed[:, :, 1] * part.dy * part.wx
            part.add(grids.view(-1), taps, change)
    return grids


@dataclass(frozen=True)
class _Part:
    """Some voxels (n) in some images (b).

    Parameters
    ----------
    voxels, images
        Which.
    values, weights, corners
        Density (n), barycentric coordinates (n, 4) and vertices (n, 4) of the voxels.
    vertices
        All vertices in these images (b, P, 2), pixels of the grid.
    fine
        Box of the grid.
    """

    voxels: slice
    images: slice
    values: Tensor
    weights: Tensor
    corners: Tensor
    vertices: Tensor
    fine: int

    def carry(self, vertices: Tensor) -> Tensor:
        """Affine map of the voxels by their cells' vertices (b, P, 2): (b, n, 2)."""
        return torch.einsum("na,bnac->bnc", self.weights, vertices[:, self.corners])

    def taps(self, products: int) -> Tensor:
        """Taps (b, n, 4, 4) [y, x] in the flat grids of all images, of which each has so many."""
        steps = torch.arange(4, device=self._low.device) - 1
        index = (self._low.long()[..., None] + steps) % self.fine
        image = torch.arange(len(self.vertices), device=index.device) + self.images.start
        first = (image * (products * self.fine**2))[:, None, None, None]
        return first + index[:, :, 1, :, None] * self.fine + index[:, :, 0, None, :]

    def add(self, grids: Tensor, taps: Tensor, share: Tensor) -> None:
        """Add each voxel's value times its share (b, n, 4, 4) at its taps."""
        grids.index_add_(0, taps.reshape(-1), (self.values[:, None, None] * share).reshape(-1))

    @cached_property
    def _at(self) -> Tensor:
        return self.carry(self.vertices)

    @cached_property
    def _low(self) -> Tensor:
        return self._at.floor()

    @cached_property
    def _splines(self) -> tuple[Tensor, Tensor]:
        return _spline(self._at - self._low)

    @property
    def wx(self) -> Tensor:
        """Weights of the columns, (b, n, 1, 4)."""
        return self._splines[0][:, :, 0, None, :]

    @property
    def wy(self) -> Tensor:
        """Weights of the rows, (b, n, 4, 1)."""
        return self._splines[0][:, :, 1, :, None]

    @property
    def dx(self) -> Tensor:
        """Slopes of the columns' weights, (b, n, 1, 4)."""
        return self._splines[1][:, :, 0, None, :]

    @property
    def dy(self) -> Tensor:
        """Slopes of the rows' weights, (b, n, 4, 1)."""
        return self._splines[1][:, :, 1, :, None]


def _parts(values: Tensor, vertices_px: Tensor, body: "Body", box: int, fine: int) -> Iterator[_Part]:
    size = max(1, min(len(values), AT_ONCE))
    batch = AT_ONCE // size
    vertices = vertices_px * (fine / box)
    for first in range(0, len(values), size):
        voxels = slice(first, first + size)
        corners = body.cells[body.cell_of[voxels].long()].long()
        weights = body.weights[voxels].to(values.dtype)
        for start in range(0, len(vertices), batch):
            images = slice(start, start + batch)
            yield _Part(voxels, images, values[voxels], weights, corners, vertices[images], fine)


def _spline(t: Tensor) -> tuple[Tensor, Tensor]:
    """Cubic B-spline weights and their derivatives at the four taps around a point; ``t`` in [0, 1)."""
    weight = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=-1
    )
    slope = torch.stack([-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2], dim=-1)
    return weight / 6, slope / 2
