"""Particles of any program, told apart by what the file holds, not by its name."""

from pathlib import Path

from napari_flex3d.io.cs import is_cs, read_cs_particles
from napari_flex3d.io.cs.partners import particle_file_of
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.table import Answers, ParticleTable


def read_any_particles(path: Path, answers: Answers | None = None, *, check: bool = True) -> ParticleTable:
    """Particles of a RELION star file or a CryoSPARC dataset.

    Parameters
    ----------
    path
        The file.
    answers
        What the person said beyond the file.
    check
        Whether to look for the stacks and into their headers, and whether the values make sense.

    Raises
    ------
    InputError, Question
        For everything in the file that is wrong or missing.
    """
    if path.suffix == ".csg" and path.is_file():
        raise InputError(
            f"{path} describes an export. Give its particles, {particle_file_of(path) or 'a .cs file'}."
        )
    return (read_cs_particles if is_cs_file(path) else read_particles)(path, answers, check=check)


def is_cs_file(path: Path) -> bool:
    """Whether a file is a CryoSPARC dataset by its content, or claims to be one by its name."""
    return is_cs(path) or path.suffix == ".cs"  # the owner of a damaged one should hear about .cs files
