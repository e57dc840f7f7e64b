"""What a mesh is like: its cells, its segments, and advice in words before the night is spent."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_flex3d.io.mrc import Volume
from napari_flex3d.mesh.build import Build
from napari_flex3d.mesh.connections import Connection
from napari_flex3d.mesh.tetmesh import Floats, Ints, TetMesh
from napari_flex3d.mesh.topology import borders
from napari_flex3d.mesh.weights import RIGID, relative_density

SLIVER = 0.1
"""Cells of a lower shape quality are slivers; those of a regular mesh have 0.76."""

VOLUME_PER_MASS = 1.21
"""Å³ of one Da of protein (partial specific volume 0.73 cm³/g)."""

FEW_CELLS = 12
"""Segments of fewer cells, two lattice cubes, are too small for the lattice."""

FEW_SHARED = 8
"""Joined segments with fewer vertices in common are loosely joined."""

FROZEN = 0.3
"""A segment with more of its vertices in common with rigid ones cannot move much."""

MENTIONED = 10
"""So many pairs that are free to slide are named."""

EMPTY = 0.05
"""Segments with less of the dense scale on average hold no density."""


@dataclass(frozen=True)
class SegmentFacts:
    """What one segment of a mesh is like; volumes in Å³.

    Parameters
    ----------
    id, name
        Number, and name where the file has one.
    cells, vertices
        Of the mesh.
    volume_A3
        Of its cells.
    labelled_A3
        Of the voxels inside the mask that carry its label, after growing.
    mass_kDa
        Protein mass of the density above the contour inside its cells, at 1.21 Å³ per Da.
    density
        Mean density over that of the dense parts of the map.
    rigidity
        Mean rigidity weight.
    """

    id: int
    name: str
    cells: int
    vertices: int
    volume_A3: float
    labelled_A3: float
    mass_kDa: float
    density: float
    rigidity: float


def shape_quality(mesh: TetMesh) -> Floats:
    """How round each cell is (C): 1 for a regular tetrahedron, 0 for a flat one.

    Notes
    -----
    Mean ratio ``12 (3 V)^(2/3) / sum of squared edges`` (Liu & Joe 1994).
    """
    corners = mesh.vertices[mesh.cells].astype(np.float64)
    squares = sum(
        np.square(corners[:, i] - corners[:, j]).sum(1) for i, j in itertools.combinations(range(4), 2)
    )
    return (12 * np.cbrt(3 * mesh.volumes().astype(np.float64)) ** 2 / squares).astype(np.float32)


def segment_facts(
    built: Build, density: Volume, contour: float, names: Mapping[int, str]
) -> list[SegmentFacts]:
    """Facts of every segment of a mesh, in the order of their numbers.

    Parameters
    ----------
    built
        The mesh.
    density
        The map.
    contour
        Density above which there is protein.
    names
        Names of segments that have one.
    """
    mesh, cell_index, labels = built.mesh, built.cell_index, built.labels
    inside = cell_index >= 0
    owner = mesh.segment[cell_index[inside]]
    voxel = density.pixel_size**3
    relative = relative_density(density.data, cell_index, len(mesh.cells))
    volume = mesh.volumes()
    facts = []
    for segment in np.unique(mesh.segment).tolist():
        of = mesh.segment == segment
        above = np.count_nonzero(density.data[inside][owner == segment] > contour)
        facts.append(
            SegmentFacts(
                id=segment,
                name=names.get(segment, ""),
                cells=int(of.sum()),
                vertices=len(np.unique(mesh.cells[of])),
                volume_A3=float(volume[of].sum(dtype=np.float64)),
                labelled_A3=float(np.count_nonzero(labels == segment) * voxel),
                mass_kDa=float(above * voxel / VOLUME_PER_MASS / 1000),
                density=float(relative[of].mean()),
                rigidity=float(mesh.rigidity[of].mean()),
            )
        )
    return facts


def pieces(of: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each connected piece of a set of voxels, the largest first; pieces below 1 % are left out."""
    found, count = ndimage.label(of, structure=np.ones((3, 3, 3)))
    size = np.bincount(found.ravel(), minlength=count + 1)[1:]
    share = np.sort(size / max(size.sum(), 1))[::-1]
    return share[share >= 0.01]


