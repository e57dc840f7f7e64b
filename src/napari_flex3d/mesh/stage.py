"""The stage "mesh": files and parameters around the building of a mesh."""

import json
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.meshfile import MeshArrays, read_mesh_file, write_mesh_pickle, write_vtu
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.io.segments import Segments, write_labels
from napari_flex3d.mesh.build import Build, lattice, segmented
from napari_flex3d.mesh.connections import suggest_connections, write_connections
from napari_flex3d.mesh.labels import Proposal, proposed_segments, segments_from_file
from napari_flex3d.mesh.picture import draw_mesh
from napari_flex3d.mesh.proposal import contour_of
from napari_flex3d.mesh.quality import SegmentFacts, advice, describe, news, odd_segments, segment_facts
from napari_flex3d.mesh.tetmesh import Floats, TetMesh, voxel_positions
from napari_flex3d.mesh.topology import borders
from napari_flex3d.mesh.weights import RIGID, parse_segments, read_weights, rigidity_weights
from napari_flex3d.params import REQUIRED, AutoFloat, Params, param
from napari_flex3d.progress import Progress


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
    segments: Path | None = param(
        None,
        "Parts of the particle: a segmentation (.seg, .mrc), or an atomic model in the map, each chain a part.",
        path="file",
        suffixes=(".seg", ".mrc", ".map", ".pdb", ".cif"),
        cryosparc="tetra_segments_path",
    )
    connections: str = param(
        "",
        "Which segments are joined, a tree from its root: 0>1, 0>2, 2>3. Others may slide. All that touch when not "
        'given, "none" for nothing.',
        cryosparc="tetra_segments_fuse_list",
    )
    rigid_segments: str = param("", "Segments that stay rigid, such as 0, 2.", cryosparc="tetra_rigid_list")
    propose: Proposal = param(
        "none", "Segments from the map itself: regions of a watershed, or its connected parts."
    )
    propose_size: float = param(
        40.0, "About how wide a region of the watershed is.", unit="Å", low=4, high=1000, step=1
    )
    propose_contour: AutoFloat = param(
        "auto", "Density above which connected parts are looked for.", step=1e-4, advanced=True
    )
    segment_level: Literal["groups", "leaves"] = param(
        "groups", "Which regions of a .seg are segments: its top groups, or all leaves.", advanced=True
    )
    model_parts: str = param(
        "",
        "Segments of an atomic model, by chains and residues: A, B:1-120; B:121-300. Each chain when not given.",
        advanced=True,
    )
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
    weights: Path | None = param(
        None,
        "Rigidity weights of your own: .npy or .npz with one number per cell, or .csv with columns segment, weight.",
        path="file",
        suffixes=(".csv", ".npy", ".npz"),
        advanced=True,
    )
    mesh: Path | None = param(
        None,
        "A mesh made elsewhere, used as it is: mesh.npz of a mesh job, or CryoSPARC's pickle.",
        path="file",
        suffixes=(".npz", ".pkl"),
        advanced=True,
    )


