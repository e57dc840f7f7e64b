"""Projection of a deformed map: the non-uniform Fourier transform of its voxels, straight to the image plane.

Projection is linear and ignores depth, so no volume is formed: every voxel is placed in the image plane, its value is
spread onto a finer image grid with a cubic B-spline, and the transform of that grid, cropped and divided by the
spline's own transform, is the transform of the projection. Inside one tetrahedron the way from rest voxel to image
plane is affine; in barycentric coordinates it is given by the four projected vertices and nothing else.

One function, several implementations: plain torch (any device, the reference), numba (CPU) and Triton (NVIDIA GPUs).
Each gives the same three products, which `_Project` and `project_tangent` join: spread, gather (its adjoint), tangent.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

import torch
from jaxtyping import Complex, Float, Int
from scipy.fft import next_fast_len
from torch import Tensor

from napari_flex3d.ops.projection.transforms import from_transform, to_transform

Implementation = Literal["torch", "numba", "triton"]


@dataclass(frozen=True)
class Body:
    """Voxels tied to tetrahedra, sorted by cell.

    Parameters
    ----------
    vertices
        Rest positions (P, 3), Å.
    cells
        The four vertices of each cell, (C, 4).
    offsets
        (C + 1); the voxels of cell ``c`` are ``offsets[c]:offsets[c + 1]``.
    weights
        Barycentric coordinates (N, 4) of each voxel in its cell; outside all cells they extrapolate.
    order
        (N); voxel ``n`` of the body was number ``order[n]`` in the list that it was made from.
    """

    vertices: Tensor
    cells: Tensor
    offsets: Tensor
    weights: Tensor
    order: Tensor

    @cached_property
    def cell_of(self) -> Int[Tensor, " voxels"]:
        """Cell of each voxel, int32; ascending."""
        counts = self.offsets.diff().long()
        number = torch.arange(len(counts), dtype=torch.int32, device=counts.device)
        return torch.repeat_interleave(number, counts)

    def to(self, device: torch.device | str) -> "Body":
        """The same body on another device."""
        return Body(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def subset(self, keep: Tensor) -> "Body":
        """The body of those voxels for which ``keep`` (N, in the body's order) is true."""
        counts = torch.cat([keep.new_zeros(1, dtype=torch.int64), keep.long().cumsum(0)])
        return Body(
            self.vertices,
            self.cells,
            counts[self.offsets.long()].to(torch.int32),
            self.weights[keep].contiguous(),
            self.order[keep],
        )

    @classmethod
    def from_cells(cls, vertices: Tensor, cells: Tensor, cell_of: Tensor, weights: Tensor) -> "Body":
        """Body of voxels whose cell (N) and barycentric coordinates (N, 4) are known."""
        order = torch.argsort(cell_of, stable=True)
        counts = torch.bincount(cell_of, minlength=len(cells))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(
            vertices, cells.to(torch.int32), offsets.to(torch.int32), weights[order].contiguous(), order
        )


def rigid_body(points: Float[Tensor, "points 3"]) -> Body:
    """Body that moves as one: a single tetrahedron around the box centre holds every point (Å)."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], device=points.device)
    size = points.abs().max().clamp(min=1.0)
    inner = points.float() / size
    weights = torch.cat([1 - inner.sum(-1, keepdim=True), inner], dim=-1)
    cell = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    return Body.from_cells(vertices * size, torch.arange(4, device=points.device)[None], cell, weights)


def place(
    rotation: Float[Tensor, "batch 3 3"], vertices: Float[Tensor, "some vertices 3"], pixel_size: float
) -> Float[Tensor, "batch vertices 2"]:
    """Where vertices (Å, map frame) fall in each image: ``(A v)_xy`` in pixels from the centre pixel."""
    return vertices @ (rotation[:, :2] / pixel_size).mT


def project(
    values: Float[Tensor, " voxels"],
    vertices_px: Float[Tensor, "batch vertices 2"],
    body: Body,
    box_size: int,
    oversampling: float = 1.5,
    implementation: Implementation | None = None,
) -> Complex[Tensor, "batch box half"]:
    """Transform of the projections of a deformed map, without CTF and shift.

    ``FT(k) = sum_n V[n] exp(-2 pi i k . y_n)``, differentiable in the values and in the projected vertices.

    Parameters
    ----------
    values
        Density of each voxel of the body, in the body's order.
    vertices_px
        Mesh vertices in the image plane, pixels from the centre pixel (`place`).
    body
        The voxels and their tetrahedra.
    box_size
        Box of the images; density that leaves it on one side enters on the other, so mass is kept.
    oversampling
        How much finer the spreading grid is; measured errors are in `docs/performance.md`.
    implementation
        `implementation_for` the device unless named.

    Returns
    -------
    Centred transform in the layout of `napari_flex3d.ops.fourier.rfft2`.

    Notes
    -----
    Non-uniform FFT of type 1 (Dutt & Rokhlin 1993) with a cubic B-spline kernel.
    """
    fine = fine_box(box_size, oversampling)
    module = implementation_of(values, implementation)
    return _Project.apply(values, vertices_px, body, box_size, fine, module)  # type: ignore[no-untyped-call]


def project_tangent(
    values: Float[Tensor, " voxels"],
    vertices_px: Float[Tensor, "batch vertices 2"],
    directions_px: Float[Tensor, "batch directions vertices 2"],
    body: Body,
    box_size: int,
    oversampling: float = 1.5,
    implementation: Implementation | None = None,
) -> Complex[Tensor, "batch products box half"]:
    """Transform of the projections and of their derivatives along motions of the vertices.

    Parameters
    ----------
    directions_px
        For each image some velocities of the projected vertices, pixels per unit.

    Returns
    -------
    The projection first, then its derivative along each direction.
    """
    fine = fine_box(box_size, oversampling)
    module = implementation_of(values, implementation)
    with torch.no_grad():
        grid = module.tangent(values, vertices_px, directions_px, body, box_size, fine)
    return to_transform(grid, box_size)


@lru_cache
def fine_box(box_size: int, oversampling: float) -> int:
    """Box of the spreading grid: even, quick to transform, at least ``oversampling`` times as fine."""
    fine = int(-(-box_size * oversampling // 1))
    while fine % 2 or next_fast_len(fine, real=True) != fine:
        fine += 1
    return fine


def implementation_for(device: torch.device | str) -> Implementation:
    """Quickest implementation that there is for a device."""
    kind = torch.device(device).type
    if kind == "cpu":
        return "numba"
    return "triton" if kind == "cuda" and find_spec("triton") else "torch"


def implementation_of(values: Tensor, implementation: Implementation | None = None) -> ModuleType:
    """Module with the three products for values on their device, unless named."""
    name = implementation or implementation_for(values.device)
    return import_module(f"napari_flex3d.ops.projection._{name}")


class _Project(torch.autograd.Function):
    """Projection and its adjoint, for any implementation."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, vertices_px: Tensor, body: Body, box: int, fine: int, module: ModuleType
    ) -> Tensor:
        ctx.save_for_backward(values, vertices_px)
        ctx.rest = body, box, fine, module
        return to_transform(module.spread(values.detach(), vertices_px.detach(), body, box, fine), box)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        values, vertices_px = ctx.saved_tensors
        body, box, fine, module = ctx.rest
        grid = from_transform(gradients[0], fine)
        wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        to_values, to_vertices = module.gather(grid, values, vertices_px, body, box, fine, *wanted)
        return to_values, to_vertices, None, None, None, None
