"""The maps that a reconstruction has written, and what their difference is. Knows nothing of layers."""

from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.layers import grid_of

DIFFERENCE, GAIN = "difference", "local_resolution_gain"


class TwinMaps:
    """Maps of one reconstruction, read when they are first wanted.

    Parameters
    ----------
    folder
        The job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._volumes: dict[str, Volume] = {}

    def has(self, name: str) -> bool:
        """Whether the job has written a map."""
        return (self.folder / f"{name}.mrc").is_file()

    def density(self, name: str) -> np.ndarray:
        """Give a map of the job, or the `DIFFERENCE` of flexible and scaled rigid map, [z, y, x]."""
        return self._difference if name == DIFFERENCE else self._volume(name).data

    @property
    def grid(self) -> Grid:
        """Where the maps lie."""
        return grid_of(self._volume("flex"))

    @cached_property
    def scale(self) -> float:
        """Factor that brings the rigid map to the flexible one."""
        return scale_to(self.density("flex"), self.density("rigid"))

    @cached_property
    def largest_gain(self) -> float:
        """Gain in local resolution that few voxels exceed, Å; at least 0.1."""
        gain = self.density(GAIN)
        return max(0.1, float(np.percentile(np.abs(gain[gain != 0]), 95))) if gain.any() else 0.1

    @cached_property
    def _difference(self) -> np.ndarray:
        return self.density("flex") - np.float32(self.scale) * self.density("rigid")

    def _volume(self, name: str) -> Volume:
        if name not in self._volumes:
            self._volumes[name] = read_map(self.folder / f"{name}.mrc")
        return self._volumes[name]


def scale_to(volume: np.ndarray, other: np.ndarray) -> float:
    """Factor by which to multiply another map to come as near as possible to a map, by least squares.

    Reconstructed maps are 0 outside their mask, so that only the voxels inside count.
    """
    norm = float(np.vdot(other, other))
    return float(np.vdot(volume, other)) / norm if norm else 0.0


def noticeable(difference: np.ndarray) -> float:
    """Three standard deviations of a difference, where there is one."""
    inside = difference[difference != 0]
    return 3 * float(inside.std()) if inside.size else 1.0


def sampled(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a map at points between its voxels, (N, 3) z, y, x."""
    return map_coordinates(volume, points.T, order=1, mode="nearest").astype(np.float32)
