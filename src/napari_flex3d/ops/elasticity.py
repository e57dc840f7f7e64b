"""Deformation of tetrahedra: gradients, closest rotations, rigidity energy."""

from typing import Any

import torch
from jaxtyping import Float, Int
from scipy.sparse import csc_matrix
from torch import Tensor

from napari_flex3d.ops.projection import implementation_for


def shape_gradients(
    vertices: Float[Tensor, "vertices 3"], cells: Int[Tensor, "cells 4"]
) -> tuple[Float[Tensor, "cells 3 3"], Float[Tensor, " cells"]]:
    """Inverse edge matrix and volume of every cell at rest.

    Parameters
    ----------
    vertices
        Rest positions, Å.
    cells
        The four vertex indices of each cell.

    Returns
    -------
    inverse
        Inverse of the matrix whose columns are the edges from the first vertex, 1/Å.
    volume
        Å³, positive whatever the order of the vertices.
    """
    corners = vertices[cells.long()]
    edges = (corners[:, 1:] - corners[:, :1]).mT
    return torch.linalg.inv(edges), torch.linalg.det(edges).abs() / 6


def deformation_gradient(
    positions: Float[Tensor, "batch vertices 3"],
    cells: Int[Tensor, "cells 4"],
    inverse: Float[Tensor, "cells 3 3"],
) -> Float[Tensor, "3 3 batch cells"]:
    """Gradient of the position map in every cell; components first, so that sums over them are quick.

    Parameters
    ----------
    positions
        Deformed vertices, Å.
    cells, inverse
        From the mesh at rest (`shape_gradients`).
    """
    corners = positions.permute(2, 0, 1)[..., cells.long().T]  # (3, batch, 4, cells)
    edges = corners[:, :, 1:] - corners[:, :, :1]
    return torch.einsum("ibjc,cjk->ikbc", edges, inverse)


def closest_rotation(gradient: Float[Tensor, "3 3 *batch"], steps: int = 4) -> Float[Tensor, "3 3 *batch"]:
    """Rotation nearest to each matrix, determinant +1 also where the matrix is inverted.

    Notes
    -----
    Newton's iteration for the polar factor, ``R <- (R + R^-T) / 2`` (Higham 1986), written out in components since
    batched 3 x 3 decompositions are slow on a CPU. Matrices that are inverted or nearly flat, where it does not lead
    to a rotation, are decomposed instead.
    """
    rotation = gradient
    safe = _determinant(gradient) > 0.1
    for _ in range(steps):
        cofactor = _cofactor(rotation)
        determinant = (rotation[0] * cofactor[0]).sum(0)
        rotation = 0.5 * (rotation + cofactor / determinant.masked_fill(~safe, 1.0))
    if not bool(safe.all()):
        flat = gradient[:, :, ~safe].movedim(-1, 0)
        left, _, right = torch.linalg.svd(flat)
        sign = torch.linalg.det(left @ right).sign()
        left = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], dim=-1)
        rotation = rotation.clone()
        rotation[:, :, ~safe] = (left @ right).movedim(0, -1)
    return rotation


def rigidity_energy(
    positions: Float[Tensor, "batch vertices 3"],
    cells: Int[Tensor, "cells 4"],
    inverse: Float[Tensor, "cells 3 3"],
    weight: Float[Tensor, " cells"],
) -> Float[Tensor, " batch"]:
    """Departure of every deformation from rigid motion, ``sum_j weight_j |F_j - R_j|²``.

    Parameters
    ----------
    positions
        Deformed vertices, Å.
    cells, inverse
        From the mesh at rest (`shape_gradients`).
    weight
        Rigidity weight times relative volume of each cell.

    Notes
    -----
    The sum of squared deviations of the singular values from one (Punjani & Fleet 2023; as-rigid-as-possible energy of
    Chao et al. 2010). ``R`` is the closest rotation, held constant: the derivative is then exactly ``2 (F - R)``.
    """
    if implementation_for(positions.device) == "torch":
        return _rigidity_energy(positions, cells, inverse, weight)
    return _Rigidity.apply(positions, cells, inverse, weight)  # type: ignore[no-untyped-call]


