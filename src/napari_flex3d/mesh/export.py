"""A mesh for CryoSPARC and ChimeraX."""

import os
from pathlib import Path

import numpy as np

from napari_flex3d.io.meshfile import MeshArrays, write_bild, write_mesh_pickle, write_mesh_script
from napari_flex3d.io.segments import Segments, write_labels
from napari_flex3d.mesh.build import Build, suggested
from napari_flex3d.mesh.connections import write_connections
from napari_flex3d.mesh.draft import Ground
from napari_flex3d.mesh.outline import outline
from napari_flex3d.mesh.picture import COLORS
from napari_flex3d.mesh.tetmesh import Ints

PICKLE, SEGMENTS = "cryosparc_mesh.pkl", "cryosparc_segments.mrc"
LABELS, LINES, SCRIPT = "chimerax_segments.mrc", "mesh.bild", "mesh.cxc"


def voxel_segments(built: Build) -> Ints:
    """Segment that owns each voxel's cell (n, n, n), -1 in solvent."""
    return np.where(built.cell_index >= 0, built.mesh.segment[built.cell_index], -1).astype(np.int32)


def _segments(built: Build) -> Segments:
    return Segments(voxel_segments(built), tuple(np.unique(built.mesh.segment).tolist()))


def write_for_cryosparc(folder: Path, built: Build, ground: Ground) -> str:
    """Write the mesh as CryoSPARC's pickle and its segments from 0; the list of connections in these numbers."""
    made, mask = built.mesh, ground.mask
    arrays = MeshArrays(
        made.vertices, made.cells, made.rigidity, made.segment, built.cell_index, built.calibration
    )
    write_mesh_pickle(folder / PICKLE, arrays, mask, ground.soft, ground.density.pixel_size)
    segments = _segments(built)
    if len(segments.ids) < 2:
        return ""
    number = write_labels(folder / SEGMENTS, segments, ground.density)
    pairs = suggested(built) if built.connections is None else built.connections
    return write_connections([(number[x], number[y]) for x, y in pairs])


def write_for_chimerax(folder: Path, built: Build, ground: Ground, map_file: Path) -> None:
    """Write the surface of the mesh as coloured lines, its segments as labels, and a script that opens both.

    Parameters
    ----------
    folder
        Where to.
    built, ground
        The mesh, and what it lies over.
    map_file
        The map; the script names it by its way from the folder.
    """
    write_labels(folder / LABELS, _segments(built), ground.density, style="chimerax")
    seen = outline(built.mesh)
    ids = np.unique(built.mesh.segment).tolist()
    lines = {
        color: np.concatenate(
            [built.mesh.vertices[seen.edges[seen.segment == i]] for i in ids[first :: len(COLORS)]]
        )
        for first, color in enumerate(COLORS[: len(ids)])
    }
    write_bild(
        folder / LINES, lines, ground.density, comment="surface of the mesh, a colour for each segment"
    )
    name = os.path.relpath(map_file, folder)
    write_mesh_script(folder / SCRIPT, ground.contour, [Path(name).as_posix(), LABELS, LINES])
