"""Atomic models: what is read is what is written, and only coordinates change."""

import gemmi
import numpy as np
import pytest

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.models import coordinates, read_model, write_calpha, write_models

PDB = """\
CRYST1   50.000   50.000   50.000  90.00  90.00  90.00 P 1
ATOM      1  N   MET A   1      11.104   6.134  -6.504  1.00 20.00           N
ATOM      2  CA AMET A   1      11.639   6.071  -5.147  0.60 21.00           C
ATOM      3  CA BMET A   1      11.739   6.171  -5.247  0.40 22.00           C
ATOM      4  CA  GLY B   7       1.000   2.000   3.000  1.00 33.00           C
TER       5      GLY B   7
HETATM    6 MG    MG C 101      -4.000   5.000   6.500  0.50 44.00          MG
END
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pdb"
    path.write_text(PDB)
    return path


def test_coordinates_come_in_file_order(model):
    found = coordinates(read_model(model))
    assert found.shape == (5, 3)
    assert found[0].tolist() == [11.104, 6.134, -6.504]
    assert found[4].tolist() == [-4.0, 5.0, 6.5]


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_models_differ_in_coordinates_and_in_nothing_else(model, tmp_path, suffix):
    structure = read_model(model)
    moved = coordinates(structure)[None] + np.array([0.0, 1.5, -2.25])[:, None, None]
    path = tmp_path / f"moved{suffix}"
    write_models(path, structure, moved)
    again = gemmi.read_structure(str(path))
    assert [m.num for m in again] == [1, 2, 3]
    for number, found in enumerate(again):
        for site, old, position in zip(found.all(), structure[0].all(), moved[number], strict=True):
            assert np.allclose(site.atom.pos.tolist(), position, atol=1e-3)
            for name in ("name", "altloc", "occ", "b_iso"):
                assert getattr(site.atom, name) == pytest.approx(getattr(old.atom, name)), name
            assert (site.chain.name, str(site.residue.seqid), site.residue.name) == (
                old.chain.name,
                str(old.residue.seqid),
                old.residue.name,
            )
            assert site.atom.element == old.atom.element
    assert np.array_equal(coordinates(structure), moved[0])  # what was given is untouched


def test_only_the_first_model_of_a_file_is_used(model, tmp_path):
    structure = read_model(model)
    many = tmp_path / "many.pdb"
    write_models(many, structure, np.stack([coordinates(structure), coordinates(structure) + 3]))
    assert np.allclose(coordinates(read_model(many)), coordinates(structure))


def test_c_alpha_models_keep_order_and_chains(tmp_path):
    positions = np.arange(15.0).reshape(5, 3)
    write_calpha(tmp_path / "ca.cif", positions, "AAABB")
    again = read_model(tmp_path / "ca.cif")
    assert np.allclose(coordinates(again), positions)
    assert [len(chain) for chain in again[0]] == [3, 2]


def test_refusals_name_the_file(model, tmp_path):
    with pytest.raises(InputError, match=r"gone\.pdb: no such file"):
        read_model(tmp_path / "gone.pdb")
    empty = tmp_path / "empty.pdb"
    empty.write_text("REMARK nothing here\n")
    with pytest.raises(InputError, match=r"empty\.pdb holds no atoms"):
        read_model(empty)
    text = tmp_path / "text.cif"
    text.write_text("not a cif\n")
    with pytest.raises(InputError, match=r"text\.cif cannot be read"):
        read_model(text)
    structure = read_model(model)
    with pytest.raises(InputError, match=r"must end in"):
        write_models(tmp_path / "out.xyz", structure, coordinates(structure)[None])
    with pytest.raises(InputError, match=r"Write \.cif instead"):
        write_models(tmp_path / "far.pdb", structure, coordinates(structure)[None] + 20000)
    assert not (tmp_path / "far.pdb").exists()
