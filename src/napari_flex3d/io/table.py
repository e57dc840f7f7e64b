"""The particle table: what every particle reader gives, whatever program wrote the file."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.mrc import open_stack

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CtfState = Literal["as recorded", "premultiplied", "phase-flipped", "corrected"]
DefocusUnit = Literal["auto", "angstrom", "nanometre", "micrometre"]

_DEFOCUS_FACTOR = {"auto": 1.0, "angstrom": 1.0, "nanometre": 10.0, "micrometre": 1e4}


@dataclass(frozen=True)
class Answers:
    """What a person says about the particles beyond what their file says; None leaves it to the file.

    Parameters
    ----------
    project_dir
        Folder that the stack names are relative to.
    pixel_size
        Å.
    voltage, spherical_aberration, amplitude_contrast
        kV, mm, fraction.
    defocus_unit
        Unit of the defocus columns; "auto" takes Å and asks when the numbers make no sense.
    passthrough
        CryoSPARC's files with the columns that the particle file lacks.
    use_class
        Number of the class whose poses are wanted, from 0, where CryoSPARC's file has several.
    """

    project_dir: Path | None = None
    pixel_size: float | None = None
    voltage: float | None = None
    spherical_aberration: float | None = None
    amplitude_contrast: float | None = None
    defocus_unit: DefocusUnit = "auto"
    passthrough: tuple[Path, ...] = ()
    use_class: int | None = None


@dataclass(frozen=True)
class OpticsGroup:
    """What the particles of one optics group share.

    Parameters
    ----------
    number, name
        As in the file.
    magnification
        RELION's matrix M (2, 2): recorded frequency to true frequency.
    beam_tilt
        (x, y), mrad.
    odd, even
        Zernike coefficients of the aberrations, RELION's order.
    ctf_state
        What has been done about the CTF in the images.
    columns
        The group's row in the input file, label to text.
    """

    number: int = 1
    name: str = "opticsGroup1"
    magnification: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    odd: tuple[float, ...] = ()
    even: tuple[float, ...] = ()
    ctf_state: CtfState = "as recorded"
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParticleTable:
    """Particles in our conventions: lengths in Å, angles in radians, one row a particle.

    Parameters
    ----------
    source
        The file it was read from.
    box_size, pixel_size
        Pixels and Å of every image.
    rotation
        (N, 3, 3), map to image.
    shift
        (N, 2), Å; added to the image it centres the particle.
    defocus_u, defocus_v, defocus_angle, phase_shift, bfactor, ctf_scale
        (N) parameters of `napari_flex3d.ops.ctf.ctf`.
    voltage, spherical_aberration, amplitude_contrast
        (N) kV, mm, fraction.
    scale
        (N) contrast of each particle relative to the others, apart from the CTF.
    half
        (N) half set 0 or 1; -1 where the file does not say.
    group, groups
        Optics group of each particle, an index into the groups.
    micrograph
        (N) number of the particle's micrograph; all -1 where the file does not say.
    stack, stacks, image
        The image is number ``image`` (from 0) of file ``stacks[stack]``.
    row
        (N) row of the input file, from 0.
    columns
        The input's own columns, RELION's label to text, to be written out again.
    contrast
        1 for bright particles, -1 for dark ones, as the file says; 0 where it does not.
    """

    source: Path
    box_size: int
    pixel_size: float
    rotation: Floats
    shift: Floats
    defocus_u: Floats
    defocus_v: Floats
    defocus_angle: Floats
    phase_shift: Floats
    bfactor: Floats
    ctf_scale: Floats
    voltage: Floats
    spherical_aberration: Floats
    amplitude_contrast: Floats
    scale: Floats
    half: NDArray[np.int8]
    group: Ints
    groups: tuple[OpticsGroup, ...]
    micrograph: Ints
    stack: Ints
    stacks: tuple[Path, ...]
    image: Ints
    row: Ints
    columns: Mapping[str, Sequence[str]]
    contrast: int = 0

    def __len__(self) -> int:
        """Count the particles."""
        return len(self.row)

    def take(self, rows: NDArray[Any]) -> "ParticleTable":
        """Keep the particles of these rows (indices, or one truth value a row)."""
        index = np.arange(len(self))[rows]
        arrays = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        columns = {label: [values[i] for i in index] for label, values in self.columns.items()}
        return replace(self, **arrays, columns=columns)

    def image_name(self, row: int) -> str:
        """Name the image of a row as RELION does: number from 1, "@", stack."""
        return f"{self.image[row] + 1}@{self.stacks[self.stack[row]]}"


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


def check_stacks(table: ParticleTable, stated_box: int | None) -> ParticleTable:
    """Look into the header of every stack; the box size is what the files say.

    Raises
    ------
    InputError
        If a stack cannot be read, lacks an image, or has another box than the particle file or the rest.
    """
    counts = np.empty(len(table.stacks), dtype=np.int64)
    box = stated_box
    for number, path in enumerate(table.stacks):
        shape = open_stack(path).shape
        if box is not None and shape[-1] != box:
            whose = f"{table.source} says" if stated_box else f"{table.stacks[0]} is"
            raise InputError(f"{path} is {shape[-1]} px, {whose} {box}.")
        box = shape[-1]
        counts[number] = shape[0]
    past = np.flatnonzero(table.image >= counts[table.stack])
    if len(past):
        row, stack = past[0], table.stack[past[0]]
        raise InputError(
            f"{table.source} row {row + 1} wants image {table.image[row] + 1} of {table.stacks[stack]}, "
            f"which has {counts[stack]}."
        )
    return replace(table, box_size=box or table.box_size)


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
    limit = table.box_size * table.pixel_size / 2
    far = int(np.count_nonzero(np.hypot(*table.shift.T) > limit))
    if far:
        raise InputError(
            f"{far} shifts exceed {limit:g} Å, more than half the box: wrong unit or pixel size?"
        )
    factor = _DEFOCUS_FACTOR[unit]
    table = replace(table, defocus_u=table.defocus_u * factor, defocus_v=table.defocus_v * factor)
    median = float(np.median((table.defocus_u + table.defocus_v) / 2))
    modelled = any(group.ctf_state != "corrected" for group in table.groups)
    if unit == "auto" and modelled and not 3000 <= median <= 60000:
        raise Question(f"Median defocus {median:g} Å; expected 3000-60000. Unit?", "--defocus-unit")
    return table


def one_pixel_size(groups: Sequence[str], sizes: Sequence[float], boxes: Sequence[int | None]) -> float:
    """Find the pixel size that all groups share.

    Raises
    ------
    InputError
        If pixel or box differ between groups.
    """
    if np.ptp(sizes) > 1e-4 * max(sizes) or len(set(boxes)) > 1:
        rows = [
            f"{group}: {size:g} Å" + (f", {box} px" if box else "")
            for group, size, box in zip(groups, sizes, boxes, strict=True)
        ]
        listed = "; ".join(rows[:8]) + ("; ..." if len(rows) > 8 else "")
        raise InputError(f"Optics groups differ: {listed}. Re-scale to one box and pixel, or choose groups.")
    return float(sizes[0])


def split_halves(table: ParticleTable, seed: int) -> tuple[ParticleTable, bool]:
    """Give every particle a half set: the file's own, or else a split by micrograph.

    Whole micrographs go to one half; with fewer than ten, or none named, single images are drawn instead.
    Images that occur more than once always stay together.

    Returns
    -------
    The table, and whether the split is new.
    """
    _, source_image = np.unique(np.stack([table.stack, table.image]), axis=1, return_inverse=True)
    source_image = source_image.ravel()
    repeats = len(table) - int(source_image.max()) - 1
    if repeats:
        warnings.warn(
            f"{repeats} images occur more than once; half sets are split by source image.",
            InputWarning,
            stacklevel=2,
        )
    named = set(table.half.tolist()) == {0, 1}
    low, high = np.full((2, source_image.max() + 1), 2), np.full(source_image.max() + 1, -1)
    if named:
        low = np.full(source_image.max() + 1, 2)
        np.minimum.at(low, source_image, table.half)
        np.maximum.at(high, source_image, table.half)
        if np.array_equal(low, high):
            return table, False
        return replace(table, half=low[source_image].astype(np.int8)), False
    warnings.warn(
        f"No half sets: a new split by micrograph (seed {seed}) is used and saved.",
        InputWarning,
        stacklevel=2,
    )
    _, unit = np.unique(table.micrograph, return_inverse=True)
    if unit.max() + 1 < 10:
        unit = source_image
    return replace(table, half=_balanced(unit.ravel(), seed)), True


def _balanced(unit: NDArray[np.intp], seed: int) -> NDArray[np.int8]:
    """Units in random order, each to the half that has fewer members so far."""
    sizes = np.bincount(unit)
    half_of = np.zeros(len(sizes), dtype=np.int8)
    total = [0, 0]
    for number in np.random.default_rng(seed).permutation(len(sizes)):
        smaller = int(total[1] < total[0])
        half_of[number] = smaller
        total[smaller] += int(sizes[number])
    return half_of[unit]
