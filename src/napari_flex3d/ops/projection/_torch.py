"""Spread, gather and tangent in plain torch: any device, any float type; the reference for the others.

Images are handled one after another, so memory is bounded by one image's taps (16 per voxel).
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from napari_flex3d.ops.projection import Body


def spread(values: Tensor, vertices_px: Tensor, body: "Body", box: int, fine: int) -> Tensor:
    """Grids (B, fine, fine) of values (N) at the voxels of vertices (B, P, 2)."""
    grids = values.new_zeros(len(vertices_px), fine * fine)
    for grid, vertices in zip(grids, vertices_px, strict=True):
        index, weight, _ = _taps(vertices, body, box, fine)
        grid.index_add_(0, index.reshape(-1), (weight * values[:, None, None]).reshape(-1))
    return grids.view(-1, fine, fine)


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
    vertex_of = body.cells.long()[_cell_of(body)]
    for i, vertices in enumerate(vertices_px):
        index, weight, slope = _taps(vertices, body, box, fine)
        at = gradient[i].reshape(-1)[index]
        if to_values is not None:
            to_values += (at * weight).sum((1, 2))
        if to_vertices is not None:
            pull = torch.einsum("nyx,ncyx->nc", at, slope) * values[:, None] * (fine / box)
            shares = body.weights.to(values.dtype)[:, :, None] * pull[:, None, :]
            to_vertices[i].index_add_(0, vertex_of.reshape(-1), shares.reshape(-1, 2))
    return to_values, to_vertices


def tangent(
    values: Tensor, vertices_px: Tensor, directions_px: Tensor, body: "Body", box: int, fine: int
) -> Tensor:
    """Grids (B, 1 + K, fine, fine): the spread values, then their derivatives along directions (B, K, P, 2)."""
    batch, directions = directions_px.shape[:2]
    grids = values.new_zeros(batch, 1 + directions, fine * fine)
    for i in range(batch):
        index, weight, slope = _taps(vertices_px[i], body, box, fine)
        grids[i, 0].index_add_(0, index.reshape(-1), (weight * values[:, None, None]).reshape(-1))
        for k in range(directions):
            speed = _positions(directions_px[i, k], body) * (fine / box) * values[:, None]
            change = torch.einsum("nc,ncyx->nyx", speed, slope)
            grids[i, 1 + k].index_add_(0, index.reshape(-1), change.reshape(-1))
    return grids.view(batch, 1 + directions, fine, fine)


def _cell_of(body: "Body") -> Tensor:
    counts = (body.offsets[1:] - body.offsets[:-1]).long()
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _positions(vertices: Tensor, body: "Body") -> Tensor:
    corners = vertices[body.cells.long()[_cell_of(body)]]
    return torch.einsum("na,nac->nc", body.weights.to(vertices.dtype), corners)


def _taps(vertices: Tensor, body: "Body", box: int, fine: int) -> tuple[Tensor, Tensor, Tensor]:
    """Flat index (N, 4, 4), weight (N, 4, 4) and slope (N, 2, 4, 4) in x and y of each voxel's taps [y, x]."""
    at = _positions(vertices, body) * (fine / box)
    low = at.floor()
    weight, slope = _spline(at - low)  # (N, 2, 4)
    index = (low.long()[..., None] - 1 + torch.arange(4, device=at.device)) % fine
    flat = index[:, 1, :, None] * fine + index[:, 0, None, :]
    wx, wy = weight[:, 0, None, :], weight[:, 1, :, None]
    dx, dy = slope[:, 0, None, :], slope[:, 1, :, None]
    return flat, wy * wx, torch.stack([wy * dx, dy * wx], dim=1)


def _spline(t: Tensor) -> tuple[Tensor, Tensor]:
    """Cubic B-spline weights and their derivatives at the four taps around a point; ``t`` in [0, 1)."""
    weight = torch.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=-1
    )
    slope = torch.stack([-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2], dim=-1)
    return weight / 6, slope / 2
