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
from napari_flex3d.ops.rotations import to_rotvec

_OLD_POSE = (*ANGLES, "rlnOriginX", "rlnOriginY")
_OURS = r"flex3dLatent(Sd)?\d+"


def write_latents(out: Path, prep: Path, table: ParticleTable, model: FlexModel) -> None:
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
    """
    _write_csv(out / "latents.csv", table, model)
    added = _latent_columns(model)
    source = input_of(prep, "particles")
    uid = keys_of(table)
    if is_cs_file(source):
        write_latents_cs(out / "latents.cs", uid, model.latents, source, *_of_copies(table))
        tables: dict[str, Mapping[str, Sequence[object]]] = recorded_columns(table)
        write_star(out / "latents.star", tables | {"particles": {**tables["particles"], **added}})
        return
    write_latents_cs(out / "latents.cs", uid, model.latents)
    if copy_numbers(table) is not None:  # rows that the user's file does not have
        tables = recorded_columns(table)
        write_star(out / "latents.star", tables | {"particles": {**tables["particles"], **added}})
    else:
        names = table.columns["flexImageName"]
        copy_rows(source, out / "latents.star", table.row, added, dropped=_OURS, names=names)


def write_polished(out: Path, table: ParticleTable, model: FlexModel) -> None:
    """Write ``polished.star``: particles in RELION's terms with the poses of the table, and their latents."""
    columns = {label: values for label, values in table.columns.items() if label not in _OLD_POSE}
    tables = recorded_columns(replace(table, columns=columns))
    write_star(
        out / "polished.star", tables | {"particles": {**tables["particles"], **_latent_columns(model)}}
    )


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


def _write_csv(path: Path, table: ParticleTable, model: FlexModel) -> None:
    dims = range(1, model.latent_dims + 1)
    copy = copy_numbers(table)
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["particle", *(f"z{k}" for k in dims), *(f"sd{k}" for k in dims), "held_out", "half"]
        writer.writerow(names + ["copy"] * (copy is not None))
        columns = zip(table.row, model.latents, model.latent_sd, model.held_out, model.half, strict=True)
        for n, (row, z, sd, held, half) in enumerate(columns):
            last = [] if copy is None else [copy[n]]
            writer.writerow([row, *(f"{v:.5f}" for v in (*z, *sd)), int(held), half, *last])
