"""The arrays of a mesh, and whether they are one."""

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.meshfile.calibration import Calibration

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

NEEDED = ("tm_points", "tm_cells", "tm_rweights")
_FLAT = 1e-4  # of the cube over the longest edge; a Kuhn tetrahedron has 0.032, a regular one 0.12


@dataclass(frozen=True)
class MeshArrays:
    """A mesh as files hold it.

    Parameters
    ----------
    vertices
        Rest positions (P, 3), x y z in Å about the box centre.
    cells
        Vertex indices (C, 4).
    rigidity
        Rigidity weight of each cell (C).
    segment
        Segment of each cell (C); zeros where the file names none.
    cell_index
        Cell of each voxel (n, n, n), z y x, -1 in solvent; none where the file has none.
    calibration
        How the file wrote its vertices; none where it wrote them as here.
    """

    vertices: Floats
    cells: Ints
    rigidity: Floats
    segment: Ints
    cell_index: Ints | None = None
    calibration: Calibration | None = None


def checked(path: Path, arrays: Mapping[str, NDArray[Any]]) -> MeshArrays:
    """Arrays of a file, under CryoSPARC's names, in our number types once they are known to be a mesh.

    Raises
    ------
    InputError
        If a shape or number type is wrong, a value is not finite, an index lies outside, or cells are flat or
        folded over their neighbours.
    """
    points, cells, rigidity = (arrays[name] for name in NEEDED)
    _demand(path, "tm_points", points, "fiu", (None, 3))
    _demand(path, "tm_cells", cells, "iu", (None, 4))
    _demand(path, "tm_rweights", rigidity, "fiu", (len(cells),))
    if not len(cells):
        raise InputError(f"Mesh {path} has no cells.")
    outside = np.any((cells < 0) | (cells >= len(points)), axis=1)
    _refuse(path, outside, f"vertex outside 0..{len(points) - 1}")
    vertices, corners = _single(path, "tm_points", points), cells.astype(np.int32)
    weights = _single(path, "tm_rweights", rigidity)
    if weights.min() <= 0:
        raise InputError(f"Mesh {path}: tm_rweights go down to {weights.min():g}; they must be positive.")
    _refuse(path, _flat(vertices, corners), "flat")
    _refuse(path, _folded(vertices, corners), "inverted: on the same side of a face as the neighbour")
    segment = arrays.get("tm_segmask")
    if segment is None:
        segment = np.zeros(len(cells), dtype=np.int32)
    _demand(path, "tm_segmask", segment, "iufb", (len(cells),))
    segment = _whole(path, "tm_segmask", segment, -(2**31), 2**31 - 1)
    index = arrays.get("tm_tetraidx_map")
    if index is not None:
        _demand(path, "tm_tetraidx_map", index, "iuf", (None, None, None))
        index = _whole(path, "tm_tetraidx_map", index, -1, len(cells) - 1)
    return MeshArrays(vertices, corners, weights, segment, index)


def tidied(path: Path, mesh: MeshArrays) -> MeshArrays:
    """Let all cells have positive volume, and leave out vertices that belong to none, with a warning."""
    cells = mesh.cells.copy()
    turned = signed_volumes(mesh.vertices, cells) < 0
    cells[turned] = cells[turned][:, [0, 1, 3, 2]]
    used, index = np.unique(cells, return_inverse=True)
    lost = len(mesh.vertices) - len(used)
    if lost:
        warnings.warn(
            f"Mesh {path}: {lost} vertices belong to no cell and are left out.", InputWarning, stacklevel=2
        )
        cells = index.reshape(-1, 4).astype(np.int32)
    return replace(mesh, vertices=mesh.vertices[used], cells=cells)


def signed_volumes(vertices: NDArray[Any], cells: Ints) -> NDArray[np.float64]:
    """Volume of each cell (C); negative where its vertices are listed left-handed."""
    corners = vertices[cells].astype(np.float64)
    return np.linalg.det(corners[:, 1:] - corners[:, :1]) / 6


def _flat(vertices: Floats, cells: Ints) -> NDArray[np.bool_]:
    corners = vertices[cells].astype(np.float64)
    pairs = itertools.combinations(range(4), 2)
    longest = np.max([np.linalg.norm(corners[:, i] - corners[:, j], axis=1) for i, j in pairs], axis=0)
    return np.abs(signed_volumes(vertices, cells)) <= _FLAT * longest**3


def _folded(vertices: Floats, cells: Ints) -> NDArray[np.bool_]:
    """Say which cells lie on the same side of a face as a neighbour (C): space is covered twice there.

    The order of a cell's vertices says nothing about this; half of a regular mesh is listed left-handed.
    """
    opposite = [3, 2, 1, 0]
    faces = np.sort(np.concatenate([cells[:, list(f)] for f in itertools.combinations(range(4), 3)]), axis=1)
    apex = np.concatenate([cells[:, i] for i in opposite])
    owner = np.tile(np.arange(len(cells)), 4)
    at, third, second = (vertices[faces[:, i]].astype(np.float64) for i in (0, 2, 1))
    height = np.einsum("fi,fi->f", vertices[apex] - at, np.cross(second - at, third - at))
    _, face = np.unique(faces, axis=0, return_inverse=True)
    face = face.reshape(-1)
    above = np.bincount(face, weights=height > 0)
    below = np.bincount(face, weights=height <= 0)
    bad = np.zeros(len(cells), dtype=bool)
    bad[owner[(above > 1)[face] | (below > 1)[face]]] = True
    return bad


def _demand(path: Path, name: str, array: NDArray[Any], kinds: str, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(w in (None, n) for w, n in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.kind not in kinds:
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        found = " x ".join(map(str, array.shape))
        raise InputError(
            f"Mesh {path}: {name} is {found} of type {array.dtype}; {wanted} "
            f"{'whole numbers' if 'f' not in kinds else 'numbers'} are needed."
        )


def _single(path: Path, name: str, array: NDArray[Any]) -> Floats:
    limit = float(np.finfo(np.float32).max)
    bad = int(np.count_nonzero(~(np.abs(array.astype(np.float64)) < limit)))
    if bad:
        raise InputError(f"Mesh {path}: {bad} values of {name} are not finite.")
    return array.astype(np.float32)


def _whole(path: Path, name: str, array: NDArray[Any], low: int, high: int) -> Ints:
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array == np.rint(array)).all()):
        raise InputError(f"Mesh {path}: {name} holds numbers that are not whole.")
    if array.size and (array.min() < low or array.max() > high):
        raise InputError(
            f"Mesh {path}: {name} goes from {array.min():g} to {array.max():g}; {low} to {high} is needed."
        )
    return array.astype(np.int32)


def _refuse(path: Path, bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        raise InputError(
            f"Mesh {path}: {np.count_nonzero(bad)} bad cells ({why}), first {int(bad.argmax())} of {len(bad)}. "
            "Repair the mesh in the program that made it."
        )
