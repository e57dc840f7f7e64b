"""The regular mesh: a cubic lattice of Kuhn tetrahedra."""

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.mesh.tetmesh import TetMesh, voxel_positions

CRUMB = 0.01
"""Parts of the mesh with a smaller share of the mask's voxels are left out."""


def regular_mesh(mask: NDArray[np.bool_], pixel_size: float, cells: int) -> tuple[TetMesh, NDArray[np.int32]]:
    """Mesh on a cubic lattice, each cube cut into six tetrahedra; those without a mask voxel are left out.

    Parameters
    ----------
    mask
        (n, n, n), z y x.
    pixel_size
        Å.
    cells
        Lattice elements across the box.

    Returns
    -------
    mesh
        All rigidity weights 1, all cells in segment 0.
    cell_index
        (n, n, n), the cell of each mask voxel; -1 in solvent.

    Notes
    -----
    Kuhn's subdivision (1960): the tetrahedron of a point in a unit cube is given by the order of its coordinates.
    """
    n = len(mask)
    spacing = n * pixel_size / cells
    voxels = np.argwhere(mask)
    lattice = voxel_positions(voxels, n, pixel_size) / spacing + cells / 2
    cube = np.clip(np.floor(lattice).astype(np.int64), 0, cells - 1)
    inside = lattice - cube
    order = np.argsort(-inside, axis=1, kind="stable")
    kind = order @ (9, 3, 1)
    number = np.ravel_multi_index((*cube.T, kind), (cells,) * 3 + (27,))
    kept, cell = np.unique(number, return_inverse=True)
    *corner, kind = np.unravel_index(kept, (cells,) * 3 + (27,))
    order = np.stack([kind // 9, kind // 3 % 3, kind % 3], axis=1)
    steps = np.cumsum(np.eye(3, dtype=np.int64)[order], axis=1)
    nodes = np.concatenate([np.zeros_like(steps[:, :1]), steps], axis=1) + np.stack(corner, axis=1)[:, None]
    node = np.ravel_multi_index(tuple(nodes.reshape(-1, 3).T), (cells + 1,) * 3)
    used, index = np.unique(node, return_inverse=True)
    vertices = np.stack(np.unravel_index(used, (cells + 1,) * 3), axis=1) * spacing - cells * spacing / 2
    mesh = TetMesh(
        vertices=vertices.astype(np.float32),
        cells=index.reshape(-1, 4).astype(np.int32),
        rigidity=np.ones(len(kept), dtype=np.float32),
        segment=np.zeros(len(kept), dtype=np.int32),
    )
    mesh, cell = _without_crumbs(mesh, cell, voxel_positions(voxels, n, pixel_size))
    cell_index = np.full(mask.shape, -1, dtype=np.int32)
    cell_index[tuple(voxels.T)] = cell
    return mesh, cell_index


def _without_crumbs(
    mesh: TetMesh, cell: NDArray[np.int64], points: NDArray[np.float64]
) -> tuple[TetMesh, NDArray[np.int64]]:
    """Leave out parts with less than `CRUMB` of the voxels; their voxels follow the nearest cell.

    A cell that touches the others only along an edge or in a corner could flap freely.
    """
    part = mesh.components()
    keep = (np.bincount(part[cell]) / len(cell))[part] >= CRUMB
    if keep.all():
        return mesh, cell
    number = np.cumsum(keep) - 1
    left, cell = mesh.subset(keep), np.where(keep[cell], number[cell], -1)
    lost = cell < 0
    cell[lost] = left.locate(points[lost])[0]
    return left, cell
