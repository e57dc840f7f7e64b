"""Copies by symmetry have the poses of RELION's relion_particle_symmetry_expand."""

import numpy as np
import pytest

from napari_flex3d.io.copies import expanded
from napari_flex3d.io.relion import read_particles
from napari_flex3d.ops.symmetry import symmetry_rotations
from tests.relion.conftest import tables, write


@pytest.mark.parametrize("group", ["C3", "C7", "D2", "D3", "D7"])
@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
def test_copies_are_those_that_relion_makes(relion, density, tmp_path, group):
    star = write(tmp_path, density, tables(20))
    relion("relion_particle_symmetry_expand", tmp_path, "--i", star.name, "--o", "out.star", "--sym", group)
    ours = expanded(read_particles(star, check=False), symmetry_rotations(group))
    theirs = read_particles(tmp_path / "out.star", check=False)
    assert len(ours) == len(theirs)
    for image in range(20):
        one, other = ours.rotation[ours.image == image], theirs.rotation[theirs.image == image]
        apart = np.abs(one[:, None] - other).max((-2, -1))
        assert (apart.min(1) < 1e-4).all()
        assert (apart.min(0) < 1e-4).all()
        np.testing.assert_allclose(
            ours.shift[ours.image == image], theirs.shift[theirs.image == image], atol=1e-5
        )  # RELION writes five decimals
