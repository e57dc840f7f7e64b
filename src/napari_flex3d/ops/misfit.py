"""Projections compared with images: the misfit, differentiable, and the equations of a Gauss-Newton step.

With the CPU's kernels projections are not laid down: the transform of the spread grid is cropped, multiplied with the
transfer function and compared in one pass.
"""

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from napari_flex3d.ops import projection
from napari_flex3d.ops.projection import Body, fine_box, implementation_of, transforms
from napari_flex3d.ops.threads import on_threads


def misfit(
    values: Float[Tensor, " voxels"],
    vertices_px: Float[Tensor, "batch vertices 2"],
    body: Body,
    transform: Complex[Tensor, "batch box half"],
    transfer: Complex[Tensor, "batch box half"],
    oversampling: float = 1.5,
) -> Float[Tensor, " batch"]:
    """Half the sum of squares of each image's transform less transfer function times projection.

    Parameters
    ----------
    values, vertices_px, body, oversampling
        As for `project`; differentiable in the first two.
    transform, transfer
        Of the images; no derivatives are taken.
    """
    fine = fine_box(transform.shape[-2], oversampling)
    return _Misfit.apply(values, vertices_px, body, transform, transfer, fine)  # type: ignore[no-untyped-call]


@torch.no_grad()
def normal_equations(
    values: Float[Tensor, " voxels"],
    vertices_px: Float[Tensor, "batch vertices 2"],
    directions_px: Float[Tensor, "batch directions vertices 2"],
    body: Body,
    transform: Complex[Tensor, "batch box half"],
    transfer: Complex[Tensor, "batch box half"],
    oversampling: float = 1.5,
) -> tuple[Float[Tensor, "batch directions"], Float[Tensor, "batch directions directions"]]:
    """Gauss-Newton's equations for steps along motions of the vertices (as for `project_tangent`).

    Returns
    -------
    pull
        Derivatives of the model image times what is left to explain: minus the gradient of `misfit`.
    precision
        Products of the derivatives.
    """
    box = transform.shape[-2]
    fine = fine_box(box, oversampling)
    grid = implementation_of(values).tangent(values, vertices_px, directions_px, body, box, fine)
    if _is_fused(values):
        gram = grid.new_empty(len(grid), grid.shape[1] - 1, grid.shape[1])
        _on_cpu("equations", box, transforms.forward(grid), (transform, transfer, gram))
    else:
        products = transforms.to_transform(grid, box) * transfer[:, None]
        products[:, 0] = transform - products[:, 0]
        rows = torch.view_as_real(products).flatten(2)
        gram = rows[:, 1:] @ rows.mT
    return gram[:, :, 0], gram[:, :, 1:]


def _is_fused(values: Tensor) -> bool:
    return projection.implementation_for(values.device) == "numba"


def _on_cpu(kernel: str, box: int, full: Tensor, rest: tuple[Tensor, ...]) -> None:
    from napari_flex3d.ops import _misfit

    factor = transforms.spline_factor(box, full.shape[-2], full.real.dtype, "cpu")
    arrays = [t.detach().resolve_conj().contiguous().numpy() for t in (full, factor, *rest)]
    on_threads(getattr(_misfit, kernel), *arrays, most=len(full))


class _Misfit(torch.autograd.Function):
    """Misfit and its derivative: the way back begins at what was left over."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        vertices_px: Tensor,
        body: Body,
        transform: Tensor,
        transfer: Tensor,
        fine: int,
    ) -> Tensor:
        box = transform.shape[-2]
        grid = implementation_of(values).spread(values.detach(), vertices_px.detach(), body, box, fine)
        if _is_fused(values):
            loss = grid.new_empty(len(grid))
            left_over = torch.empty_like(transform, memory_format=torch.contiguous_format)
            _on_cpu("residuals", box, transforms.forward(grid), (transform, transfer, loss, left_over))
        else:
            left_over = transform - transfer * transforms.to_transform(grid, box)
            loss = 0.5 * torch.view_as_real(left_over).square().sum((-3, -2, -1))
        ctx.save_for_backward(values, vertices_px, transfer, left_over)
        ctx.rest = body, box, fine
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        values, vertices_px, transfer, left_over = ctx.saved_tensors
        body, box, fine = ctx.rest
        wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        grid = _pulled_back(left_over, transfer, gradients[0], fine)
        found = implementation_of(values).gather(grid, values, vertices_px, body, box, fine, *wanted)
        return *found, None, None, None, None


def _pulled_back(left_over: Tensor, transfer: Tensor, weight: Tensor, fine: int) -> Tensor:
    """Derivative of the weighted sum of losses with respect to the spread grids."""
    if not _is_fused(weight):
        return transforms.from_transform(transfer.conj() * left_over * -weight[:, None, None], fine)
    from napari_flex3d.ops import _misfit

    box, half = left_over.shape[-2:]
    columns = left_over.new_empty(len(left_over), half, fine)
    factor = transforms.adjoint_factor(box, fine, weight.dtype, "cpu")
    arrays = (left_over, factor, transfer.resolve_conj().contiguous(), weight.contiguous(), columns)
    on_threads(_misfit.pull_back, *(t.numpy() for t in arrays), most=len(columns))
    return transforms.inverse(columns)