def describe(built: Build, segments: list[SegmentFacts]) -> dict[str, Any]:
    """Facts of a mesh for its summary; ``segments`` from `segment_facts`."""
    mesh = built.mesh
    quality = shape_quality(mesh)
    return {
        "vertices": len(mesh.vertices),
        "cells": len(mesh.cells),
        "components": int(mesh.components().max()) + 1,
        "worst_shape": float(quality.min()),
        "slivers": int((quality < SLIVER).sum()),
        "volume_A3": {str(s.id): s.volume_A3 for s in segments},
        "shared_vertices": {f"{a} and {b}": n for (a, b), n in borders(mesh).shared().items()},
        "touching_not_joined": {f"{a} and {b}": n for (a, b), n in _free_pairs(built)},
        "segments": [asdict(s) for s in segments],
    }


def _free_pairs(built: Build) -> list[tuple[Connection, int]]:
    """Segments that touch but are not joined, with the vertices of their border, the widest first."""
    joined = borders(built.mesh).shared()
    touching = borders(built.whole).shared()
    return sorted(((p, n) for p, n in touching.items() if joined.get(p, 0) < n), key=lambda each: -each[1])


def advice(built: Build, segments: list[SegmentFacts]) -> Iterator[str]:
    """Sentences about what will go wrong with a mesh of several segments (`segment_facts`)."""
    if len(segments) < 2:
        return
    joined = borders(built.mesh).shared()
    rigid = {s.id for s in segments if s.rigidity >= RIGID}
    for s in segments:
        held_by = {a if b == s.id else b for a, b in joined if s.id in (a, b)} & rigid
        for other in sorted(held_by) if s.id not in rigid else []:
            share = joined[_pair(s.id, other)] / s.vertices
            if share > FROZEN:
                yield (
                    f"Segment {s.id} shares {share:.0%} of its vertices with the rigid segment {other}, which will "
                    "freeze it. Make it larger, use more cells, or do not join the two."
                )
        if s.density < EMPTY:
            yield (
                f"Segment {s.id} holds next to no density: the data say nothing about its motion. Join it to another "
                "segment, or leave it out of the mask."
            )
        if s.cells < FEW_CELLS:
            yield (
                f"Segment {s.id} is too small for the lattice: it has {s.cells} cells and can hardly bend. Use more "
                "cells, or give it to a neighbour."
            )
    for a, b in built.connections or []:
        count = joined[_pair(a, b)]
        if count < FEW_SHARED:
            yield (
                f"Segments {a} and {b} share {count} vertices only, so they are joined loosely. Use more cells, or "
                "paint a wider border, if that is not meant."
            )


def news(built: Build, segments: list[SegmentFacts]) -> Iterator[str]:
    """Sentences about each segment (`segment_facts`), what is joined, and what is free to slide."""
    if len(segments) < 2:
        return
    for s in segments:
        name = f" ({s.name})" if s.name else ""
        rigid = ", rigid" if s.rigidity >= RIGID else ""
        yield (
            f"Segment {s.id}{name}: {s.cells} cells, {s.volume_A3 / 1000:.1f} nm³, "
            f"{s.mass_kDa:.0f} kDa above the contour{rigid}"
        )
    joined = borders(built.mesh).shared()
    for a, b in built.connections or []:
        yield f"Segments {a} and {b} are joined: {joined[_pair(a, b)]} vertices in common"
    yield from free_to_slide(built)


def free_to_slide(built: Build) -> Iterator[str]:
    """Sentences about segments that touch without being joined, which is allowed."""
    free = _free_pairs(built)
    for (a, b), count in free[:MENTIONED]:
        yield f"Segments {a} and {b} touch ({count} vertices) and are not joined: they may slide or part"
    if len(free) > MENTIONED:
        yield f"{len(free) - MENTIONED} more pairs touch and are not joined; summary.json lists them"


def odd_segments(labels: Ints, given: Collection[int], kept: Collection[int]) -> Iterator[str]:
    """Sentences about segments that have no voxel in the mask, own no cell, or lie in several pieces.

    Parameters
    ----------
    labels
        Labels inside the mask (n, n, n), before growing.
    given
        Segments of the file.
    kept
        Segments that own cells.
    """
    boxes = ndimage.find_objects(labels + 1)
    for segment in sorted(given):
        box = boxes[segment] if segment < len(boxes) else None
        if box is None:
            yield f"Segment {segment} has no voxel in the mask and is left out."
            continue
        own = labels[box] == segment
        if segment not in kept:
            yield (
                f"Segment {segment} ({own.sum()} voxels) is too small for the lattice: it owns no cell, and its voxels "
                "follow their neighbours. Use more cells."
            )
        elif len(share := pieces(own)) > 1:
            yield f"Segment {segment}: {len(share)} pieces; the largest has {100 * share[0]:.0f} %."


def _pair(a: int, b: int) -> Connection:
    return (a, b) if a < b else (b, a)
