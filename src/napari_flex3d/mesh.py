"""The tetrahedral mesh over a map, and the stage "mesh" that builds it."""

import itertools
import json
import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.meshfile import write_vtu
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.ops.projection import Body
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.progress import Progress

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# The six Kuhn tetrahedra of a cube: walk from corner (0,0,0) to (1,1,1), one axis at a time, in each order of the axes.
_ORDERS = list(itertools.permutations(range(3)))


@dataclass(frozen=True)
class TetMesh:
    """A mesh of tetrahedra in Å about the box centre; it knows no box and no pixel size.

    Parameters
    ----------
    vertices
        Rest positions (P, 3), x y z.
    cells
        Vertex indices (C, 4).
    rigidity
        Rigidity weight of each cell (C).
    segment
        Segment that each cell belongs to (C).
    """

    vertices: Floats
    cells: Ints
    rigidity: Floats
    segment: Ints

    @cached_property
    def _corner_and_inverse(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        corners = self.vertices[self.cells].astype(np.float64)
        edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
        return corners[:, 0], np.linalg.inv(edges)

    @cached_property
    def _centres(self) -> cKDTree:
        return cKDTree(self.vertices[self.cells].mean(1))

    def volumes(self) -> Floats:
        """Volume of each cell, Å³."""
        corners = self.vertices[self.cells].astype(np.float64)
        return (np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6).astype(np.float32)

    def edges(self) -> Ints:
        """Vertex pairs (E, 2) of all edges, each once."""
        pairs = np.concatenate([self.cells[:, list(p)] for p in itertools.combinations(range(4), 2)])
        return np.unique(np.sort(pairs, axis=1), axis=0)

    def boundary_faces(self) -> Ints:
        """Faces (F, 3) that belong to one cell only."""
        faces = np.concatenate([self.cells[:, list(p)] for p in itertools.combinations(range(4), 3)])
        _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
        return faces[first[count == 1]]

    def components(self) -> int:
        """Number of parts that share no vertex."""
        edges = self.edges()
        graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(self.vertices),) * 2)
        return int(connected_components(graph, directed=False)[0])

    def locate(self, points: ArrayLike, candidates: int = 24) -> tuple[NDArray[np.int64], Floats]:
        """Cell of each point and its barycentric coordinates there.

        Parameters
        ----------
        points
            (N, 3), Å about the box centre.
        candidates
            How many of the nearest cell centres are tried.

        Returns
        -------
        cell
            (N). A point outside all cells gets the cell that it is nearest to being in.
        weights
            (N, 4), rows sum to 1; negative where a point lies outside its cell, so that it follows the cell's
            affine motion.
        """
        at = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        cell = np.empty(len(at), dtype=np.int64)
        weights = np.empty((len(at), 4), dtype=np.float32)
        corner, inverse = self._corner_and_inverse
        _, near = self._centres.query(at, k=min(candidates, len(self.cells)), workers=-1)
        near = near.reshape(len(at), -1)
        for start in range(0, len(at), 20_000):
            part = slice(start, start + 20_000)
            tried = near[part]
            inner = np.einsum("ncij,ncj->nci", inverse[tried], at[part, None] - corner[tried])
            all_four = np.concatenate([1 - inner.sum(-1, keepdims=True), inner], axis=-1)
            best = all_four.min(-1).argmax(-1)
            rows = np.arange(len(tried))
            cell[part], weights[part] = tried[rows, best], all_four[rows, best]
        return cell, weights

    def bind(self, points: ArrayLike) -> Body:
        """Points (N, 3) in Å tied to their cells, for the projection kernels."""
        cell, weights = self.locate(points)
        tensors = (
            torch.from_numpy(np.ascontiguousarray(a)) for a in (self.vertices, self.cells, cell, weights)
        )
        return Body.from_cells(*tensors)

    def save(self, path: Path, **extra: ArrayLike) -> None:
        """Write the mesh, and what else is given, as ``.npz`` under CryoSPARC's names."""
        arrays = {key: getattr(self, name) for name, key in _KEYS.items()}
        with atomic(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays, **extra)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a mesh from ``.npz``."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[key] for name, key in _KEYS.items()})


_KEYS = {"vertices": "tm_points", "cells": "tm_cells", "rigidity": "tm_rweights", "segment": "tm_segmask"}


