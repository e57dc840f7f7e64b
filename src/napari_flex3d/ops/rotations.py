"""RELION and CryoSPARC angles to matrices and back.

A rotation ``A`` takes map coordinates (x, y, z) to image coordinates: an atom at ``v`` appears at ``(A v)_xy``.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation


def from_euler(angles: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Rotation matrices of RELION's angles.

    Parameters
    ----------
    angles
        rlnAngleRot, rlnAngleTilt, rlnAnglePsi in radians.

    Notes
    -----
    RELION's ``Euler_angles2matrix``; as an intrinsic z-y-z rotation it is the inverse.
    """
    flat = Rotation.from_euler("ZYZ", angles.reshape(-1, 3)).inv().as_matrix()
    return flat.reshape(*angles.shape[:-1], 3, 3)


def to_euler(rotations: Float[ndarray, "*batch 3 3"]) -> Float[ndarray, "*batch 3"]:
    """RELION's angles (rot, tilt, psi) of rotation matrices, radians; at the poles rot is 0."""
    a = rotations
    sine = np.hypot(a[..., 0, 2], a[..., 1, 2])
    tilt = np.arctan2(sine, a[..., 2, 2])
    rot = np.arctan2(a[..., 2, 1], a[..., 2, 0])
    psi = np.arctan2(a[..., 1, 2], -a[..., 0, 2])
    pole = sine < 1e-6
    up = a[..., 2, 2] > 0
    psi_pole = np.where(up, np.arctan2(-a[..., 1, 0], a[..., 0, 0]), np.arctan2(a[..., 1, 0], -a[..., 0, 0]))
    return np.stack([np.where(pole, 0, rot), tilt, np.where(pole, psi_pole, psi)], axis=-1)


def from_rotvec(pose: Float[ndarray, "*batch 3"]) -> Float[ndarray, "*batch 3 3"]:
    """Rotation matrices of CryoSPARC's poses, which take the particle's frame to the map's: the inverse of ours."""
    flat = Rotation.from_rotvec(pose.reshape(-1, 3)).inv().as_matrix()
    return flat.reshape(*pose.shape[:-1], 3, 3)


def to_rotvec(rotation: Float[ndarray, "*batch 3 3"]) -> Float[ndarray, "*batch 3"]:
    """CryoSPARC's poses of rotation matrices: the inverse of `from_rotvec`."""
    flat = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).inv().as_rotvec()
    return flat.reshape(*rotation.shape[:-2], 3)
