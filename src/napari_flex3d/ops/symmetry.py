"""Point groups of particles about the map's centre, axes as RELION has them."""

import re

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation
from torch import Tensor

_LARGEST = 100


def symmetry_rotations(group: str) -> NDArray[np.float64]:
    """Rotations of a point group (M, 3, 3), the identity first.

    Parameters
    ----------
    group
        ``C1``, ``C2`` ... or ``D2``, ``D3`` ...: the main axis along z, the two-fold axis of ``D`` along x.

    Raises
    ------
    ValueError
        For any other name.
    """
    name = re.fullmatch(r"([CD])(\d+)", group.strip().upper())
    if name is None or not 1 <= int(name[2]) <= _LARGEST:
        raise ValueError(
            f"symmetry = {group}: Cn or Dn with n from 1 to {_LARGEST} is needed, such as C4 or D7."
        )
    order = int(name[2])
    turns = 2 * np.pi / order * np.arange(order)
    around = Rotation.from_rotvec(turns[:, None] * [0, 0, 1]).as_matrix()
    if name[1] == "C":
        return around
    return np.concatenate([around, around @ np.diag([1.0, -1.0, -1.0])])


def symmetrised(volume: Tensor, group: str) -> Tensor:
    """Mean of a map (n, n, n) over the rotations of a group; cubic interpolation about voxel ``n // 2``."""
    total = volume.double().numpy().copy()
    rotations = symmetry_rotations(group)
    for rotation in rotations[1:]:
        total += _turned(volume.numpy(), rotation)
    return torch.from_numpy(total / len(rotations)).to(volume.dtype)


def likeness(volume: Tensor, group: str) -> float:
    """Correlation of a map (n, n, n) with itself after a rotation of a group, the least, in the sphere of the box."""
    here = volume.numpy()
    centre = len(here) // 2
    inside = np.linalg.norm(np.indices(here.shape) - centre, axis=0) < centre - 1
    turned = (_turned(here, rotation) for rotation in symmetry_rotations(group)[1:])
    return min((float(np.corrcoef(here[inside], other[inside])[0, 1]) for other in turned), default=1.0)


def _turned(volume: NDArray[np.floating], rotation: NDArray[np.float64]) -> NDArray[np.floating]:
    backward = rotation[::-1, ::-1].T  # x y z of the rotation, z y x of the array
    centre = np.full(3, len(volume) // 2)
    turned: NDArray[np.floating] = affine_transform(volume, backward, centre - backward @ centre, order=3)
    return turned
