"""From a mask and labels to a mesh: files and parameters stay outside."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.meshfile import Calibration
from napari_flex3d.mesh.connections import Connection, parse_connections, suggest_connections
from napari_flex3d.mesh.regular import regular_mesh
from napari_flex3d.mesh.tetmesh import Ints, TetMesh
from napari_flex3d.mesh.topology import borders, cell_segments, grow, split


@dataclass(frozen=True)
class Build:
    """A mesh and what it was made from.

    Parameters
    ----------
    mesh
        The mesh, split between segments that are not joined.
    whole
        The same before it was split.
    cell_index
        Cell of each voxel (n, n, n), -1 in solvent.
    labels
        Segment of each voxel (n, n, n), grown over the mask, -1 in solvent.
    connections
        Segments that were asked to be joined; None when all that touch are.
    calibration
        How the file that the mesh was read from has its vertices, for writing them back; None for our own frame.
    """

    mesh: TetMesh
    whole: TetMesh
    cell_index: Ints
    labels: Ints
    connections: list[Connection] | None = None
    calibration: Calibration | None = None


def lattice(mask: NDArray[np.bool_], pixel_size: float, cells: int) -> Build:
    """Regular mesh over a mask (n, n, n), all of it one segment."""
    mesh, cell_index = regular_mesh(mask, pixel_size, cells)
    return Build(mesh, mesh, cell_index, np.where(mask, 0, -1).astype(np.int32))


def segmented(regular: Build, labels: Ints, connections: str = "") -> Build:
    """The same mesh with segments, split where they are not joined.

    Parameters
    ----------
    regular
        From `lattice`; may be used for any number of labels.
    labels
        Segment of each voxel (n, n, n), -1 for none.
    connections
        Text such as ``0>1, 0>2``; all that touch are joined when it is empty, nothing with ``none``.

    Raises
    ------
    InputError
        If no label lies in the mask, or the connections cannot be made; the message names the pair.
    """
    grown = grow(labels, regular.cell_index >= 0)
    segment = cell_segments(regular.whole, regular.cell_index, grown)
    whole = replace(regular.whole, segment=segment)
    there = np.unique(labels[labels >= 0]).tolist()
    pairs = parse_connections(connections, there)
    for pair in pairs or []:
        for lost in set(pair) - set(np.unique(segment).tolist()):
            raise InputError(
                f'Connection "{pair[0]}>{pair[1]}": segment {lost} owns no cell of the mesh, it is too small for the '
                "lattice or outside the mask. Use more cells, or leave the pair out."
            )
    mesh = whole if pairs is None else split(whole, pairs)
    return Build(mesh, whole, regular.cell_index, grown, pairs)


def suggested(built: Build) -> list[Connection]:
    """Tree that joins what touches, from the largest segment outwards."""
    volumes = np.bincount(built.whole.segment, built.whole.volumes().astype(np.float64))
    ids = np.unique(built.whole.segment).tolist()
    return suggest_connections(borders(built.whole).shared(), {i: float(volumes[i]) for i in ids})
