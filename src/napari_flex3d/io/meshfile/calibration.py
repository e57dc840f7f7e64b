"""Where the vertices of a mesh lie among the voxels, learned from its map of voxels."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_flex3d.io.errors import InputError

Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]

_ENOUGH_VOXELS = 20
_ENOUGH_CELLS = 12
_PERMUTATION = 0.02
_RESIDUAL = 0.5
_SAMPLE = 200_000


@dataclass(frozen=True)
class Calibration:
    """How a program writes vertices: voxel index = ``scale`` * point + ``centre``, after putting its columns in order.

    Parameters
    ----------
    columns
        Which columns of the points are x, y and z.
    scale
        Voxels per unit of the points.
    centre
        Voxel index (x, y, z) of the point at zero.
    """

    columns: tuple[int, int, int]
    scale: float
    centre: tuple[float, float, float]

    def to_voxels(self, points: ArrayLike) -> Doubles:
        """Voxel indices (P, 3), x y z, of points (P, 3) of the file."""
        return np.asarray(points, dtype=np.float64)[:, list(self.columns)] * self.scale + self.centre

    def from_voxels(self, index: ArrayLike) -> Doubles:
        """Points (P, 3) as the file has them, of voxel indices (P, 3), x y z."""
        points = np.empty(np.shape(index))
        points[:, list(self.columns)] = (np.asarray(index, dtype=np.float64) - self.centre) / self.scale
        return points


def calibrate(
    path: Path, points: NDArray[np.floating], cells: Ints, cell_index: Ints, pixel_size: float
) -> Calibration:
    """Frame of the vertices, from the mean of each cell's voxels against the mean of its four vertices.

    Cells that touch solvent are left aside where there are enough others, since the mask cuts them.

    Parameters
    ----------
    points, cells
        Vertices (P, 3) as in the file, and (C, 4).
    cell_index
        Cell of each voxel (n, n, n), z y x.
    pixel_size
        Å, for the guess below.

    Raises
    ------
    InputError
        If the affine map that fits best is no axis permutation with one scale to 2 %, or leaves more than half a
        voxel, or if there are too few cells with 20 voxels.

    Notes
    -----
    Voxels that lie on the faces between cells, all of them where the lattice is a whole number of voxels, shift the
    means by most of a voxel. So a scale of one per pixel, Å or box, and the centre ``n // 2`` or else ``(n - 1) / 2``,
    are taken where they are near and as many voxels lie in their cells with them as with the fit.
    """
    index, mean = _means(path, points, cells, cell_index)
    design = np.column_stack([mean, np.ones(len(mean))])
    fit, *_ = np.linalg.lstsq(design, index, rcond=None)
    residual = float(np.sqrt(np.square(design @ fit - index).sum(1).mean()))
    matrix = fit[:3].T
    columns = np.abs(matrix).argmax(1)
    if sorted(columns) == [0, 1, 2]:
        kept = matrix[range(3), columns]
        scale = float(kept.mean())
        off = matrix.copy()
        off[range(3), columns] -= scale
    if (
        sorted(columns) != [0, 1, 2]
        or scale <= 0
        or np.abs(off).max() > _PERMUTATION * scale
        or residual > _RESIDUAL
    ):
        rows = "; ".join(
            " ".join(f"{value:.4g}" for value in row) for row in np.column_stack([matrix, fit[3]])
        )
        raise InputError(
            f"Mesh {path}: tm_points do not lie where tm_tetraidx_map has the cells. Voxel index (x; y; z) = [{rows}] "
            f"of the points, residual {residual:.2g} voxels; one scale on each axis, in any order, and a residual "
            f"below {_RESIDUAL} are needed."
        )
    x, y, z = (int(column) for column in columns)
    found = Calibration((x, y, z), scale, _centre(index - scale * mean[:, columns]))
    return _named(found, points, cells, cell_index, pixel_size)


def _centre(apart: Doubles) -> tuple[float, float, float]:
    x, y, z = apart.mean(0).tolist()
    return x, y, z


def _means(
    path: Path, points: NDArray[np.floating], cells: Ints, cell_index: Ints
) -> tuple[Doubles, Doubles]:
    """Mean voxel index, x y z, and mean vertex, of every cell with enough voxels."""
    inside = cell_index >= 0
    cell = cell_index[inside]
    count = np.bincount(cell, minlength=len(cells))
    usable = count >= _ENOUGH_VOXELS
    if usable.sum() < _ENOUGH_CELLS:
        raise InputError(
            f"Mesh {path}: {usable.sum()} of {len(cells)} cells have {_ENOUGH_VOXELS} voxels; {_ENOUGH_CELLS} are "
            "needed to tell the unit and order of tm_points."
        )
    inner = usable.copy()
    inner[cell_index[inside & ndimage.binary_dilation(~inside)]] = False
    if inner.sum() >= 2 * _ENOUGH_CELLS:
        usable = inner
    voxels = np.nonzero(inside)[::-1]
    sums = np.stack([np.bincount(cell, weights=axis, minlength=len(cells)) for axis in voxels], axis=1)
    mean = points[cells[usable]].astype(np.float64).mean(1)
    return sums[usable] / count[usable, None], mean


def _named(
    found: Calibration, points: NDArray[np.floating], cells: Ints, cell_index: Ints, pixel_size: float
) -> Calibration:
    """Take the scale and centre that somebody chose where the fit cannot tell them from its own."""
    n = len(cell_index)
    scales = [
        s for s in (1.0, 1 / (pixel_size or 1.0), float(n), n / 2) if abs(s / found.scale - 1) < _PERMUTATION
    ]
    centres = [
        (middle,) * 3
        for middle in (n // 2, (n - 1) / 2, 0.0)
        if np.abs(np.subtract(found.centre, middle)).max() < 1
    ]
    best, most = found, share_inside(found.to_voxels(points), cells, cell_index) - 1e-3
    for scale, centre in itertools.product([*scales, found.scale], [*centres, found.centre]):
        tried = Calibration(found.columns, scale, centre)
        share = share_inside(tried.to_voxels(points), cells, cell_index)
        if share > most + 1e-3 or (share >= most and best is found):
            best, most = tried, share
    return best


def share_inside(points: NDArray[np.floating], cells: Ints, cell_index: Ints) -> float:
    """Share of the voxels that lie, to a hundredth of a voxel, in the cell that ``cell_index`` names for them.

    Parameters
    ----------
    points
        Vertices (P, 3) as voxel indices, x y z.
    cells
        (C, 4).
    cell_index
        (n, n, n), z y x.
    """
    voxels = np.argwhere(cell_index >= 0)
    voxels = voxels[:: max(len(voxels) // _SAMPLE, 1)]
    cell = cell_index[tuple(voxels.T)]
    corners = points[cells].astype(np.float64)
    inverse = np.linalg.inv(np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2))
    per_voxel = np.linalg.norm(inverse, axis=2)  # one over the cell's height above each face
    per_voxel = np.column_stack([np.linalg.norm(inverse.sum(1), axis=1), per_voxel])
    inner = np.einsum("nij,nj->ni", inverse[cell], voxels[:, ::-1] - corners[cell, 0])
    weights = np.column_stack([1 - inner.sum(1), inner])
    return float((weights >= -0.01 * per_voxel[cell]).all(1).mean())
