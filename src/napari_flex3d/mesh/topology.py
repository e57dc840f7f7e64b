"""Segments of a mesh: labels to cells, vertices split between segments and merged where they are joined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh.connections import Connection
from napari_flex3d.mesh.tetmesh import Ints, TetMesh

LEAST_SHARED = 4
"""Vertices that two joined segments must have in common."""

STRAY = 0.01
"""A piece of a segment with a smaller share of the mesh's volume goes to the segment beside it."""


def grow(labels: Ints, mask: NDArray[np.bool_]) -> Ints:
    """Labels (n, n, n) carried to the nearest labelled voxel until they partition the mask; -1 outside it.

    Labels outside the mask count for nothing.

    Raises
    ------
    InputError
        If no voxel of the mask has a label.
    """
    labelled = mask & (labels >= 0)
    if not labelled.any():
        raise InputError(
            "The segmentation has no voxel inside the mask: nothing is painted there, or it was made on another map."
        )
    grown = np.where(labelled, labels, -1).astype(np.int32)
    if (labelled == mask).all():
        return grown
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    nearest = ndimage.distance_transform_edt(~labelled[box], return_distances=False, return_indices=True)
    grown[box] = np.where(mask[box], labels[box][tuple(nearest)], -1)
    return grown


def cell_segments(mesh: TetMesh, cell_index: Ints, grown: Ints) -> Ints:
    """Segment (C) of every cell: the one that owns most of its voxels; on a tie the lower number.

    Small pieces of a segment that hang on the rest of it by an edge or in a corner only, or not at all, could flap
    freely; they go to the segment with which they share most faces.

    Parameters
    ----------
    mesh
        The mesh, not split.
    cell_index, grown
        Cell and label of each voxel (n, n, n); every cell has a voxel (`grow`).
    """
    inside = cell_index >= 0
    ids, index = np.unique(grown[inside], return_inverse=True)
    segment = ids[_winner(cell_index[inside], index, len(mesh.cells), len(ids))].astype(np.int32)
    first, second = mesh.neighbours().T
    volume = mesh.volumes().astype(np.float64)
    while True:
        same = segment[first] == segment[second]
        piece = _parts(first[same], second[same], len(segment))
        size = np.bincount(piece, volume)
        owner = np.empty(len(size), dtype=np.int64)
        owner[piece] = segment
        largest = {int(s): p for p, s in sorted(enumerate(owner), key=lambda e: size[e[0]])}
        stray = size < STRAY * volume.sum()
        stray[list(largest.values())] = False
        here, there = np.concatenate([first, second]), np.concatenate([second, first])
        leaves = stray[piece[here]] & ~stray[piece[there]]
        if not leaves.any():
            return segment
        ids, index = np.unique(segment[there[leaves]], return_inverse=True)
        taken_by = ids[_winner(piece[here[leaves]], index, len(size), len(ids))]
        moves = np.bincount(piece[here[leaves]], minlength=len(size)) > 0
        segment = np.where(moves[piece], taken_by[piece], segment).astype(np.int32)


def _winner(
    rows: NDArray[np.integer], votes: NDArray[np.integer], count: int, options: int
) -> NDArray[np.int64]:
    """Option that most votes of each row are for."""
    table = csr_matrix((np.ones(len(rows)), (rows, votes)), shape=(count, options))
    return np.asarray(table.argmax(axis=1)).reshape(-1)


def _parts(first: NDArray[np.integer], second: NDArray[np.integer], count: int) -> NDArray[np.int32]:
    joined = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    return connected_components(joined, directed=False)[1]


@dataclass(frozen=True)
class Borders:
    """Where the segments of a mesh meet.

    Parameters
    ----------
    ids
        Segments (S), ascending.
    touches
        Whether each vertex of the mesh that is not split belongs to a cell of each segment, (P, S).
    """

    ids: Ints
    touches: NDArray[np.bool_]

    def shared(self) -> dict[Connection, int]:
        """Vertices that each pair of segments has in common, where there are any; the lower number first."""
        table = self.touches.astype(np.float32)
        count = np.triu(table.T @ table, 1).astype(int)
        return {
            (int(self.ids[a]), int(self.ids[b])): int(count[a, b]) for a, b in np.argwhere(count).tolist()
        }

    def between(self, pair: Connection) -> NDArray[np.int64]:
        """Vertices that two segments have in common."""
        a, b = np.searchsorted(self.ids, pair)
        return np.flatnonzero(self.touches[:, a] & self.touches[:, b])


def borders(mesh: TetMesh) -> Borders:
    """Where the segments of a mesh that is not split meet."""
    ids, index = np.unique(mesh.segment, return_inverse=True)
    touches = np.zeros((len(mesh.vertices), len(ids)), dtype=bool)
    touches[mesh.cells, index[:, None]] = True
    return Borders(ids, touches)


def split(mesh: TetMesh, connections: Sequence[Connection]) -> TetMesh:
    """Mesh with a copy of each vertex per segment that touches it, merged again where segments are joined.

    Segments that meet without being joined keep their own vertices: they may slide along each other, or part.

    Parameters
    ----------
    mesh
        The mesh, not split, with its segments.
    connections
        Segments that are joined along their common border.

    Raises
    ------
    InputError
        If two segments that should be joined have fewer than four vertices in common, or have them on one line; the
        message names the pair.
    """
    met = borders(mesh)
    count = len(met.ids)
    segment = np.searchsorted(met.ids, mesh.segment)
    copies, cells = np.unique(mesh.cells.astype(np.int64) * count + segment[:, None], return_inverse=True)
    merged: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for pair in connections:
        common = met.between(pair)
        _refuse_loose(pair, mesh.vertices[common])
        merged.append(np.searchsorted(copies, common[:, None] * count + np.searchsorted(met.ids, pair)[None]))
    first, second = np.concatenate(merged).T
    number = _parts(first, second, len(copies))
    kept = np.unique(number, return_index=True)[1]
    return replace(
        mesh,
        vertices=mesh.vertices[copies[kept] // count],
        cells=number[cells.reshape(-1, 4)].astype(np.int32),
    )


def _refuse_loose(pair: Connection, common: NDArray[np.float32]) -> None:
    name = f'Connection "{pair[0]}>{pair[1]}"'
    if len(common) < LEAST_SHARED:
        how = f"have {len(common)} mesh vertices in common" if len(common) else "do not touch on this mesh"
        raise InputError(
            f"{name}: segments {pair[0]} and {pair[1]} {how}; {LEAST_SHARED} are needed to join them. "
            "Use more cells, paint a wider border, or leave the pair out."
        )
    spread = np.linalg.svd(common - common.mean(0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        raise InputError(
            f"{name}: segments {pair[0]} and {pair[1]} touch along one line only, about which they could swing. "
            "Use more cells, paint a wider border, or leave the pair out."
        )
