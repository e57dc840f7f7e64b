"""Where the vertices of a mesh lie among the voxels."""

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.meshfile.arrays import Ints

_SAMPLE = 200_000


def share_inside(points: NDArray[np.floating], cells: Ints, cell_index: Ints) -> float:
    """Share of the voxels that lie, to a hundredth of a voxel, in the cell that ``cell_index`` names for them.

    Parameters
    ----------
    points
        Vertices (P, 3), x y z in voxels from the box centre.
    cells
        (C, 4).
    cell_index
        (n, n, n), z y x.
    """
    voxels = np.argwhere(cell_index >= 0)
    voxels = voxels[:: max(len(voxels) // _SAMPLE, 1)]
    cell = cell_index[tuple(voxels.T)]
    centre = np.array(cell_index.shape) // 2
    corners = points[cells].astype(np.float64)
    edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
    inverse = np.linalg.inv(edges)
    heights = np.linalg.norm(inverse, axis=2)  # one over the cell's height above each face
    heights = np.concatenate([np.linalg.norm(inverse.sum(1), axis=1)[:, None], heights], axis=1)
    inner = np.einsum("nij,nj->ni", inverse[cell], (voxels - centre)[:, ::-1] - corners[cell, 0])
    weights = np.concatenate([1 - inner.sum(1, keepdims=True), inner], axis=1)
    return float((weights >= -0.01 * heights[cell]).all(1).mean())
