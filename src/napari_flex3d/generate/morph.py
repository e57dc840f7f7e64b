"""Atomic models moved along the latents."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.generate.series import read_latents
from napari_flex3d.io.errors import InputWarning
from napari_flex3d.io.models import coordinates, read_model, write_models
from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.jobs import input_of
from napari_flex3d.model import FlexModel, load_model


def map_of(train: Path) -> Volume:
    """Read the map of the "prep" job behind a training: the frame of its models and volumes."""
    return read_map(input_of(input_of(train, "mesh"), "prep") / "map.mrc")


def box_centre(place: Volume) -> NDArray[np.float64]:
    """Where the box centre of a map lies, (x, y, z) in Å, as ChimeraX places the map."""
    half = np.array(place.data.shape[::-1]) // 2
    return np.array(place.origin) + half * place.pixel_size


def morph(train_job: Path, model: Path, at: Path, out: Path) -> dict[str, Any]:
    """Write an atomic model moved to each latent of a table, one model per row.

    Parameters
    ----------
    train_job
        Training job; it may still be running.
    model
        PDB or mmCIF file in the frame of the map that was given to "prep", as ChimeraX overlays them.
    at
        Table with columns z1, z2, ...
    out
        PDB or mmCIF file.

    Returns
    -------
    dict
        Number of models and atoms, share of atoms inside the mask, largest displacement in Å.

    Raises
    ------
    InputError
        If a file cannot be used.

    Notes
    -----
    Atoms outside all cells follow the affine motion of the nearest cell.
    """
    flex = load_model(train_job)
    latents = read_latents(at, flex.latent_dims)
    structure = read_model(model)
    centre = box_centre(map_of(train_job))
    rest = coordinates(structure) - centre
    inside = _share_inside(flex, rest)
    if inside < 0.5:
        low, high = (coordinates(structure).min(0), coordinates(structure).max(0))
        warnings.warn(
            f"{model}: only {100 * inside:.0f} % of the atoms lie in the mask. It reaches from {_xyz(low)} "
            f"to {_xyz(high)} Å, the box centre is at {_xyz(centre)} Å. Fit it into the map given to prep.",
            InputWarning,
            stacklevel=2,
        )
    moved = np.stack([flex.move(rest, latent) for latent in latents])
    write_models(out, structure, moved + centre)
    return {
        "models": len(moved),
        "atoms": len(rest),
        "inside_mask": inside,
        "largest_displacement_A": float(np.linalg.norm(moved - rest, axis=-1).max()),
    }


def _share_inside(flex: FlexModel, points: NDArray[np.float64]) -> float:
    """Share of points (x, y, z, Å from the box centre) that lie in the mask."""
    index = np.rint(points / flex.pixel_size).astype(np.int64) + flex.box_size // 2
    held = index[((index >= 0) & (index < flex.box_size)).all(axis=1)]
    return float(flex.mask[held[:, 2], held[:, 1], held[:, 0]].sum() / len(points))


def _xyz(point: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"
