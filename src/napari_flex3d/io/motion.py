"""The motion of a finished training as plain arrays: how its mesh moves at latents of its particles."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic

NAME = "motion.npz"
"""Its name in a training job."""


@dataclass(frozen=True)
class Motion:
    """How a mesh moves.

    Parameters
    ----------
    vertices
        Rest positions (P, 3), x y z in Å from the box centre.
    cells
        Vertex indices (C, 4).
    displacements
        Of every vertex at the latents of some particles (L, P, 3), Å.
    """

    vertices: NDArray[np.float32]
    cells: NDArray[np.int32]
    displacements: NDArray[np.float32]


def write_motion(path: Path, motion: Motion) -> None:
    """Write a motion as ``.npz``."""
    with atomic(path) as temporary:
        np.savez_compressed(
            temporary,
            vertices=motion.vertices,
            cells=motion.cells,
            displacements=motion.displacements,
        )


def read_motion(train_job: Path) -> Motion:
    """Motion of a training job.

    Raises
    ------
    InputError
        If the training is not finished, or the file is damaged.
    """
    path = train_job / NAME
    if not path.is_file():
        raise InputError(
            f"{train_job} has no {NAME}: the training is not finished, or an older version made it. "
            "Resume it, or train again."
        )
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            motion = Motion(file["vertices"], file["cells"], file["displacements"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}). Train again.") from None
    points, cells, moved = motion.vertices, motion.cells, motion.displacements
    fits = points.ndim == cells.ndim == 2 and moved.shape[1:] == points.shape and cells.shape[1:] == (4,)
    if not fits or not len(moved) or not len(cells) or cells.min() < 0 or cells.max() >= len(points):
        raise InputError(f"{path} is damaged: its mesh and its displacements do not fit. Train again.")
    return motion
