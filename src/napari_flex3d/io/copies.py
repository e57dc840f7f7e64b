"""Copies of one particle: made by symmetry expansion here or elsewhere, told apart, their image kept once."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.columns import formatted
from napari_flex3d.io.relion.labels import ANGLES, COPY
from napari_flex3d.io.table import Floats, Ints, ParticleTable

_UID, SOURCE_UID = "flexUid", "flexSourceUid"


def expanded(table: ParticleTable, rotations: Floats) -> ParticleTable:
    """Every particle once for each rotation of a point group, the copies of one side by side.

    Parameters
    ----------
    table
        Particles of a refinement that imposed the symmetry.
    rotations
        (M, 3, 3), the identity first.

    Returns
    -------
    The table with M rows a particle. A copy's pose is that of its particle after a rotation of the map, so that each
    subunit lies once where the first one does; its row, image, shift and half-set are those of its particle, and
    its number is in the column ``flexSymmetryCopy``. Keys of a dataset are new, the old ones in ``flexSourceUid``.
    """
    copies = len(rotations)
    many = table.take(np.repeat(np.arange(len(table)), copies))
    copy = np.tile(np.arange(copies), len(table))
    columns = {label: values for label, values in many.columns.items() if label not in ANGLES}
    columns[COPY] = formatted(copy)
    if _UID in columns:
        uid = np.fromiter(map(int, columns[_UID]), np.uint64, len(many))
        columns |= {SOURCE_UID: columns[_UID], _UID: formatted(_new_keys(uid, copy))}
    particle = np.repeat(table.particle_numbers(), copies)
    return replace(many, rotation=many.rotation @ rotations[copy], columns=columns, source_particle=particle)


def copy_numbers(table: ParticleTable) -> Ints | None:
    """Which copy each row is (N), from 0; None where `expanded` made none."""
    column = table.columns.get(COPY)
    return None if column is None else np.fromiter(map(int, column), np.int64, len(table))


def images_once(table: ParticleTable) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows (M) where an image occurs first, and for every row (N) which of those images it has."""
    _, first, which = np.unique(table.places(), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[which.ravel()]


def _new_keys(uid: NDArray[np.uint64], copy: Ints) -> NDArray[np.uint64]:
    """Keys that follow from the particle's key and the copy's number.

    Notes
    -----
    Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", mix64.
    """
    with np.errstate(over="ignore"):
        key = uid + (copy.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(key ^ (key >> np.uint64(31)))