def _rigidity_energy(positions: Tensor, cells: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
    gradient = deformation_gradient(positions, cells, inverse)
    rotation = closest_rotation(gradient.detach())
    return ((gradient - rotation).square().sum((0, 1)) * weight).sum(-1)


class _Rigidity(torch.autograd.Function):
    """Energy and its derivative in one pass, by numba or by Triton."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, cells: Tensor, inverse: Tensor, weight: Tensor) -> Tensor:
        at = positions.detach().contiguous()
        if at.device.type == "cpu":
            energy, slope = _by_numba(at, cells, inverse, weight)
        else:
            from napari_flex3d.ops._rigidity_triton import energy_and_slope

            energy, slope = energy_and_slope(at, cells, inverse, weight)
        ctx.save_for_backward(slope)
        return energy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return gradients[0][:, None, None] * slope, None, None, None


def _by_numba(at: Tensor, cells: Tensor, inverse: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Energy and derivative; cells that are inverted or nearly flat by decomposition."""
    from napari_flex3d.ops._rigidity import energy_and_slope

    energy, slope = at.new_zeros(len(at)), torch.zeros_like(at)
    unsafe = torch.zeros(len(at), len(cells), dtype=torch.bool)
    arrays = (at, cells, inverse.to(at), weight.to(at), energy, slope, unsafe)
    if energy_and_slope(*(a.numpy() for a in arrays)):
        for i in unsafe.any(1).nonzero()[:, 0].tolist():
            some = unsafe[i]
            with torch.enable_grad():
                one = at[i : i + 1].clone().requires_grad_()
                (rest,) = _rigidity_energy(one, cells[some], inverse[some].to(at), weight[some].to(at))
            energy[i] += rest.detach()
            slope[i] += torch.autograd.grad(rest, one)[0][0]
    return energy, slope


def stiffness(
    cells: Int[Tensor, "cells 4"],
    inverse: Float[Tensor, "cells 3 3"],
    weight: Float[Tensor, " cells"],
    vertices: int,
) -> csc_matrix:
    """Second derivative of half the rigidity energy at rest, (vertices * 3) squared, sparse.

    Notes
    -----
    At rest the energy is that of the symmetric part of the displacement gradient: ``sum_j weight_j |sym G_j|²``.
    """
    slope = torch.cat([-inverse.sum(1, keepdim=True), inverse], dim=1).double()  # of the four hat functions
    eye = torch.eye(3, dtype=slope.dtype)
    gradient = torch.einsum("cai,jk->cijak", slope, eye).flatten(3)  # G_ji of each degree of freedom
    strain = (0.5 * (gradient + gradient.transpose(1, 2))).flatten(1, 2)
    local = torch.einsum("c,cmk,cml->ckl", weight.double(), strain, strain)
    place = (cells.long()[:, :, None] * 3 + torch.arange(3)).flatten(1)
    rows = place[:, :, None].expand(-1, -1, 12).flatten()
    columns = place[:, None, :].expand(-1, 12, -1).flatten()
    size = vertices * 3
    return csc_matrix((local.flatten().numpy(), (rows.numpy(), columns.numpy())), shape=(size, size))


def inverted_cells(gradient: Float[Tensor, "3 3 batch cells"]) -> Int[Tensor, " batch"]:
    """How many cells are turned inside out."""
    return (_determinant(gradient) <= 0).sum(-1)


def _cofactor(m: Tensor) -> Tensor:
    return torch.stack([_cross(m[(i + 1) % 3], m[(i + 2) % 3]) for i in range(3)])


def _determinant(m: Tensor) -> Tensor:
    return (m[0] * _cross(m[1], m[2])).sum(0)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Vector product along the first axis; several times quicker here than `torch.linalg.cross`."""
    return torch.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