def regular_mesh(mask: NDArray[np.bool_], pixel_size: float, cells: int) -> tuple[TetMesh, NDArray[np.int32]]:
    """Mesh on a cubic lattice, each cube cut into six tetrahedra; those without a mask voxel are left out.

    Parameters
    ----------
    mask
        (n, n, n), z y x.
    pixel_size
        Å.
    cells
        Lattice elements across the box.

    Returns
    -------
    mesh
        All rigidity weights 1, all cells in segment 0.
    cell_index
        (n, n, n), the cell of each mask voxel; -1 in solvent.

    Notes
    -----
    Kuhn's subdivision (1960): the tetrahedron of a point in a unit cube is given by the order of its coordinates.
    """
    n = len(mask)
    spacing = n * pixel_size / cells
    voxels = np.argwhere(mask)
    lattice = voxel_positions(voxels, n, pixel_size) / spacing + cells / 2
    cube = np.clip(np.floor(lattice).astype(np.int64), 0, cells - 1)
    inside = lattice - cube
    order = np.argsort(-inside, axis=1, kind="stable")
    kind = order @ (9, 3, 1)
    number = np.ravel_multi_index((*cube.T, kind), (cells,) * 3 + (27,))
    kept, cell = np.unique(number, return_inverse=True)
    *corner, kind = np.unravel_index(kept, (cells,) * 3 + (27,))
    order = np.stack([kind // 9, kind // 3 % 3, kind % 3], axis=1)
    steps = np.cumsum(np.eye(3, dtype=np.int64)[order], axis=1)
    nodes = np.concatenate([np.zeros_like(steps[:, :1]), steps], axis=1) + np.stack(corner, axis=1)[:, None]
    node = np.ravel_multi_index(tuple(nodes.reshape(-1, 3).T), (cells + 1,) * 3)
    used, index = np.unique(node, return_inverse=True)
    vertices = np.stack(np.unravel_index(used, (cells + 1,) * 3), axis=1) * spacing - cells * spacing / 2
    cell_index = np.full(mask.shape, -1, dtype=np.int32)
    cell_index[tuple(voxels.T)] = cell
    mesh = TetMesh(
        vertices=vertices.astype(np.float32),
        cells=index.reshape(-1, 4).astype(np.int32),
        rigidity=np.ones(len(kept), dtype=np.float32),
        segment=np.zeros(len(kept), dtype=np.int32),
    )
    return mesh, cell_index


def voxel_positions(voxels: NDArray[np.int64], box: int, pixel_size: float) -> NDArray[np.float64]:
    """Coordinates (N, 3), x y z in Å from the box centre, of voxel indices (N, 3), z y x."""
    return (voxels[:, ::-1] - box // 2) * pixel_size


def rigidity_weights(
    density: Floats, cell_index: NDArray[np.int32], cells: int, minimum: float, stiffen_low_density: bool
) -> Floats:
    """Rigidity weight of each cell: 1 where the map is dense, falling to ``minimum`` where it is empty.

    Parameters
    ----------
    density, cell_index
        Map and cell of each voxel, (n, n, n).
    cells
        Number of cells.
    minimum
        Weight of an empty cell.
    stiffen_low_density
        Give the periphery, 5 to 40 % of the dense scale, weight 3.
    """
    inside = cell_index >= 0
    count = np.bincount(cell_index[inside], minlength=cells)
    mean = np.bincount(cell_index[inside], weights=density[inside], minlength=cells) / count
    scale = max(float(np.percentile(mean, 95)), np.finfo(np.float32).tiny)
    relative = np.clip(mean / scale, 0, 1)
    weights = minimum + (1 - minimum) * relative
    if stiffen_low_density:
        weights[(relative > 0.05) & (relative < 0.4)] = 3.0
    return weights.astype(np.float32)


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
    summary = {
        "vertices": len(built.vertices),
        "cells": len(built.cells),
        "cell_size_A": len(soft) * density.pixel_size / params.cells,
        "components": built.components(),
        "volume_A3": {"0": float(built.volumes().sum())},
        "connections": "",
        "mask_share": float((soft > 0.5).mean()),
    }
    if summary["components"] > 1:
        warnings.warn(
            f"The mesh has {summary['components']} parts that share no vertex; they move independently. "
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
        plot.add_collection(LineCollection(lines, colors="#2fc4b2", linewidths=0.35, alpha=0.6))
        plot.set(xlabel=f"{'xyz'[right]} (Å)", ylabel=f"{'xyz'[up]} (Å)", title=f"along {'xyz'[drop]}")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
