"""Where the image stacks of a particle table lie, and whether they hold what it says."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import open_stack
from napari_flex3d.io.table import ParticleTable


def find_stacks(
    source: Path, names: Sequence[str], project_dir: Path | None, beside: Sequence[Path] = ()
) -> tuple[Path, ...]:
    """Where the stacks lie: in the project folder given, else in the nearest folder above the particle file.

    In the project folder they are also looked for by their bare name, without the number that CryoSPARC puts
    before the name of an imported file.

    Parameters
    ----------
    beside
        More files that may lie near the stacks.

    Raises
    ------
    InputError
        If stacks are missing, or links to files that are gone.
    """
    given = [project_dir.resolve()] if project_dir else []
    folders = [*given, *dict.fromkeys(f for file in (source, *beside) for f in file.resolve().parents)]
    plain = [name.replace("\\", "/") for name in names]
    bare = [re.sub(r"^\d{15,}_", "", Path(name).name) for name in plain]
    unique = Counter(bare)
    found, missing = [], []
    for name, short in zip(plain, bare, strict=True):
        places = [folder / name for folder in folders]  # an absolute name stays as it is
        if project_dir and unique[short] == 1:
            places += [project_dir / Path(name).name, project_dir / short]
        place = next((p for p in places if p.is_file()), None)
        if place is None:
            _refuse_dangling(places)
            missing.append(name)
        else:
            found.append(place)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} stacks are missing, first {missing[0]}. "
            f"Looked in {', '.join(map(str, folders))}. Set the project folder (--project-dir)."
        )
    return tuple(found)


def _refuse_dangling(places: list[Path]) -> None:
    for place in places:
        if place.is_symlink():
            raise InputError(f"{place} points to {os.readlink(place)}, which is gone.")


def check_stacks(table: ParticleTable) -> ParticleTable:
    """Look into the header of every stack; where the particle file states no box size, take the stack's.

    Raises
    ------
    InputError
        If a stack cannot be read, lacks an image, or has another box than its optics group.
    """
    shapes = np.array([open_stack(path).shape for path in table.stacks], dtype=np.int64)
    counts, boxes = shapes[table.stack, 0], shapes[table.stack, -1]
    groups = list(table.groups)
    for number in np.unique(table.group):
        mine = np.flatnonzero(table.group == number)
        stated = groups[number].box_size
        box = stated or int(boxes[mine[0]])
        other = mine[boxes[mine] != box]
        if len(other):
            whose = f"{table.source} says" if stated else f"{table.stacks[table.stack[mine[0]]]} is"
            where = table.stacks[table.stack[other[0]]]
            raise InputError(f"{where} is {boxes[other[0]]} px, {whose} {box}.")
        groups[number] = replace(groups[number], box_size=box)
    past = np.flatnonzero(table.image >= counts)
    if len(past):
        row, stack = past[0], table.stacks[table.stack[past[0]]]
        raise InputError(
            f"{table.source} row {table.row[row] + 1} wants image {table.image[row] + 1} of {stack}, "
            f"which has {counts[row]}."
        )
    return replace(table, groups=tuple(groups))
