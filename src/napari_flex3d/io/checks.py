"""Whether a particle table can be what it claims to be; what every particle reader ends with."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_flex3d.io.errors import InputError, Question
from napari_flex3d.io.grids import of_groups, on_one_grid
from napari_flex3d.io.stacks import check_stacks, find_stacks
from napari_flex3d.io.table import Answers, DefocusUnit, ParticleTable

_DEFOCUS_FACTOR = {"auto": 1.0, "angstrom": 1.0, "nanometre": 10.0, "micrometre": 1e4}


def checked(table: ParticleTable, answers: Answers, beside: Sequence[Path] = ()) -> ParticleTable:
    """Find the stacks of the particles wanted, look into them, choose the grid, and check the values.

    Parameters
    ----------
    table
        With the stacks as the particle file names them.
    beside
        More files that may lie near the stacks.

    Raises
    ------
    InputError, Question
        For everything that is wrong or missing.
    """
    table = of_groups(table, answers.optics_groups)
    found = find_stacks(table.source, [str(p) for p in table.stacks], answers.project_dir, beside)
    table = check_stacks(replace(table, stacks=found))
    return check_values(on_one_grid(table, answers, check=True), answers.defocus_unit)


def check_values(table: ParticleTable, unit: DefocusUnit) -> ParticleTable:
    """Look whether poses, shifts and defocus can be what they claim to be; bring the defocus to Å.

    Raises
    ------
    InputError, Question
        If all poses are equal, shifts leave the box, or the defocus is of another unit.
    """
    if len(table) > 1 and np.ptp(table.rotation, axis=0).max() < 1e-6:
        word = "zero" if np.allclose(table.rotation[0], np.eye(3), atol=1e-6) else "equal"
        raise InputError(
            f"{len(table)} of {len(table)} poses are {word}. A finished 3D refinement is needed."
        )
    limit = np.array([group.box_size * group.pixel_size / 2 for group in table.groups])[table.group]
    far = np.flatnonzero(np.hypot(*table.shift.T) > limit)
    if len(far):
        raise InputError(
            f"{len(far)} shifts exceed {limit[far[0]]:g} Å, more than half the box: wrong unit or pixel size?"
        )
    factor = _DEFOCUS_FACTOR[unit]
    table = replace(table, defocus_u=table.defocus_u * factor, defocus_v=table.defocus_v * factor)
    median = float(np.median((table.defocus_u + table.defocus_v) / 2))
    modelled = any(group.ctf_state != "corrected" for group in table.groups)
    if unit == "auto" and modelled and not 3000 <= median <= 60000:
        raise Question(f"Median defocus {median:g} Å; expected 3000-60000. Unit?", "--defocus-unit")
    return table
