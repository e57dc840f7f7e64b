"""A mesh file of either kind, brought to our frame and checked against the map."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.meshfile.arrays import NEEDED, MeshArrays, checked, tidied
from napari_flex3d.io.meshfile.calibration import share_inside
from napari_flex3d.io.meshfile.npz import read_arrays
from napari_flex3d.io.mrc import Volume

_OURS = 0.9  # share of the voxels that lie in their own cells if the vertices are in our frame


def read_mesh_file(path: Path, volume: Volume) -> MeshArrays:
    """Read a mesh made elsewhere for a map: our ``mesh.npz`` or CryoSPARC's pickle.

    Parameters
    ----------
    path
        The file; its kind is told by its content.
    volume
        The map that the mesh belongs to.

    Returns
    -------
    MeshArrays
        All cells with positive volume.

    Raises
    ------
    InputError
        If the file is of neither kind, makes no mesh, or belongs to another box or pixel size.

    Warns
    -----
    InputWarning
        For vertices that no cell uses, and for a pixel size that is a little off.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a mesh (.npz, or CryoSPARC's .pkl).")
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        return tidied(path, _from_npz(path, volume))
    raise InputError(f"{path} is no mesh: .npz is needed.")


def _from_npz(path: Path, volume: Volume) -> MeshArrays:
    arrays = read_arrays(path, (*NEEDED, "tm_segmask", "tm_tetraidx_map", "N", "psize_A"))
    check_grid(path, arrays.get("N"), arrays.get("psize_A"), volume)
    mesh = checked(path, arrays)
    return _in_our_frame(path, check_voxels(path, mesh, volume), volume)


def check_grid(path: Path, box: NDArray[Any] | None, pixel_size: NDArray[Any] | None, volume: Volume) -> None:
    """Refuse a mesh made for another box or, by more than 1 %, another pixel size than the map's.

    Raises
    ------
    InputError
        Row 55 of the formats' table.
    """
    own = len(volume.data)
    for name, value in (("N", box), ("psize_A", pixel_size)):
        if value is not None and (value.size != 1 or not np.isfinite(value).all()):
            raise InputError(f"Mesh {path}: {name} is {value!r}; one number is needed.")
    if box is not None and box.item() != own:
        raise InputError(
            f"Mesh {path}: box {box.item()} against {own} of the map. Make the mesh on the map of the prep job."
        )
    if pixel_size is None or not volume.pixel_size:
        return
    apart = abs(pixel_size.item() / volume.pixel_size - 1)
    found = f"Mesh {path}: pixel size {pixel_size.item():g} Å against {volume.pixel_size:g} Å of the map"
    if apart > 0.01:
        raise InputError(f"{found}. Make the mesh on the map of the prep job.")
    if apart > 1e-3:
        warnings.warn(f"{found}; the map's is used.", InputWarning, stacklevel=2)


def check_voxels(path: Path, mesh: MeshArrays, volume: Volume) -> MeshArrays:
    """Refuse a map of voxels that has another box than the map, or is empty."""
    index = mesh.cell_index
    if index is not None and index.shape != volume.data.shape:
        raise InputError(
            f"Mesh {path}: box {' x '.join(map(str, index.shape))} of tm_tetraidx_map against "
            f"{len(volume.data)} of the map. Make the mesh on the map of the prep job."
        )
    if index is not None and not (index >= 0).any():
        return replace(mesh, cell_index=None)
    return mesh


def _in_our_frame(path: Path, mesh: MeshArrays, volume: Volume) -> MeshArrays:
    """Refuse vertices that cannot be in Å, x y z, from the box centre."""
    size = len(volume.data) * volume.pixel_size
    reach = float(np.abs(mesh.vertices).max())
    advice = "tm_points of an .npz must be x, y, z in Å from the box centre."
    if not 2 * volume.pixel_size < reach < size:
        raise InputError(
            f"Mesh {path}: vertices reach {reach:.3g} Å from the centre of a box of {size:.4g} Å. {advice}"
        )
    if mesh.cell_index is not None:
        share = share_inside(mesh.vertices / volume.pixel_size, mesh.cells, mesh.cell_index)
        if share < _OURS:
            raise InputError(
                f"Mesh {path}: {share:.0%} of the voxels lie in the cell that tm_tetraidx_map names. {advice}"
            )
    return mesh
