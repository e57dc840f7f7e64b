"""The tetrahedral mesh over a map, and the stage "mesh" that builds it."""

from napari_flex3d.mesh.modes import elastic_modes, vertex_mass
from napari_flex3d.mesh.params import MeshParams
from napari_flex3d.mesh.regular import regular_mesh
from napari_flex3d.mesh.stage import mesh
from napari_flex3d.mesh.tetmesh import TetMesh, voxel_positions
from napari_flex3d.mesh.weights import rigidity_weights

__all__ = [
    "MeshParams",
    "TetMesh",
    "elastic_modes",
    "mesh",
    "regular_mesh",
    "rigidity_weights",
    "vertex_mass",
    "voxel_positions",
]
