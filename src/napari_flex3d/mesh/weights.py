"""Rigidity weights of the cells of a mesh: from the map, for rigid segments, and given by a person."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh.tetmesh import Floats, Ints, TetMesh

RIGID = 20.0
"""Rigidity weight of the cells of a rigid segment."""

PERIPHERY = 3.0
"""Rigidity weight of the periphery of the density, when that is made stiff."""


def relative_density(density: Floats, cell_index: Ints, cells: int) -> NDArray[np.float64]:
    """Mean density in each cell (C) over the 95th percentile of that, between 0 and 1."""
    inside = cell_index >= 0
    count = np.bincount(cell_index[inside], minlength=cells)
    total = np.bincount(cell_index[inside], weights=density[inside], minlength=cells)
    mean = total / np.maximum(count, 1)
    scale = max(float(np.percentile(mean, 95)), float(np.finfo(np.float32).tiny))
    return np.clip(mean / scale, 0, 1)


def rigidity_weights(
    density: Floats, cell_index: Ints, cells: int, minimum: float, stiffen_low_density: bool
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
    relative = relative_density(density, cell_index, cells)
    weights = minimum + (1 - minimum) * relative
    if stiffen_low_density:
        weights[(relative > 0.05) & (relative < 0.4)] = PERIPHERY
    return weights.astype(np.float32)


def parse_segments(text: str, ids: Iterable[int]) -> list[int]:
    """Segments from text such as ``0, 2``.

    Raises
    ------
    InputError
        If it is no such list or names a segment that is not there.
    """
    known = sorted(ids)
    found = []
    for part in filter(None, re.split(r"[,;\s]+", text)):
        if not part.isdigit() or int(part) not in known:
            raise InputError(
                f'Rigid segment "{part}" is not in the segmentation {", ".join(map(str, known))}. '
                'Give a list such as "0, 2".'
            )
        found.append(int(part))
    return found


def read_weights(path: Path, mesh: TetMesh) -> Floats:
    """Rigidity weight of each cell from a file; where it says nothing, that of the mesh.

    Parameters
    ----------
    path
        ``.npy`` or ``.npz``: one number per cell, in ``.npz`` the only array or ``tm_rweights``. ``.csv``: columns
        ``segment`` and ``weight``, one row for each segment that is meant.
    mesh
        The mesh that they are for.

    Raises
    ------
    InputError
        If the file is none of these, does not fit the mesh, or holds a weight that is not positive.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give weights as .csv, .npy or .npz.")
    if path.suffix.lower() == ".csv":
        return _of_segments(path, mesh)
    weights = _array(path)
    if weights.shape != (len(mesh.cells),) or weights.dtype.kind not in "fiu":
        shape = " x ".join(map(str, weights.shape))
        raise InputError(
            f"Weights {path}: {shape} numbers of type {weights.dtype}, the mesh has {len(mesh.cells)} cells. "
            "Give one number per cell, or a .csv with the columns segment and weight."
        )
    wrong = ~(np.isfinite(weights) & (weights > 0))
    if wrong.any():
        cell = int(wrong.argmax())
        raise InputError(f"Weights {path}: cell {cell} has {weights[cell]:g}; weights must be above 0.")
    return weights.astype(np.float32)


def _array(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            name = "tm_rweights" if "tm_rweights" in loaded.files else loaded.files[0]
            if len(loaded.files) == 1 or name == "tm_rweights":
                return loaded[name]
            held = ", ".join(loaded.files[:20])
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise InputError(f"Weights {path} cannot be read ({error}). Give .csv, .npy or .npz.") from None
    raise InputError(f"Weights {path} holds {held}; one array, or tm_rweights, is needed.")


def _of_segments(path: Path, mesh: TetMesh) -> Floats:
    weights = mesh.rigidity.copy()
    known = np.unique(mesh.segment).tolist()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = [n.strip() for n in reader.fieldnames or []]
            reader.fieldnames = names
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Weights {path} is no table ({error}).") from None
    if not {"segment", "weight"} <= set(names):
        raise InputError(f"Weights {path} has the columns {', '.join(names)}; segment and weight are needed.")
    for number, row in enumerate(rows, start=2):
        try:
            segment, weight = int(row["segment"]), float(row["weight"])
        except (TypeError, ValueError):
            raise InputError(
                f'Weights {path} row {number}: "{row["segment"]}, {row["weight"]}" is no segment and weight.'
            ) from None
        if segment not in known:
            raise InputError(
                f"Weights {path} row {number}: segment {segment} is not in the segmentation "
                f"{', '.join(map(str, known))}."
            )
        if not (np.isfinite(weight) and weight > 0):
            raise InputError(f"Weights {path} row {number}: weight {weight:g}; it must be above 0.")
        weights[mesh.segment == segment] = weight
    return weights