def mesh(params: MeshParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Build the mesh over the map of a prep job.

    Writes ``mesh.npz``, ``segments.mrc``, ``mesh.vtu``, ``mesh.png``, ``cryosparc_mesh.pkl`` and ``summary.json``; with
    segments also ``labels.mrc``, as they were before the lattice, and ``cryosparc_segments.mrc``.

    Raises
    ------
    InputError
        If the mask does not fit the map or is empty, or segments, connections, weights or mesh cannot be used.
    """
    _refuse_both(params)
    density = read_map(params.prep / "map.mrc")
    soft = _mask(params, density)
    yield Progress(0, 4, "Building the mesh")
    if params.mesh:
        given, built = None, _from_file(params.mesh, density, soft > 0.5)
    else:
        built = lattice(soft > 0.5, density.pixel_size, params.cells)
        given = _segments(params, density, soft > 0.5)
        if given:
            yield Progress(1, 4, f"Splitting it into {len(given.ids)} segments")
            built = segmented(built, given.labels, params.connections)
    built = _weighed(params, built, density.data)
    _write(out, built, density, soft)
    yield Progress(2, 4, f"{len(built.mesh.vertices)} vertices, {len(built.mesh.cells)} cells")
    draw_mesh(out / "mesh.png", built.mesh, built.cell_index, density)
    contour = contour_of(density.data, soft > 0.5)
    facts = segment_facts(built, density, contour, given.names if given else {})
    summary = describe(built, facts) | {"mass_contour": contour}
    summary |= {"mask_share": float((soft > 0.5).mean())}
    if not params.mesh:
        summary["cell_size_A"] = len(soft) * density.pixel_size / params.cells
    if len(facts) > 1:
        summary |= _joints(out, built, density, facts)
    for text in _warned(built, facts, given, soft > 0.5, params.mesh is not None):
        warnings.warn(text, InputWarning, stacklevel=2)
    for text in news(built, facts):
        yield Progress(3, 4, text)
    if len(facts) > 1 and built.connections is None and not params.mesh:
        tree = summary["suggested_connections"]
        yield Progress(3, 4, f"All segments that touch are joined. A tree that joins them: {tree}")
    with atomic(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    return summary


def _refuse_both(params: MeshParams) -> None:
    """Refuse what says the same thing twice, or says something of nothing."""
    sources = [n for n in ("mesh", "segments") if getattr(params, n)]
    sources += ["propose"] if params.propose != "none" else []
    if len(sources) > 1:
        flags = " and ".join(f"--{n}" for n in sources)
        raise InputError(f"{flags} both say what the segments are. Give one of them.")
    if params.connections and sources in ([], ["mesh"]):
        raise InputError(
            "--connections joins segments, "
            + (
                "and a mesh from a file is used as it is."
                if sources
                else "and there are none: give --segments."
            )
        )


def _segments(params: MeshParams, density: Volume, mask: NDArray[np.bool_]) -> Segments | None:
    if params.segments:
        return segments_from_file(params.segments, density, params.segment_level, params.model_parts)
    if params.propose == "none":
        return None
    return proposed_segments(params.propose, density, mask, params.propose_size, params.propose_contour)


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


def _write(out: Path, built: Build, density: Volume, soft: Floats) -> None:
    made = built.mesh
    made.save(
        out / "mesh.npz",
        mask=soft > 0.5,
        mask_soft=soft,
        N=len(soft),
        psize_A=density.pixel_size,
        tm_tetraidx_map=built.cell_index,
        version=1,
    )
    segments = np.where(built.cell_index >= 0, made.segment[built.cell_index], -1)
    write_map(out / "segments.mrc", segments, like=density)
    if built.whole.segment.any():
        write_map(out / "labels.mrc", built.labels, like=density)
    write_vtu(
        out / "mesh.vtu", made.vertices, made.cells, {"rigidity": made.rigidity, "segment": made.segment}
    )
    arrays = MeshArrays(
        made.vertices, made.cells, made.rigidity, made.segment, built.cell_index, built.calibration
    )
    write_mesh_pickle(out / "cryosparc_mesh.pkl", arrays, soft > 0.5, soft, density.pixel_size)


def _joints(out: Path, built: Build, density: Volume, facts: list[SegmentFacts]) -> dict[str, str]:
    """What is joined, what could be, and the same for CryoSPARC, which numbers segments from 0."""
    pairs = built.connections
    advised = suggest_connections(borders(built.whole).shared(), {s.id: s.volume_A3 for s in facts})
    kept = Segments(
        np.where(built.cell_index >= 0, built.mesh.segment[built.cell_index], -1).astype(np.int32),
        tuple(s.id for s in facts),
    )
    number = write_labels(out / "cryosparc_segments.mrc", kept, density)
    translated = [(number[x], number[y]) for x, y in (advised if pairs is None else pairs)]
    return {
        "connections": "all that touch" if pairs is None else write_connections(pairs),
        "suggested_connections": write_connections(advised),
        "cryosparc_connections": write_connections(translated),
    }


def _warned(
    built: Build, facts: list[SegmentFacts], given: Segments | None, mask: NDArray[np.bool_], from_file: bool
) -> Iterator[str]:
    """What can be used but should be known."""
    parts = int(built.whole.components().max()) + 1
    if parts > 1 and not from_file:
        yield (
            f"The mesh has {parts} parts that share no face; they move independently. "
            "Remove islands from the mask, or use fewer cells, if that is not meant."
        )
    if given:
        inside = np.where(mask, given.labels, -1).astype(np.int32)
        yield from odd_segments(inside, given.ids, [s.id for s in facts])
    yield from advice(built, facts)


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
