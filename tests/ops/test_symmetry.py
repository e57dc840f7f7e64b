"""Point groups, and maps averaged over them."""

import numpy as np
import pytest
import torch

from napari_flex3d.ops.fourier import low_pass
from napari_flex3d.ops.symmetry import symmetrised, symmetry_rotations
from napari_flex3d.synthetic import atoms_to_map

BOX = 24


@pytest.mark.parametrize(("group", "size"), [("C1", 1), ("c4", 4), ("D2", 4), ("D7", 14)])
def test_a_group_is_closed_and_starts_with_the_identity(group, size):
    rotations = symmetry_rotations(group)
    assert rotations.shape == (size, 3, 3)
    np.testing.assert_allclose(rotations[0], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    products = np.einsum("aij,bjk->abik", rotations, rotations).reshape(-1, 9)
    apart = np.abs(products[:, None] - rotations.reshape(1, -1, 9)).max(-1)
    assert (apart.min(1) < 1e-9).all()


def test_axes_are_relions():
    """C4 turns about z; D2's two-fold axis lies along x."""
    np.testing.assert_allclose(symmetry_rotations("C4")[1] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    assert any(np.allclose(r, np.diag([1, -1, -1])) for r in symmetry_rotations("D2"))


@pytest.mark.parametrize("group", ["T", "C0", "D", "I1", "C4x", ""])
def test_other_names_are_refused(group):
    with pytest.raises(ValueError, match="Cn or Dn"):
        symmetry_rotations(group)


def test_an_atom_gets_its_mates():
    """One blob away from the axis becomes three, where rotations of its coordinates put them."""
    atom = np.array([[6.0, 1.0, 3.0]])
    mates = np.einsum("gij,j->gi", symmetry_rotations("C3"), atom[0])
    found = symmetrised(low_pass(atoms_to_map(atom, BOX, 1.0).float(), 0.2, 0.3), "C3")
    expected = sum(low_pass(atoms_to_map(m[None], BOX, 1.0).float(), 0.2, 0.3) for m in mates) / 3
    assert float(torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1]) > 0.99
