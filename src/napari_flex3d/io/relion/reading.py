"""Reading RELION's particle tables, version 3.0 to 5."""

import warnings
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.checks import checked
from napari_flex3d.io.columns import without_known
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.grids import on_one_grid, with_pixel_sizes
from napari_flex3d.io.relion.groups import read_group, warn_states
from napari_flex3d.io.relion.labels import ANGLES, ASKED, PARTICLE, RECORDED_BOX, RECORDED_PIXEL
from napari_flex3d.io.star import Columns, parse_integer, parse_numbers, read_star
from napari_flex3d.io.table import (
    Answers,
    CtfState,
    Floats,
    Ints,
    OpticsGroup,
    ParticleTable,
)
from napari_flex3d.ops.rotations import from_euler

_SUBTOMOGRAM = ("rlnTomoParticleName", "rlnCtfImage", "rlnCoordinateZ")
_GROUP_PIXEL = ("rlnImagePixelSize", "rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")


def read_particles(path: Path, answers: Answers | None = None, *, check: bool = True) -> ParticleTable:
    """Particles of a RELION star file.

    Parameters
    ----------
    path
        A file of RELION 3.1 to 5 (tables optics and particles, in either order) or 3.0 (one table).
    answers
        What the person said beyond the file.
    check
        Whether to look for the stacks and into their headers, and whether the values make sense.

    Raises
    ------
    InputError, Question
        For everything in the file that is wrong or missing.
    """
    return _Relion(path, answers or Answers()).table(check)


