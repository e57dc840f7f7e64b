"""Atomic models in PDB and mmCIF: coordinates out, moved coordinates in, everything else kept."""

from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .files import atomic

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")


def read_model(path: Path) -> gemmi.Structure:
    """Atomic model of a PDB or mmCIF file, the first of its models only.

    Raises
    ------
    InputError
        If the file is missing, is no atomic model, or holds no atoms.
    """
    from .errors import InputError

    if not path.is_file():
        raise InputError(f"{path}: no such file. Give an atomic model (.pdb or .cif).")
    try:
        structure = gemmi.read_structure(str(path), merge_chain_parts=False)
    except (RuntimeError, ValueError, OSError, IndexError) as error:
        raise InputError(f"{path} cannot be read as PDB or mmCIF: {error}") from None
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise InputError(f"{path} holds no atoms. Give an atomic model (.pdb or .cif).")
    while len(structure) > 1:
        del structure[1]
    return structure


def coordinates(structure: gemmi.Structure) -> Float[ndarray, "atoms 3"]:
    """Position (x, y, z) of every atom in file order, Å in the file's frame."""
    return np.array([site.atom.pos.tolist() for site in structure[0].all()], dtype=np.float64)


def write_models(path: Path, structure: gemmi.Structure, moved: Float[ndarray, "models atoms 3"]) -> None:
    """Write one model per set of coordinates; everything else is that of ``structure``.

    Parameters
    ----------
    path
        Ends in .pdb, .ent, .cif or .mmcif, which chooses the format.
    structure
        From `read_model`; not changed.
    moved
        Position (x, y, z) of every atom in each model, Å in the file's frame.

    Raises
    ------
    InputError
        If the name ends otherwise, or if PDB's columns are too narrow for the model.
    """
    from .errors import InputError

    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: must end in {' or '.join(SUFFIXES)}")
    result = structure.clone()
    del result[0]
    for number, positions in enumerate(moved, start=1):
        model = structure[0].clone()
        model.num = number
        for site, (x, y, z) in zip(model.all(), positions.tolist(), strict=True):
            site.atom.pos = gemmi.Position(x, y, z)
        result.add_model(model)
    result.setup_entities()
    with atomic(path) as temporary:
        if path.suffix.lower() in (".cif", ".mmcif"):
            result.make_mmcif_document().write_file(str(temporary))
        else:
            _refuse_wide(path, moved)
            result.write_pdb(str(temporary), gemmi.PdbWriteOptions(preserve_serial=True))


def _refuse_wide(path: Path, moved: Float[ndarray, "models atoms 3"]) -> None:
    from .errors import InputError

    if moved.size and (moved.min() <= -999.9995 or moved.max() >= 9999.9995):
        raise InputError(
            f"{path}: coordinates reach {moved.min():.0f} to {moved.max():.0f} Å, "
            "more than PDB's columns hold. Write .cif instead."
        )


def write_calpha(path: Path, positions: Float[ndarray, "atoms 3"], chains: str) -> None:
    """Write pseudo-atoms as the C-alpha atoms of alanines.

    Parameters
    ----------
    path
        Ends in .pdb or .cif.
    positions
        (x, y, z) of every atom, Å.
    chains
        One letter per atom: its chain. Atoms of one chain follow one another.
    """
    model = gemmi.Model(1)
    for letter, position in zip(chains, positions.tolist(), strict=True):
        if len(model) == 0 or model[-1].name != letter:
            model.add_chain(letter)
        residue = gemmi.Residue()
        residue.name = "ALA"
        residue.seqid = gemmi.SeqId(len(model[-1]) + 1, " ")
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso = "CA", gemmi.Element("C"), 50.0
        atom.pos = gemmi.Position(*position)
        residue.add_atom(atom)
        model[-1].add_residue(residue)
    structure = gemmi.Structure()
    structure.add_model(model)
    write_models(path, structure, positions[None])
