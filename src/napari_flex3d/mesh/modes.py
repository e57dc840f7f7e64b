"""Elastic modes of a mesh: the motions that cost little."""

import numpy as np
import torch
from scipy.sparse import diags
from scipy.sparse.linalg import LinearOperator, eigsh, splu
from threadpoolctl import threadpool_limits
from torch import Tensor

from napari_flex3d.mesh.tetmesh import TetMesh
from napari_flex3d.ops.elasticity import shape_gradients, stiffness
from napari_flex3d.ops.projection import Body


def elastic_modes(mesh: TetMesh, mass: Tensor, count: int = 120) -> Tensor:
    """Softest elastic modes of the mesh, (M, P * 3); the first are the rigid motions of its parts, six of each.

    Eigenvectors of the rigidity energy at rest in the metric of the mass, scaled to the same energy, so that soft
    motions are the easiest to learn; rigid motions, which cost nothing, are as large as the softest that does.

    Parameters
    ----------
    mesh
        The mesh with its rigidity weights.
    mass
        Density carried by each vertex (P).
    count
        How many at most besides the rigid ones.
    """
    rest, cells = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.cells)
    inverse, volume = shape_gradients(rest, cells)
    energy = stiffness(cells, inverse, torch.from_numpy(mesh.rigidity) * volume / volume.mean(), len(rest))
    inertia = diags(np.repeat((mass / mass.sum()).double().numpy(), 3)).tocsc()
    size = energy.shape[0]
    below = -1e-3 * energy.diagonal().sum() / inertia.diagonal().sum() / size
    # it is positive definite: without pivoting the factors are smaller by a third, and so is the time
    shifted = splu(
        (energy - below * inertia).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    inverse_of = LinearOperator((size, size), shifted.solve, dtype=np.float64)
    rigid = 6 * (int(mesh.components().max()) + 1)
    found = min(count + rigid, size - 2)
    # ARPACK's products are so small that threads only wait for each other
    with threadpool_limits(1, user_api="blas"):
        value, mode = eigsh(
            energy, k=found, M=inertia, sigma=below, OPinv=inverse_of, v0=np.ones(size), tol=1e-4
        )
    softest = max(value[min(rigid, found - 1)], 0.05 * value[-1])  # hinges between parts are free, too
    return torch.from_numpy((mode / np.sqrt(value.clip(min=softest))).T.copy()).float()


def vertex_mass(values: Tensor, body: Body) -> Tensor:
    """Density that each vertex carries (P): the positive part of the map, shared by barycentric weights."""
    cell_of = torch.repeat_interleave(
        torch.arange(len(body.cells)), (body.offsets[1:] - body.offsets[:-1]).long()
    )
    corners = body.cells.long()[cell_of]
    share = body.weights.clamp(min=0) * values.clamp(min=0)[:, None]
    mass = torch.zeros(len(body.vertices)).index_add_(0, corners.flatten(), share.flatten())
    return mass + 0.1 * mass.mean()  # empty corners of the mesh weigh something, too
