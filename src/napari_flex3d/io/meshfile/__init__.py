"""Tetrahedral meshes from files and for other programs."""

from napari_flex3d.io.meshfile.arrays import MeshArrays
from napari_flex3d.io.meshfile.bild import write_bild, write_mesh_script
from napari_flex3d.io.meshfile.calibration import Calibration
from napari_flex3d.io.meshfile.cryosparc import read_mesh_pickle, write_mesh_pickle
from napari_flex3d.io.meshfile.npz import read_mesh_npz
from napari_flex3d.io.meshfile.reading import read_mesh_file
from napari_flex3d.io.meshfile.vtu import write_vtu

__all__ = [
    "Calibration",
    "MeshArrays",
    "read_mesh_file",
    "read_mesh_npz",
    "read_mesh_pickle",
    "write_bild",
    "write_mesh_pickle",
    "write_mesh_script",
    "write_vtu",
]
