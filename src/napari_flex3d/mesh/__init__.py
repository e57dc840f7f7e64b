"""The tetrahedral mesh over a map, and the stage "mesh" that builds it."""

import json
import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.meshfile import write_vtu
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.mesh.modes import elastic_modes, vertex_mass
from napari_flex3d.mesh.regular import regular_mesh, rigidity_weights
from napari_flex3d.mesh.tetmesh import Floats, TetMesh, voxel_positions
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.progress import Progress

__all__ = [
    "MeshParams",
    "TetMesh",
    "elastic_modes",
    "mesh",
    "regular_mesh",
    "rigidity_weights",
    "vertex_mass",
    "voxel_positions",
]


@dataclass(frozen=True, kw_only=True)
class MeshParams(Params):
    """Parameters of the stage "mesh"."""

    prep: Path = param(REQUIRED, "The prep job.", positional=True, path="job")
    mask: Path | None = param(
        None,
        "Solvent mask at the crop box of the prep job; its own mask when none is given.",
        path="file",
        suffixes=(".mrc", ".map"),
    )
    cells: int = param(20, "Cells of the mesh across the box.", low=4, high=80, cryosparc="tetra_num_cells")
    min_rigidity_weight: float = param(
        0.5,
        "Rigidity weight of an empty cell; cells in dense parts of the map have 1.",
        low=0,
        high=100,
        step=0.01,
        advanced=True,
        cryosparc="rigidity_penalty_min",
    )
    stiffen_low_density: bool = param(
        False,
        "Make the periphery of the density stiffer than its core.",
        advanced=True,
        cryosparc="rigidity_penalty_stiffen_low_density",
    )


def mesh(params: MeshParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Build the mesh over the map of a prep job.

    Writes ``mesh.npz``, ``segments.mrc``, ``mesh.vtu``, ``mesh.png`` and ``summary.json``.

    Raises
    ------
    InputError
        If the mask does not fit the map or is empty.
    """
    density = read_map(params.prep / "map.mrc")
    soft = _mask(params, density)
    yield Progress(0, 3, "Building the mesh")
    built, cell_index = regular_mesh(soft > 0.5, density.pixel_size, params.cells)
    weights = rigidity_weights(
        density.data, cell_index, len(built.cells), params.min_rigidity_weight, params.stiffen_low_density
    )
    built = replace(built, rigidity=weights)
    yield Progress(1, 3, f"{len(built.vertices)} vertices, {len(built.cells)} cells")
    built.save(
        out / "mesh.npz",
        mask=soft > 0.5,
        mask_soft=soft,
        N=len(soft),
        psize_A=density.pixel_size,
        tm_tetraidx_map=cell_index,
        version=1,
    )
    segments = np.where(cell_index >= 0, built.segment[cell_index], -1)
    write_map(out / "segments.mrc", segments, like=density)
    write_vtu(
        out / "mesh.vtu",
        built.vertices,
        built.cells,
        {"rigidity": built.rigidity, "segment": built.segment},
    )
    yield Progress(2, 3)
    draw_mesh(out / "mesh.png", built, density)
    components = int(built.components().max()) + 1
    summary = {
        "vertices": len(built.vertices),
        "cells": len(built.cells),
        "cell_size_A": len(soft) * density.pixel_size / params.cells,
        "components": components,
        "volume_A3": {"0": float(built.volumes().sum())},
        "mask_share": float((soft > 0.5).mean()),
    }
    if components > 1:
        warnings.warn(
            f"The mesh has {components} parts that share no face; they move independently. "
            "Remove islands from the mask, or use fewer cells, if that is not meant.",
            InputWarning,
            stacklevel=2,
        )
    with atomic(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    return summary


def _mask(params: MeshParams, density: Volume) -> Floats:
    path = params.mask or params.prep / "mask.mrc"
    mask = read_map(path)
    if mask.data.shape != density.data.shape:
        raise InputError(
            f"Mask {path} has {len(mask.data)} voxels along an axis, the map of {params.prep} has "
            f"{len(density.data)}. Give a mask at the crop box of the prep job."
        )
    share = float((mask.data > 0.5).mean())
    if not 0 < share < 1 or mask.data.min() < -1e-3 or mask.data.max() > 1 + 1e-3:
        raise InputError(
            f"Mask {path}: range {mask.data.min():g}..{mask.data.max():g}, {share:.1%} of the box. "
            "Values from 0 to 1 are needed, above 0.5 inside the particle only."
        )
    return mask.data


def draw_mesh(path: Path, built: TetMesh, density: Volume) -> None:
    """Picture of the mesh's outer edges over the map, seen along z, y and x."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    outer = built.boundary_faces()
    edges = np.unique(np.sort(outer[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    half = len(density.data) // 2 * density.pixel_size
    extent = (-half, len(density.data) * density.pixel_size - half) * 2
    for plot, (drop, right, up) in zip(figure.subplots(1, 3), [(2, 0, 1), (1, 0, 2), (0, 1, 2)], strict=True):
        plot.imshow(density.data.sum(2 - drop), cmap="gray", origin="lower", extent=extent)
        lines = built.vertices[edges][:, :, [right, up]]
        plot.add_collection(LineCollection(list(lines), colors="#2fc4b2", linewidths=0.35, alpha=0.6))
        plot.set(xlabel=f"{'xyz'[right]} (Å)", ylabel=f"{'xyz'[up]} (Å)", title=f"along {'xyz'[drop]}")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
