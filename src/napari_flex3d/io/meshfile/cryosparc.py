"""CryoSPARC's mesh: a pickle of a dictionary of arrays."""

import io
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.meshfile.arrays import NEEDED, MeshArrays, checked, tidied
from napari_flex3d.io.meshfile.calibration import Calibration, calibrate
from napari_flex3d.io.meshfile.grid import check_grid, check_voxels
from napari_flex3d.io.meshfile.plainpickle import read_plain_pickle
from napari_flex3d.io.mrc import Volume

VERSION = 1
_NEEDED = (*NEEDED, "tm_tetraidx_map", "N", "psize_A")


def read_mesh_pickle(path: Path, volume: Volume) -> MeshArrays:
    """Mesh of CryoSPARC's 3D Flex Mesh Prep, or one made for it.

    Neither unit nor order of the coordinates is written down anywhere; they are learned from the file's own map of
    voxels (`calibrate`) and kept for writing.

    Parameters
    ----------
    path
        The pickle; nothing that it names is run.
    volume
        The map that the mesh belongs to.

    Raises
    ------
    InputError
        If the file holds anything but plain data, lacks an array, makes no mesh, or belongs to another box or pixel
        size; or if the vertices do not lie where its voxels do.
    """
    held = read_plain_pickle(path)
    missing = [name for name in _NEEDED if name not in held]
    if missing:
        raise InputError(
            f"Mesh {path} has no {', '.join(missing)}; it holds {', '.join(name[:40] for name in sorted(held)[:20])}."
        )
    arrays = {name: _array(path, name, held[name]) for name in (*_NEEDED, "tm_segmask") if _given(held, name)}
    check_grid(path, arrays["N"], arrays["psize_A"], volume)
    version = held.get("version", VERSION)
    if version != VERSION:
        warnings.warn(
            f"Mesh {path} is of version {version!s:.20}; {VERSION} is known.", InputWarning, stacklevel=2
        )
    mesh = check_voxels(path, checked(path, arrays), volume)
    if mesh.cell_index is None:
        raise InputError(f"Mesh {path}: tm_tetraidx_map has no voxel in any cell.")
    pixel_size = volume.pixel_size or float(arrays["psize_A"])
    calibration = calibrate(path, mesh.vertices, mesh.cells, mesh.cell_index, pixel_size)
    index = calibration.to_voxels(arrays["tm_points"]) - len(mesh.cell_index) // 2
    vertices = (index * pixel_size).astype(np.float32)
    return tidied(path, replace(mesh, vertices=vertices, calibration=calibration))


def write_mesh_pickle(
    path: Path, mesh: MeshArrays, mask: ArrayLike, mask_soft: ArrayLike, pixel_size: float
) -> None:
    """Write a mesh as CryoSPARC's custom mesh.

    Parameters
    ----------
    mesh
        With its ``cell_index``. Vertices are written in the frame of its ``calibration``; without one, in voxels from
        the box centre ``n // 2``, columns x, y, z, which is an assumption: no document says.
    mask, mask_soft
        Binary and soft solvent mask (n, n, n), z y x.
    pixel_size
        Å.

    Notes
    -----
    Protocol 2, with the names that numpy had before version 2, so that either version reads it.
    """
    if mesh.cell_index is None:
        raise ValueError("a mesh without cell_index: each voxel's cell is needed")
    n = len(mesh.cell_index)
    frame = mesh.calibration or Calibration((0, 1, 2), 1.0, (float(n // 2),) * 3)
    held: dict[str, Any] = {
        "mask": np.asarray(mask, dtype=np.float32),
        "mask_soft": np.asarray(mask_soft, dtype=np.float32),
        "N": n,
        "psize_A": float(pixel_size),
        "tm_points": frame.from_voxels(mesh.vertices / np.float64(pixel_size) + n // 2).astype(np.float32),
        "tm_cells": mesh.cells,
        "tm_tetraidx_map": mesh.cell_index,
        "tm_rweights": mesh.rigidity,
        "tm_segmask": mesh.segment,
        "version": VERSION,
    }
    buffer = io.BytesIO()
    pickle.dump(held, buffer, protocol=2)
    raw = buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    with atomic(path) as temporary:
        temporary.write_bytes(raw)


def _given(held: dict[str, Any], name: str) -> bool:
    return held.get(name) is not None


def _array(path: Path, name: str, value: Any) -> NDArray[Any]:
    if not isinstance(value, np.ndarray | int | float):
        raise InputError(f"Mesh {path}: {name} is a {type(value).__name__}; numbers are needed.")
    return np.asarray(value)
