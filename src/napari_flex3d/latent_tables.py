"""Latents given back in the user's own tables: ``latents.csv``, ``latents.star``, ``latents.cs``."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.columns import formatted
from napari_flex3d.io.copies import SOURCE_UID, copy_numbers
from napari_flex3d.io.cs.container import Fields
from napari_flex3d.io.cs.rows import write_latents_cs
from napari_flex3d.io.files import atomic
from napari_flex3d.io.latents import keys_of
from napari_flex3d.io.particle_files import is_cs_file
from napari_flex3d.io.relion import recorded_columns
from napari_flex3d.io.relion.labels import ANGLES
from napari_flex3d.io.star import write_star
from napari_flex3d.io.star_copy import copy_rows
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.jobs import input_of
from napari_flex3d.model import FlexModel
from napari_flex3d.ops.rotations import to_euler, to_rotvec

_OLD_POSE = (*ANGLES, "rlnOriginX", "rlnOriginY", "rlnOriginXAngst", "rlnOriginYAngst")
_OURS = r"flex3dLatent(Sd)?\d+"


def write_latents(
    out: Path, prep: Path, table: ParticleTable, model: FlexModel, *, polished: bool = False
) -> None:
    """Write the latents of all particles.

    ``latents.star`` is the user's own star file: all tables, columns and comments of the input as they were, the
    particles in use, and the latents as further columns. ``latents.cs`` likewise has all fields of the user's
    dataset. A dataset is also put in RELION's terms in ``latents.star``, and so are copies made by symmetry expansion;
    particles of a star file have their row as key in ``latents.cs``. Copies have poses and keys of their own.

    Parameters
    ----------
    out
        Folder for the files.
    prep
        The prep job.
    table
        Its particles.
    model
        Has the latents, one row a particle.
    polished
        Whether the table has better poses than the input: all three files then have those in place of the input's.
    """
    poses = _pose_columns(table) if polished else {}
    _write_csv(out / "latents.csv", table, model, poses)
    source = input_of(prep, "particles")
    uid = keys_of(table)
    is_dataset = is_cs_file(source)
    source_uid, changed = _of_copies(table) if is_dataset else (None, {})
    if polished:
        changed |= _pose_fields(table)
    write_latents_cs(
        out / "latents.cs", uid, model.latents, source if is_dataset else None, source_uid, changed
    )
    if is_dataset or copy_numbers(table) is not None:  # rows that the user's file does not have
        _write_star(out / "latents.star", table, model, polished=polished)
    else:
        names, dropped = table.columns["flexImageName"], "|".join((_OURS, *(_OLD_POSE if polished else ())))
        added = poses | _latent_columns(model)
        copy_rows(source, out / "latents.star", table.row, added, dropped=dropped, names=names)


def write_polished(out: Path, table: ParticleTable, model: FlexModel) -> None:
    """Write ``polished.star``: particles in RELION's terms with the poses of the table, and their latents."""
    _write_star(out / "polished.star", table, model, polished=True)


def _write_star(path: Path, table: ParticleTable, model: FlexModel, *, polished: bool) -> None:
    """Write the particles in RELION's terms, with the input's own poses or those of the table."""
    if polished:
        columns = {label: values for label, values in table.columns.items() if label not in _OLD_POSE}
        table = replace(table, columns=columns)
    tables: dict[str, Mapping[str, Sequence[object]]] = recorded_columns(table)
    write_star(path, tables | {"particles": {**tables["particles"], **_latent_columns(model)}})


def _pose_columns(table: ParticleTable) -> dict[str, Sequence[str]]:
    """Poses in RELION's terms; origins in pixels of the recorded images too where the input has them so."""
    angles = np.rad2deg(to_euler(table.rotation))
    columns: dict[str, Sequence[str]] = {
        label: formatted(values, ".6f") for label, values in zip(ANGLES, angles.T, strict=True)
    }
    pixel = np.array([group.pixel_size for group in table.groups])[table.group]
    for axis, shift in zip("XY", table.shift.T, strict=True):
        columns[f"rlnOrigin{axis}Angst"] = formatted(shift, ".6f")
        if f"rlnOrigin{axis}" in table.columns:
            columns[f"rlnOrigin{axis}"] = formatted(shift / pixel, ".6f")
    return columns


def _pose_fields(table: ParticleTable) -> Fields:
    """Poses in CryoSPARC's terms: rotation vectors, and shifts in pixels of the recorded images."""
    pixel = np.array([group.pixel_size for group in table.groups])[table.group]
    return {
        "alignments3D/pose": to_rotvec(table.rotation).astype("<f4"),
        "alignments3D/shift": (table.shift / pixel[:, None]).astype("<f4"),
        "alignments3D/psize_A": pixel.astype("<f4"),
    }


def _latent_columns(model: FlexModel) -> dict[str, Sequence[str]]:
    added: dict[str, Sequence[str]] = {}
    for k in range(model.latent_dims):
        added[f"flex3dLatent{k + 1}"] = formatted(model.latents[:, k], ".5f")
        added[f"flex3dLatentSd{k + 1}"] = formatted(model.latent_sd[:, k], ".5f")
    return added


def _of_copies(table: ParticleTable) -> tuple[NDArray[np.uint64] | None, Fields]:
    """Keys of the particles that copies were made of, and what differs between copies, for a dataset."""
    copy = copy_numbers(table)
    if copy is None:
        return None, {}
    source = np.fromiter(map(int, table.columns[SOURCE_UID]), np.uint64, len(table))
    pose = to_rotvec(table.rotation).astype("<f4")
    return source, {
        "alignments3D/pose": pose,
        "sym_expand/idx": copy.astype("<u4"),
        "sym_expand/src_uid": source,
    }


def _write_csv(
    path: Path, table: ParticleTable, model: FlexModel, poses: Mapping[str, Sequence[str]]
) -> None:
    dims = range(1, model.latent_dims + 1)
    copy = copy_numbers(table)
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["particle", *(f"z{k}" for k in dims), *(f"sd{k}" for k in dims), "held_out", "half"]
        writer.writerow([*names, *["copy"] * (copy is not None), *poses])
        found = (table.row, model.latents, model.latent_sd, model.held_out, model.half)
        for n, (row, z, sd, held, half, *pose) in enumerate(zip(*found, *poses.values(), strict=True)):
            last = [] if copy is None else [copy[n]]
            writer.writerow([row, *(f"{v:.5f}" for v in (*z, *sd)), int(held), half, *last, *pose])
