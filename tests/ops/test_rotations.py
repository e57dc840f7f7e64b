import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from napari_flex3d.ops.rotations import from_euler, from_rotvec, to_euler


def test_the_matrix_of_10_20_30_degrees_is_relions():
    expected = [[0.71461, 0.63372, -0.29620], [-0.61309, 0.77128, 0.17101], [0.33682, 0.05939, 0.93969]]
    assert_allclose(from_euler(np.radians([10.0, 20.0, 30.0])), expected, atol=5e-6)


@pytest.mark.parametrize(
    ("angles", "atom", "appears_at"),
    [
        ((90, 0, 0), (10, 0, 0), (0, -10, 0)),
        ((0, 90, 0), (10, 0, 0), (0, 0, 10)),
        ((0, 90, 0), (0, 0, 10), (-10, 0, 0)),
        ((0, 0, 90), (10, 0, 0), (0, -10, 0)),
    ],
)
def test_an_atom_is_carried_to_image_coordinates(angles, atom, appears_at):
    matrix = from_euler(np.radians(np.array(angles, dtype=float)))
    assert_allclose(matrix @ np.array(atom, dtype=float), appears_at, atol=1e-12)


def test_cryosparc_poses_are_the_inverse_of_the_rotation_vector():
    pose = np.array([2.3386633, -0.25595567, -1.2236784])  # first row of a real refinement, J24
    expected = [[0.58163, -0.37730, -0.72066], [0.05683, -0.86491, 0.49870], [-0.81147, -0.33101, -0.48162]]
    assert_allclose(from_rotvec(pose), expected, atol=1e-5)
    assert_allclose(np.degrees(to_euler(from_rotvec(pose))), [-157.80849, 118.79097, 34.68330], atol=1e-4)


def test_both_programs_describe_the_same_view():
    same = from_rotvec(np.array([0.061853, 0.350785, 0.690912]))
    assert_allclose(same, from_euler(np.radians([10.0, 20.0, 30.0])), atol=1e-6)


def test_angles_give_their_matrix_back():
    matrices = Rotation.random(200, np.random.default_rng(0)).as_matrix()
    assert_allclose(from_euler(to_euler(matrices)), matrices, atol=1e-12)


@pytest.mark.parametrize("tilt", [0.0, 180.0])
def test_angles_at_the_poles_give_their_matrix_back(tilt):
    matrices = from_euler(np.radians([[25.0, tilt, -70.0], [0.0, tilt, 170.0]]))
    angles = to_euler(matrices)
    assert_allclose(angles[:, 0], 0)
    assert_allclose(from_euler(angles), matrices, atol=1e-9)
