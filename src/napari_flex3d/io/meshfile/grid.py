"""Whether a mesh was made for the box and pixel size of the map."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.meshfile.arrays import MeshArrays
from napari_flex3d.io.mrc import Volume


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
