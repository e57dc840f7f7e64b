"""Isosurfaces of a map: where to cut, and how a mesh carries the cut along. Knows nothing of napari."""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu
from skimage.measure import marching_cubes

from napari_flex3d.ops.surfaces import interpolate

FINE, COARSE = 160, 80
"""Voxels along a map that a surface is cut from at most: more give more faces than anyone sees; enough for a glance."""

REACH = 4.0
"""Standard deviations at which the kernel of the filter ends."""


class Carrier(Protocol):
    """A tetrahedral mesh, as far as a surface needs it."""

    @property
    def cells(self) -> np.ndarray:
        """The four vertices of every cell."""

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell and barycentric weights of every point."""


def default_contour(volume: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Density at which to draw a map that nobody has chosen a contour for.

    Parameters
    ----------
    volume
        The map, protein positive.
    mask
        Where the protein may be; everywhere when None.

    Notes
    -----
    Otsu's threshold (Otsu 1979) between solvent and protein, of the positive values inside the mask.
    """
    inside = volume[mask.astype(bool)] if mask is not None and mask.any() else volume.ravel()
    positive = inside[inside > 0]
    if len(positive) < 2 or positive.min() == positive.max():
        return float(volume.max()) / 2
    return float(threshold_otsu(positive))  # type: ignore[no-untyped-call]


def low_passed(volume: np.ndarray, pixel_size: float, resolution: float) -> np.ndarray:
    """Filter a map with a Gaussian whose amplitude is one half at a resolution, Å; 0 leaves it as it is."""
    if resolution <= 0:
        return volume
    width = np.sqrt(np.log(2) / 2) / np.pi * resolution / pixel_size
    part = _around(volume != 0, int(REACH * width + 1))
    filtered = np.zeros_like(volume)
    filtered[part] = gaussian_filter(volume[part], width, mode="constant", truncate=REACH)
    return filtered


def cut(volume: np.ndarray, contour: float, most: int = FINE) -> tuple[np.ndarray, np.ndarray]:
    """Cut the isosurface: vertices (z, y, x voxel indices) and faces; none if the contour is not reached.

    Parameters
    ----------
    volume
        The map.
    contour
        Density at which to cut.
    most
        Voxels along the map at most; if it has more, every second, third, ... is used.
    """
    inside = volume > contour
    if inside.any() and not inside.all():
        step = -(-max(volume.shape) // most)
        part = _around(inside, 2 * step)
        try:
            vertices, faces, _, _ = marching_cubes(volume[part], contour, step_size=step)  # type: ignore[no-untyped-call]
        except RuntimeError:  # what is inside lies between the voxels that are used
            if step == 1:
                raise
            return cut(volume, contour, max(volume.shape))
        return (vertices + [side.start for side in part]).astype(np.float32), faces.astype(np.int32)
    return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)


def _around(inside: np.ndarray, margin: int) -> tuple[slice, slice, slice]:
    """Give the box around those voxels (n, n, n) and as many more on each side."""
    sides = []
    for axis in range(3):
        there = np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis})))
        first, last = (there[0], there[-1]) if len(there) else (0, 0)
        sides.append(slice(max(int(first) - margin, 0), int(last) + margin + 1))
    return sides[0], sides[1], sides[2]


@dataclass(frozen=True)
class CarriedSurface:
    """An isosurface whose points are tied to the cells of a mesh.

    Parameters
    ----------
    points
        (M, 3) rest positions x, y, z, Å from the box centre.
    faces
        (F, 3) vertex indices.
    corners
        (M, 4) mesh vertices of the cell that every point lies in.
    weights
        (M, 4) barycentric coordinates of every point in it.
    """

    points: np.ndarray
    faces: np.ndarray
    corners: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(
        cls, volume: np.ndarray, pixel_size: float, contour: float, mesh: Carrier, most: int = FINE
    ) -> Self:
        """Cut a map, at so many voxels along it at most, and tie the surface to a mesh."""
        vertices, faces = cut(volume, contour, most)
        points = ((vertices - len(volume) // 2) * pixel_size)[:, ::-1].astype(np.float32)
        if not len(points):
            return cls(points, faces, np.zeros((0, 4), int), np.zeros((0, 4), np.float32))
        cell, weights = mesh.locate(points)
        return cls(points, faces, np.asarray(mesh.cells)[cell], np.asarray(weights, np.float32))

    def displacements(self, of_vertices: np.ndarray) -> np.ndarray:
        """Displacement of every point, (M, 3) Å, from those of the mesh's vertices, (P, 3) Å."""
        return interpolate(of_vertices, self.corners, self.weights)
