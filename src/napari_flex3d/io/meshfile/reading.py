"""A mesh file of either kind, brought to our frame and checked against the map."""

from pathlib import Path

import numpy as np

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.meshfile.arrays import NEEDED, MeshArrays, checked, tidied
from napari_flex3d.io.meshfile.calibration import share_inside
from napari_flex3d.io.meshfile.cryosparc import read_mesh_pickle
from napari_flex3d.io.meshfile.grid import check_grid, check_voxels
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
    return read_mesh_pickle(path, volume)


def _from_npz(path: Path, volume: Volume) -> MeshArrays:
    arrays = read_arrays(path, (*NEEDED, "tm_segmask", "tm_tetraidx_map", "N", "psize_A"))
    check_grid(path, arrays.get("N"), arrays.get("psize_A"), volume)
    mesh = checked(path, arrays)
    return _in_our_frame(path, check_voxels(path, mesh, volume), volume)


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
        share = share_inside(
            mesh.vertices / volume.pixel_size + len(volume.data) // 2, mesh.cells, mesh.cell_index
        )
        if share < _OURS:
            raise InputError(
                f"Mesh {path}: {share:.0%} of the voxels lie in the cell that tm_tetraidx_map names. {advice}"
            )
    return mesh
