"""Spread, gather and tangent in numba: the CPU implementation.

One image per thread at a time. `vectors` gives numba vectors of a fixed length, `voxels` handles 16 voxels at a time,
`kernels` brings them to the grid and back.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.weak import WeakTensorKeyDictionary

from napari_flex3d.ops.projection._numba import kernels
from napari_flex3d.ops.projection._numba.voxels import BLOCK, LANES, RUN
from napari_flex3d.ops.threads import on_threads

if TYPE_CHECKING:
    from napari_flex3d.ops.projection import Body

Array = NDArray[Any]

_kept: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def spread(values: Tensor, vertices_px: Tensor, body: "Body", box: int, fine: int) -> Tensor:
    """Grids (B, fine, fine) of values (N) at the voxels of vertices (B, P, 2)."""
    grids = values.new_empty(len(vertices_px), fine, fine)
    on_threads(
        kernels.spread, *arrays(values, vertices_px * (fine / box), body), grids.numpy(), most=len(grids)
    )
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
    images, voxels = len(vertices_px), len(values)
    read = *arrays(values, vertices_px * (fine / box), body), gradient.contiguous().numpy()
    to_values = values.new_zeros(torch.get_num_threads(), len(read[0]) if for_values else 0)
    if not for_vertices:
        on_threads(kernels.gather_values, *read, to_values.numpy(), most=images)
        return to_values[:, :voxels].sum(0), None
    to_vertices = torch.zeros_like(vertices_px, memory_format=torch.contiguous_format)
    on_threads(kernels.gather_both, *read, to_values.numpy(), to_vertices.numpy(), most=images)
    return to_values[:, :voxels].sum(0) if for_values else None, to_vertices.mul_(fine / box)


def tangent(
    values: Tensor, vertices_px: Tensor, directions_px: Tensor, body: "Body", box: int, fine: int
) -> Tensor:
    """Grids (B, 1 + K, fine, fine): the spread values, then their derivatives along directions (B, K, P, 2)."""
    batch, directions = directions_px.shape[:2]
    grids = values.new_empty(batch, 1 + directions, fine, fine)
    scaled = (directions_px * (fine / box)).contiguous().numpy()
    read = arrays(values, vertices_px * (fine / box), body)
    on_threads(kernels.tangent, *read, scaled, grids.numpy(), most=batch)
    return grids


def arrays(values: Tensor, vertices: Tensor, body: "Body") -> tuple[Array, ...]:
    """What all kernels read; values and weights go on with zeros: whole blocks, and for weights a load beyond."""
    more = -len(values) % BLOCK
    return (
        pad(values.detach(), (0, more)).contiguous().numpy(),
        vertices.detach().contiguous().numpy(),
        body.cells.numpy(),
        body.offsets.numpy(),
        *_of_body(body, values.dtype, more),
    )


def _of_body(body: "Body", dtype: torch.dtype, more: int) -> tuple[Array, Array, Array]:
    """`_groups`, and weights of each voxel's last three vertices, (3, N + ...), as the first has the rest.

    Kept as long as the body.
    """
    kept = _kept.setdefault(body.weights, {})
    if dtype not in kept:
        shares = pad(body.weights[:, 1:].T.to(dtype), (0, more + LANES)).contiguous().numpy()
        kept[dtype] = *_groups(body.offsets.numpy(), len(body.weights) + more), shares
    found: tuple[Array, Array, Array] = kept[dtype]
    return found


def _groups(offsets: Array, total: int) -> tuple[Array, Array]:
    """Groups of up to 16 voxels in one cell and one run: cell and first voxel (G, 2), and each run's first group.

    What comes after the last voxel counts to the last cell.
    """
    runs = np.arange(0, total + 1, RUN)
    starts = np.union1d(offsets[:-1], runs)
    starts = starts[starts < total]
    counts = -(-np.diff(starts, append=total) // LANES)
    piece = np.repeat(np.arange(len(starts)), counts)
    first = starts[piece] + LANES * (np.arange(len(piece)) - np.repeat(counts.cumsum() - counts, counts))
    cell = np.searchsorted(offsets[:-1], starts, side="right") - 1
    groups = np.stack([cell[piece], first], 1).astype(np.int32)
    return groups, np.searchsorted(first, runs).astype(np.int32)
