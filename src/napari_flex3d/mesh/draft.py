"""A mesh before it is written, with its facts and advice: what the stage writes and the dock shows."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.meshfile import read_mesh_file
from napari_flex3d.io.mrc import Volume
from napari_flex3d.io.segments import Segments
from napari_flex3d.mesh.build import Build, lattice, segmented
from napari_flex3d.mesh.micelle import belt_of, micelle_advice
from napari_flex3d.mesh.params import MeshParams
from napari_flex3d.mesh.proposal import contour_of
from napari_flex3d.mesh.quality import SegmentFacts, advice, odd_segments, segment_facts
from napari_flex3d.mesh.tetmesh import Floats, TetMesh, voxel_positions
from napari_flex3d.mesh.weights import RIGID, parse_segments, read_weights, rigidity_weights


@dataclass(frozen=True)
class Ground:
    """What a mesh is laid over, and what is told from it once.

    Parameters
    ----------
    density
        The map.
    soft
        Its solvent mask (n, n, n), 0 to 1.
    """

    density: Volume
    soft: Floats
    _lattices: dict[int, Build] = field(default_factory=dict)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Where the particle is."""
        return self.soft > 0.5

    @cached_property
    def contour(self) -> float:
        """Density that parts protein from solvent."""
        return contour_of(self.density.data, self.mask)

    @cached_property
    def belt(self) -> NDArray[np.bool_]:
        """Voxels of what looks like a micelle or nanodisc."""
        return belt_of(self.density.data, self.mask, self.density.pixel_size)

    def lattice(self, cells: int) -> Build:
        """The regular mesh; the last one is kept."""
        if cells not in self._lattices:
            self._lattices.clear()
            self._lattices[cells] = lattice(self.mask, self.density.pixel_size, cells)
        return self._lattices[cells]


@dataclass(frozen=True)
class Draft:
    """A mesh with its facts.

    Parameters
    ----------
    built
        The mesh.
    facts
        Of each segment.
    warnings
        What can be used but should be known, in sentences.
    """

    built: Build
    facts: list[SegmentFacts]
    warnings: list[str]


def draft(ground: Ground, params: MeshParams, given: Segments | None) -> Draft:
    """Build the mesh that the parameters ask for.

    Parameters
    ----------
    ground
        Map and mask.
    params
        Parameters of the stage; their files of segments are not read.
    given
        The segments; None for one whole.

    Raises
    ------
    InputError
        If segments, connections, weights or mesh cannot be used.
    """
    if params.mesh:
        built = _from_file(params.mesh, ground.density, ground.mask)
    else:
        built = ground.lattice(params.cells)
        if given:
            built = segmented(built, given.labels, params.connections)
    built = _weighed(params, built, ground.density.data)
    facts = segment_facts(built, ground.density, ground.contour, given.names if given else {})
    return Draft(built, facts, list(_warnings(ground, built, facts, given, params.mesh is not None)))


def _from_file(path: Path, density: Volume, mask: NDArray[np.bool_]) -> Build:
    """Mesh of a file; mask voxels that it does not place belong to the cell that they are nearest to being in."""
    read = read_mesh_file(path, density)
    found = TetMesh(read.vertices, read.cells, read.rigidity, read.segment)
    index = np.full(mask.shape, -1, dtype=np.int32) if read.cell_index is None else read.cell_index
    index = np.where(mask, index, -1).astype(np.int32)
    missing = np.argwhere(mask & (index < 0))
    index[tuple(missing.T)] = found.locate(voxel_positions(missing, len(mask), density.pixel_size))[0]
    labels = np.where(mask, found.segment[index], -1).astype(np.int32)
    return Build(found, found, index, labels, calibration=read.calibration)


def _weighed(params: MeshParams, built: Build, density: Floats) -> Build:
    """The mesh with its rigidity weights: from the map or its file, then rigid segments, then a person's own."""
    weights = built.mesh.rigidity
    if not params.mesh:
        weights = rigidity_weights(
            density, built.cell_index, len(weights), params.min_rigidity_weight, params.stiffen_low_density
        )
    rigid = parse_segments(params.rigid_segments, np.unique(built.mesh.segment).tolist())
    weights = np.where(np.isin(built.mesh.segment, rigid), np.float32(RIGID), weights)
    weighed = replace(built.mesh, rigidity=weights)
    if params.weights:
        weighed = replace(weighed, rigidity=read_weights(params.weights, weighed))
    return replace(built, mesh=weighed, whole=replace(built.whole, rigidity=weighed.rigidity))


def _warnings(
    ground: Ground, built: Build, facts: list[SegmentFacts], given: Segments | None, from_file: bool
) -> Iterator[str]:
    parts = int(built.whole.components().max()) + 1
    if parts > 1 and not from_file:
        yield (
            f"The mesh has {parts} parts that share no face; they move independently. "
            "Remove islands from the mask, or use fewer cells, if that is not meant."
        )
    if given:
        inside = np.where(ground.mask, given.labels, -1).astype(np.int32)
        yield from odd_segments(inside, given.ids, [s.id for s in facts])
    yield from advice(built, facts)
    yield from micelle_advice(built, ground.belt)
