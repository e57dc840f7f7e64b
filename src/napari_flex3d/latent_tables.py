"""Latents given back in the user's own tables: ``latents.csv``, ``latents.star``, ``latents.cs``."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_flex3d.io.columns import formatted
from napari_flex3d.io.cs.rows import write_latents_cs
from napari_flex3d.io.files import atomic
from napari_flex3d.io.latents import keys_of
from napari_flex3d.io.particle_files import is_cs_file
from napari_flex3d.io.relion import recorded_columns
from napari_flex3d.io.star import write_star
from napari_flex3d.io.star_copy import copy_rows
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.jobs import input_of
from napari_flex3d.model import FlexModel

_OURS = r"flex3dLatent(Sd)?\d+"


def write_latents(out: Path, prep: Path, table: ParticleTable, model: FlexModel) -> None:
    """Write the latents of all particles.

    ``latents.star`` is the user's own star file: all tables, columns and comments of the input as they were, the
    particles in use, and the latents as further columns. ``latents.cs`` likewise has all fields of the user's
    dataset. A dataset is also put in RELION's terms in ``latents.star``; particles of a star file have their row as
    key in ``latents.cs``.

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
    added: dict[str, Sequence[str]] = {}
    for k in range(model.latent_dims):
        added[f"flex3dLatent{k + 1}"] = formatted(model.latents[:, k], ".5f")
        added[f"flex3dLatentSd{k + 1}"] = formatted(model.latent_sd[:, k], ".5f")
    source = input_of(prep, "particles")
    uid = keys_of(table)
    if is_cs_file(source):
        write_latents_cs(out / "latents.cs", uid, model.latents, source)
        tables: dict[str, Mapping[str, Sequence[object]]] = recorded_columns(table)
        write_star(out / "latents.star", tables | {"particles": {**tables["particles"], **added}})
    else:
        write_latents_cs(out / "latents.cs", uid, model.latents)
        names = table.columns["flexImageName"]
        copy_rows(source, out / "latents.star", table.row, added, dropped=_OURS, names=names)


def _write_csv(path: Path, table: ParticleTable, model: FlexModel) -> None:
    dims = range(1, model.latent_dims + 1)
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["particle", *(f"z{k}" for k in dims), *(f"sd{k}" for k in dims), "held_out", "half"])
        columns = zip(table.row, model.latents, model.latent_sd, model.held_out, model.half, strict=True)
        for row, z, sd, held, half in columns:
            writer.writerow([row, *(f"{v:.5f}" for v in (*z, *sd)), int(held), half])
