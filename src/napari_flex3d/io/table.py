"""The particle table: what every particle reader gives, whatever program wrote the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.columns import take_columns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CtfState = Literal["as recorded", "premultiplied", "phase-flipped", "corrected"]
DefocusUnit = Literal["auto", "angstrom", "nanometre", "micrometre"]


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
    optics_groups
        Numbers of the optics groups whose particles are wanted; all when empty.
    map_grid
        Box and pixel size (Å) of the map that goes with the particles.
    """

    project_dir: Path | None = None
    pixel_size: float | None = None
    voltage: float | None = None
    spherical_aberration: float | None = None
    amplitude_contrast: float | None = None
    defocus_unit: DefocusUnit = "auto"
    passthrough: tuple[Path, ...] = ()
    use_class: int | None = None
    optics_groups: tuple[int, ...] = ()
    map_grid: tuple[int, float] | None = None


@dataclass(frozen=True)
class OpticsGroup:
    """What the particles of one optics group share.

    Parameters
    ----------
    number, name
        As in the file.
    box_size, pixel_size
        Of its images as they were recorded, pixels and Å; 0 where nobody says.
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
    box_size: int = 0
    pixel_size: float = 0.0
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
        The grid that all images are brought to, pixels and Å: that of one of the optics groups.
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
        (N) 1 for bright particles, -1 for dark ones, as the file says; 0 where it does not.
    source_particle
        (N) a number for each particle, the same for its copies made by symmetry expansion; None where the file
        does not tell copies apart.
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
    contrast: NDArray[np.int8]
    source_particle: Ints | None = None

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
        return replace(self, **arrays, columns=take_columns(self.columns, index))

    def places(self) -> Ints:
        """One number for each recorded image, (N): equal where rows share an image."""
        return self.stack * (int(self.image.max()) + 1) + self.image

    def particle_numbers(self) -> Ints:
        """Number of the particle that each row shows, (N), without gaps; copies of one have the same."""
        known = self.places() if self.source_particle is None else self.source_particle
        return np.unique(known, return_inverse=True)[1].ravel().astype(np.int64)

    def image_name(self, row: int) -> str:
        """Name the image of a row as RELION does: number from 1, "@", stack."""
        return f"{self.image[row] + 1}@{self.stacks[self.stack[row]]}"
