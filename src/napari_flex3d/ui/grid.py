"""Where things lie in napari: the only place that turns x, y, z in Å into z, y, x in voxels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

UNITS = ("angstrom",) * 3


@dataclass(frozen=True)
class Grid:
    """The box of a map. All layers of a map, surfaces and meshes included, hold voxel indices z, y, x.

    Parameters
    ----------
    box_size
        Voxels along each edge.
    pixel_size
        Å.
    origin
        x, y, z of the corner voxel in the frame of the map's file, Å.
    """

    box_size: int
    pixel_size: float
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def placement(self) -> dict[str, Any]:
        """Scale, place and units that every layer of this box is made with."""
        return {"scale": (self.pixel_size,) * 3, "translate": tuple(self.origin)[::-1], "units": UNITS}

    def indices(self, points: np.ndarray) -> np.ndarray:
        """Voxel indices z, y, x of points (..., 3), x, y, z in Å from the box centre."""
        return self.vectors(points) + np.float32(self.box_size // 2)

    def vectors(self, differences: np.ndarray) -> np.ndarray:
        """Differences of voxel indices, z, y, x, from differences of positions, x, y, z in Å."""
        return (np.asarray(differences) / self.pixel_size)[..., ::-1].astype(np.float32)

    def same_centre(self, box_size: int, pixel_size: float) -> "Grid":
        """Another box about the same centre, such as the training box inside the crop box."""
        centre = [o + (self.box_size // 2) * self.pixel_size for o in self.origin]
        x, y, z = (c - (box_size // 2) * pixel_size for c in centre)
        return Grid(box_size, pixel_size, (x, y, z))
