"""The maps that can be moved: canonical, consensus, the reconstructions at full resolution, any other file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import convolve1d

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import input_of
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.isosurface import low_passed

CANONICAL = "Canonical map"


@dataclass(frozen=True, eq=False)
class Subject:
    """A map that is moved, on its own grid.

    Parameters
    ----------
    density
        (n, n, n), protein positive.
    grid
        Where it lies.
    path
        Its file; None for the canonical map.
    """

    density: np.ndarray
    grid: Grid
    path: Path | None = None

    @property
    def pixel_size(self) -> float:
        """Å."""
        return self.grid.pixel_size

    @cached_property
    def coarse(self) -> "Subject":
        """The same map with voxels twice as large, about the same centre."""
        n = len(self.density)
        m = 2 * (n // 4)
        at = n // 2 + 2 * (np.arange(m) - m // 2)
        blurred = self.density
        for axis in range(3):
            blurred = convolve1d(blurred, [0.25, 0.5, 0.25], axis=axis, mode="constant")
        return Subject(
            np.ascontiguousarray(blurred[np.ix_(at, at, at)], np.float32),
            self.grid.same_centre(m, 2 * self.pixel_size),
            self.path,
        )

    def filtered(self, resolution: float) -> "Subject":
        """The same map, low-passed to a resolution, Å; 0 leaves it as it is."""
        return Subject(low_passed(self.density, self.pixel_size, resolution), self.grid, self.path)

    def enclosed(self, contour: float) -> float:
        """Volume above a contour, Å³."""
        return float((self.density > contour).sum()) * self.pixel_size**3

    def contour_of(self, enclosed: float) -> float:
        """Contour that encloses a volume, Å³."""
        part = np.clip(1 - enclosed / (self.density.size * self.pixel_size**3), 0, 1)
        return float(np.quantile(self.density, part))


def read_subject(path: Path, model: Any, grid: Grid) -> Subject:
    """Read a map that the model can move: centred as the consensus map is.

    Raises
    ------
    InputError
        If it is no cube, has no voxel size, or is smaller than the particle.
    """
    from napari_flex3d.generate import check_map  # loads torch; the dock opens without it

    volume = read_map(path)
    check_map(path, volume, model)
    data = np.ascontiguousarray(volume.data, np.float32)
    return Subject(data, grid.same_centre(len(data), volume.pixel_size), path)


def offered_maps(train: Path | None, reconstructions: list[Path]) -> list[tuple[str, Path | None]]:
    """Maps to choose from, with their files: the canonical one, the consensus, reconstructions of this training."""
    found: list[tuple[str, Path | None]] = [(CANONICAL, None)]
    if train is None:
        return found
    try:
        consensus = input_of(input_of(train, "mesh"), "prep") / "map.mrc"
        found += [("Consensus map", consensus)] if consensus.is_file() else []
    except InputError:
        pass  # a checkpoint that was copied without the jobs that it came from
    for job in reconstructions:
        try:
            if input_of(job, "train") == train.resolve() and (job / "flex.mrc").is_file():
                found.append((f"{job.name}, flexible", job / "flex.mrc"))
        except InputError:
            continue
    return found