@dataclass
class _Relion:
    """One reading of a star file: values are looked up in the particle table, then the optics table."""

    path: Path
    answers: Answers

    @cached_property
    def tables(self) -> dict[str, Columns]:
        return read_star(self.path)

    @cached_property
    def particles(self) -> Columns:
        candidates = [name for name, columns in self.tables.items() if "rlnImageName" in columns]
        listed = ", ".join(name or '""' for name in self.tables)
        if "particles" in candidates:
            return self.tables["particles"]
        if not candidates:
            if "particles" in self.tables and not self.tables["particles"]:
                raise InputError(f"{self.path} has no particles.")
            raise InputError(
                f"{self.path} has tables {listed}, none with rlnImageName. "
                "Give a particle star file (data_particles)."
            )
        if len(candidates) > 1:
            raise InputError(
                f"{self.path} has tables {listed}, none with rlnImageName that is called particles. "
                "Give a particle star file (data_particles)."
            )
        return self.tables[candidates[0]]

    @cached_property
    def count(self) -> int:
        return len(self.particles["rlnImageName"])

    @cached_property
    def optics(self) -> Columns | None:
        optics = self.tables.get("optics")
        return optics if optics and optics.get("rlnOpticsGroup") else None

    @cached_property
    def group_of(self) -> Ints:
        """Row of the optics table for each particle, joined by value."""
        if self.optics is None:
            return np.zeros(self.count, dtype=np.int64)
        numbers = [parse_integer(v) for v in self.optics["rlnOpticsGroup"]]
        if "rlnOpticsGroup" not in self.particles:
            if len(numbers) > 1:
                raise InputError(
                    f"{self.path}: {len(numbers)} optics groups but particles carry no rlnOpticsGroup."
                )
            return np.zeros(self.count, dtype=np.int64)
        row_of = {number: row for row, number in enumerate(numbers)}
        wanted = self.number("rlnOpticsGroup").astype(np.int64).tolist()
        unknown = sorted(set(wanted) - set(row_of))
        if unknown:
            raise InputError(
                f"{self.path}: particles use optics group {unknown[0]}, the optics table has "
                f"{', '.join(map(str, numbers))}."
            )
        return np.array([row_of[g] for g in wanted], dtype=np.int64)

    def has(self, label: str) -> bool:
        return label in self.particles or (self.optics is not None and label in self.optics)

    def number(self, label: str, default: float | None = None) -> Floats:
        """Read a column of numbers, one a particle, wherever it stands in the file."""
        if label in self.particles:
            return parse_numbers(self.path, label, self.particles[label])
        if self.optics is not None and label in self.optics:
            return parse_numbers(f"{self.path} optics", label, self.optics[label])[self.group_of]
        if default is None:
            raise InputError(f"{self.path} has no {label}.")
        return np.full(self.count, default)

    def asked(self, label: str) -> Floats:
        """Read a number that the person must give when the file lacks it."""
        name, assumed = ASKED[label]
        answer = getattr(self.answers, name)
        if answer is not None:
            return np.full(self.count, float(answer))
        if not self.has(label):
            raise Question(
                f"{self.path} has no {label}; RELION would assume {assumed}. Enter it.",
                "--" + name.replace("_", "-"),
            )
        return self.number(label)

    def table(self, check: bool) -> ParticleTable:
        if self.count == 0:
            raise InputError(f"{self.path} has no particles.")
        self._refuse_volumes()
        image, names, stack = self._images()
        pixel_size = self._pixel_size(check)
        group, groups = with_pixel_sizes(self.group_of, self._groups(check), pixel_size)
        table = ParticleTable(
            source=self.path,
            box_size=0,
            pixel_size=0.0,
            rotation=self._rotation(),
            shift=self._shift(pixel_size, check),
            **self._ctf(),
            scale=self.number("flexScale", 1.0),
            half=self._half(check),
            group=group,
            groups=groups,
            micrograph=_numbered(self.particles.get("rlnMicrographName"), self.count),
            stack=stack,
            stacks=tuple(map(Path, names)),
            image=image,
            row=self._row(check),
            columns=without_known(self.particles),
            contrast=np.zeros(self.count, dtype=np.int8),  # a star file does not say
            source_particle=self._source_particle(check),
        )
        if check:
            return checked(table, self.answers)
        return _as_recorded(on_one_grid(table, self.answers, check=False))

    def _row(self, check: bool) -> Ints:
        """Rows of this file; of a file that we wrote, the rows of the user's own file."""
        if check or "flexSourceRow" not in self.particles:
            return np.arange(self.count)
        return self.number("flexSourceRow").astype(np.int64)

    def _source_particle(self, check: bool) -> Ints | None:
        """Numbers that tell copies of a particle, of a file that we wrote."""
        if check or PARTICLE not in self.particles:
            return None
        return self.number(PARTICLE).astype(np.int64)

    def _refuse_volumes(self) -> None:
        told = self.has("rlnImageDimensionality") and np.any(self.number("rlnImageDimensionality") == 3)
        sign = next((label for label in _SUBTOMOGRAM if label in self.particles), None)
        if not told and sign is not None:
            self._images()  # names without "@" say more than the label
        if told or sign is not None:
            why = "rlnImageDimensionality 3" if told else str(sign)
            raise InputError(f"{self.path} describes 3D subtomograms ({why}). Use single-particle images.")

    def _images(self) -> tuple[Ints, list[str], Ints]:
        """Image number from 0, the stacks' names, and the stack of each particle."""
        stacks: dict[str, int] = {}
        image, stack = array("q"), array("q")
        for row, value in enumerate(self.particles["rlnImageName"]):
            number, at, name = value.partition("@")
            if not at or not number.isdecimal() or not name:
                raise InputError(
                    f'{self.path} row {row + 1}: "{value}" has no "index@stack"; '
                    "subtomograms are not supported."
                )
            if not number.strip("0"):
                raise InputError(f'{self.path} row {row + 1}: "{value}": index starts at 1.')
            image.append(int(number))
            stack.append(stacks.setdefault(name, len(stacks)))
        return np.array(image, dtype=np.int64) - 1, list(stacks), np.array(stack, dtype=np.int64)

    def _pixel_size(self, check: bool) -> Floats:
        """Pixel size of the images of each particle, Å."""
        if self.answers.pixel_size is not None:
            return np.full(self.count, self.answers.pixel_size)
        sizes = self._stated_pixel_size(check)
        if not np.all(sizes > 0):
            raise InputError(
                f"{self.path}: a pixel size of {sizes.min():g} Å. Enter the pixel size (--pixel-size)."
            )
        return sizes

    def _stated_pixel_size(self, check: bool) -> Floats:
        for label in _GROUP_PIXEL:
            if self.optics is not None and label in self.optics:
                if check and label != "rlnImagePixelSize":
                    _warn(
                        f"{self.path} has no rlnImagePixelSize; {label} is used, wrong if the particles are "
                        "binned."
                    )
                return parse_numbers(f"{self.path} optics", label, self.optics[label])[self.group_of]
        for label in ("rlnImagePixelSize", "rlnPixelSize"):
            if label in self.particles:
                return self.number(label)
        if self.has("rlnDetectorPixelSize") and self.has("rlnMagnification"):
            return 1e4 * self.number("rlnDetectorPixelSize") / self.number("rlnMagnification")
        raise Question(
            f"{self.path}: no rlnImagePixelSize, nor detector pixel size and magnification. "
            "Enter the pixel size.",
            "--pixel-size",
        )

    def _rotation(self) -> Floats:
        missing = [label for label in ANGLES if label not in self.particles]
        if missing:
            raise InputError(f"{self.path} has no rlnAngleRot/Tilt/Psi. A finished 3D refinement is needed.")
        angles = np.stack([self.number(label) for label in ANGLES], axis=-1)
        unset = int(np.count_nonzero((angles == -999).any(1)))
        if unset:
            raise InputError(f"{unset} of {self.count} poses are unset.")
        return from_euler(np.deg2rad(angles))

    def _shift(self, pixel_size: Floats, check: bool) -> Floats:
        in_angstrom = [f"rlnOrigin{axis}Angst" for axis in "XY"]
        in_pixels = [f"rlnOrigin{axis}" for axis in "XY"]
        has_angstrom = all(label in self.particles for label in in_angstrom)
        has_pixels = all(label in self.particles for label in in_pixels)
        if not has_angstrom and not has_pixels:
            if check:
                _warn(f"{self.path} has no rlnOriginXAngst/YAngst; all shifts are taken as zero.")
            return np.zeros((self.count, 2))
        shift = np.zeros((self.count, 2))
        if has_pixels:
            shift = np.stack([self.number(label) for label in in_pixels], axis=-1) * pixel_size[:, None]
        if has_angstrom:
            other, shift = shift, np.stack([self.number(label) for label in in_angstrom], axis=-1)
            apart = np.abs(shift - other).max(1)
            rows = int(np.count_nonzero(apart > 0.01 * pixel_size))
            if has_pixels and rows and check:
                _warn(
                    f"rlnOriginX*{pixel_size[0]:g} and rlnOriginXAngst differ by {apart.max():.3g} Å "
                    f"in {rows} rows; the Å columns are used."
                )
        return shift

    def _ctf(self) -> dict[str, Floats]:
        corrected = all(state == "corrected" for state in self._states().values())
        if not self.has("rlnDefocusU") and not corrected:
            raise InputError(f"{self.path} has no rlnDefocusU. A CTF estimate of every particle is needed.")
        u = self.number("rlnDefocusU", 0.0)
        return {
            "defocus_u": u,
            "defocus_v": self.number("rlnDefocusV") if self.has("rlnDefocusV") else u,
            "defocus_angle": np.deg2rad(self.number("rlnDefocusAngle", 0.0)),
            "phase_shift": np.deg2rad(self.number("rlnPhaseShift", 0.0)),
            "bfactor": self.number("rlnCtfBfactor", 0.0),
            "ctf_scale": self.number("rlnCtfScalefactor", 1.0),
            "voltage": self.asked("rlnVoltage"),
            "spherical_aberration": self.asked("rlnSphericalAberration"),
            "amplitude_contrast": self.asked("rlnAmplitudeContrast"),
        }

    def _half(self, check: bool) -> NDArray[np.int8]:
        if not self.has("rlnRandomSubset"):
            return np.full(self.count, -1, dtype=np.int8)
        subset = self.number("rlnRandomSubset")
        if check and set(np.unique(subset)) != {1.0, 2.0}:
            return np.full(self.count, -1, dtype=np.int8)
        return (subset - 1).astype(np.int8)

    def _states(self) -> dict[int, CtfState]:
        """Say what was done about the CTF, for each optics group in use."""
        flags: dict[str, CtfState] = {
            "rlnCtfDataAreCtfCorrected": "corrected",
            "rlnCtfDataArePhaseFlipped": "phase-flipped",
            "rlnCtfDataAreCtfPremultiplied": "premultiplied",
        }
        states: dict[int, CtfState] = dict.fromkeys(np.unique(self.group_of).tolist(), "as recorded")
        for label, state in flags.items():
            if self.has(label):
                set_rows = self.number(label) == 1
                states |= dict.fromkeys(np.unique(self.group_of[set_rows]).tolist(), state)
        return states

    def _groups(self, check: bool) -> tuple[OpticsGroup, ...]:
        states = self._states()
        if check:
            warn_states(set(states.values()))
        if self.optics is None:
            box = parse_integer(self.particles.get("rlnImageSize", ["0"])[0])
            return (OpticsGroup(ctf_state=states[0], box_size=box),)
        rows = [
            {label: values[r] for label, values in self.optics.items()}
            for r in range(len(self.optics["rlnOpticsGroup"]))
        ]
        return tuple(
            read_group(self.path, row, states[r], check=check)
            if r in states
            else OpticsGroup(parse_integer(row["rlnOpticsGroup"]))
            for r, row in enumerate(rows)
        )


def _as_recorded(table: ParticleTable) -> ParticleTable:
    """Give the groups of a file that prep wrote pixel and box of the recorded images again."""

    def number(group: OpticsGroup, label: str, default: float) -> float:
        text = group.columns.get(label)
        return float(parse_numbers(table.source, label, [text])[0]) if text else default

    groups = [
        replace(
            group,
            pixel_size=number(group, RECORDED_PIXEL, group.pixel_size),
            box_size=int(number(group, RECORDED_BOX, group.box_size)),
        )
        for group in table.groups
    ]
    return replace(table, groups=tuple(groups))


def _numbered(names: Sequence[str] | None, count: int) -> Ints:
    """Give every distinct name a number; -1 where there are none."""
    if names is None:
        return np.full(count, -1, dtype=np.int64)
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def _warn(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=3)
