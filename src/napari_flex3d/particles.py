"""Particles of a prep job: images mapped from disk, poses and optics in memory, batches for the model."""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import open_stack
from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.table import CtfState, OpticsGroup, ParticleTable
from napari_flex3d.ops.aberrations import beam_tilt_phase, zernike_phase
from napari_flex3d.ops.ctf import ctf_phase, envelope, phase_basis
from napari_flex3d.ops.fourier import cropped_rfft2, frequencies, shift_phase

Floats = NDArray[np.float32]
StackName = Literal["train", "full"]

POSES = "poses.npz"
"""In a training job: what its poses were off by."""

STACKS: dict[StackName, str] = {"train": "particles_train.mrcs", "full": "particles.mrcs"}


@dataclass(frozen=True)
class ParticleBatch:
    """Images of some particles and what their model needs: image = transfer * projection.

    Parameters
    ----------
    transform
        `napari_flex3d.ops.fourier.rfft2` of the images, (B, n, n // 2 + 1).
    transfer
        The particle's scale times its CTF times the phase of its shift, same shape.
    rotation
        (B, 3, 3) map to image; a magnification matrix is part of it.
    """

    transform: Tensor
    transfer: Tensor
    rotation: Tensor

    def times(self, factor: Tensor) -> "ParticleBatch":
        """Images and model times a real factor (n, n // 2 + 1), such as one over the noise's amplitude."""
        return ParticleBatch(self.transform * factor, self.transfer * factor, self.rotation)

    def first(self, count: int) -> "ParticleBatch":
        """The first few particles."""
        return ParticleBatch(self.transform[:count], self.transfer[:count], self.rotation[:count])


class Particles:
    """Particles of a prep job. Images stay on disk until a batch asks for them.

    Parameters
    ----------
    images
        (M, n, n), sign, norm and box as `prep` wrote them; float16.
    table
        Poses and optics of N particles; ``image`` says which image each has, and copies of a particle share one.
    pixel_size
        Å.
    noise
        Noise power of a coefficient of `napari_flex3d.ops.fourier.rfft2` in each shell, (n // 2 + 1).
    map_scale
        Consensus map times this is in the images' units.
    """

    def __init__(
        self,
        images: NDArray[np.float16],
        table: ParticleTable,
        pixel_size: float,
        noise: Floats,
        map_scale: float,
    ) -> None:
        self.images = images
        self.table = table
        self.pixel_size = pixel_size
        self.noise = noise
        self.map_scale = map_scale
        self.box_size = int(images.shape[-1])
        self.rotation = table.rotation.astype(np.float32)
        self.shift = table.shift.astype(np.float32)
        self.half = table.half.astype(np.uint8)
        self.scale = table.scale.astype(np.float32)
        self.source_row = table.row
        self.number = table.particle_numbers()
        """(N) the same for the copies of one particle, which must not be judged by one another."""
        self._optics: Optics | None = None

    @classmethod
    def open(cls, job: Path, stack: StackName = "train") -> Self:
        """Open the particles of a prep job at the training box or at the full crop box.

        Raises
        ------
        InputError
            If the folder lacks a file of a finished prep job.
        """
        for name in ("particles.star", STACKS[stack], "noise.csv", "check.json"):
            if not (job / name).is_file():
                raise InputError(f"{job} has no {name}: it is no finished prep job. Run flex3d prep again.")
        table = read_particles(job / "particles.star", check=False)
        images = open_stack(job / STACKS[stack])
        if len(images) != table.image.max() + 1:
            raise InputError(
                f"{job / STACKS[stack]} has {len(images)} images, particles.star asks for {table.image.max() + 1}."
            )
        pixel_size = table.pixel_size * table.box_size / images.shape[-1]
        scale = json.loads((job / "check.json").read_text())["map_scale"][stack]
        return cls(images, table, pixel_size, _read_noise(job / "noise.csv", stack), float(scale))

    def __len__(self) -> int:
        """Count the particles, copies too."""
        return len(self.table)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Some of the particles; the images stay where they are."""
        return type(self)(self.images, self.table.take(rows), self.pixel_size, self.noise, self.map_scale)

    def posed(self, turn: Floats, shift: Floats) -> Self:
        """With other poses: turned (N, 3) about the images' axes, radians, and moved (N, 2) in them, Å."""
        rotation = Rotation.from_rotvec(turn).as_matrix() @ self.table.rotation
        table = replace(self.table, rotation=rotation, shift=self.table.shift - shift)
        return type(self)(self.images, table, self.pixel_size, self.noise, self.map_scale)

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Images of some rows, (B, n, n) float32, read in the order in which they lie on the disk."""
        wanted = self.table.image[rows]
        order = np.argsort(wanted)
        images = np.empty((len(rows), self.box_size, self.box_size), dtype=np.float32)
        images[order] = self.images[wanted[order]]
        return torch.from_numpy(images)

    def batch(
        self,
        indices: NDArray[np.int64] | list[int],
        device: torch.device | str = "cpu",
        *,
        box: int | None = None,
        images: Tensor | None = None,
    ) -> ParticleBatch:
        """Read some images and compute their transfer functions.

        Parameters
        ----------
        indices
            Rows.
        box
            Even box over the same field whose frequencies are wanted; that of the images when not given. The
            numbers stay those of the images' own transform.
        images
            The images, if they were `read` before.
        """
        rows = np.asarray(indices)
        found = (self.read(rows) if images is None else images).to(device)
        transform = cropped_rfft2(found, box or self.box_size)
        transfer, rotation = self.optics(rows, device, box=box)
        return ParticleBatch(transform, transfer, rotation)

    def optics(
        self, rows: NDArray[np.int64], device: torch.device | str = "cpu", *, box: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Transfer functions, the particles' scale included, and rotations of some rows."""
        box, device = box or self.box_size, torch.device(device)
        if self._optics is None or (self._optics.box_size, self._optics.device) != (box, device):
            self._optics = Optics(self.table, box, self.pixel_size * self.box_size / box, device)
        scale = torch.from_numpy(self.scale[rows]).to(device)
        return self._optics.transfer(rows).mul_(scale[:, None, None]), self._optics.rotation(rows).to(device)

    def batches(
        self,
        parts: Iterable[NDArray[np.int64]],
        device: torch.device | str = "cpu",
        *,
        box: int | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], ParticleBatch]]:
        """Rows and batch of each part; the next part's images are read while one is in use."""
        with ThreadPoolExecutor(1, thread_name_prefix="images") as reader:
            ahead: deque[tuple[NDArray[np.int64], Future[Tensor]]] = deque()
            for rows in chain(parts, [None]):
                if rows is not None:
                    ahead.append((rows, reader.submit(self.read, rows)))
                if len(ahead) > int(rows is not None):
                    now, images = ahead.popleft()
                    yield now, self.batch(now, device, box=box, images=images.result())


class Optics:
    """The microscope's part of the image model, for images of one box and pixel over the table's field.

    Parameters
    ----------
    table
        Particles and optics groups.
    box_size, pixel_size
        Of the images.
    device
        Where transfer functions are computed.

    Notes
    -----
    Aberrations and CTF are taken at ``M k``, M being RELION's magnification matrix; an atom at v then
    appears at ``M^T (A v)_xy``. Frequencies that a group was recorded without, its pixels being larger than
    the table's, are 0.
    """

    def __init__(
        self, table: ParticleTable, box_size: int, pixel_size: float, device: torch.device | str = "cpu"
    ) -> None:
        self.box_size = box_size
        self.device = torch.device(device)
        self._table = table
        self._pixel_size = pixel_size
        names = (
            "defocus_u defocus_v defocus_angle voltage spherical_aberration amplitude_contrast phase_shift "
            "bfactor ctf_scale"
        )
        self._ctf = torch.from_numpy(np.stack([getattr(table, n) for n in names.split()]).astype(np.float32))
        self._shift = torch.from_numpy((table.shift / pixel_size).astype(np.float32))
        self._cycles = frequencies(box_size, self.device)  # per pixel
        self._plates = {int(g): self._plate(int(g)) for g in np.unique(table.group)}

    def rotation(self, rows: NDArray[np.int64]) -> Tensor:
        """Rotations (B, 3, 3) with the magnification matrix worked in."""
        rotation = self._table.rotation[rows].copy()
        for group in np.unique(self._table.group[rows]):
            mine = self._table.group[rows] == group
            matrix = np.array(self._table.groups[group].magnification)
            rotation[mine, :2] = np.einsum("ji,bjk->bik", matrix, rotation[mine, :2])
        return torch.from_numpy(rotation.astype(np.float32))

    def transfer(self, rows: NDArray[np.int64]) -> Tensor:
        """CTF times shift phase, (B, n, n // 2 + 1)."""
        phase = shift_phase(self._cycles, self._shift[rows].to(self.device))
        groups = self._table.group[rows]
        there = np.unique(groups)
        for group in there:
            plate = self._plates[int(group)]
            if len(there) == 1:
                return plate.times(phase, self._ctf[:, rows])
            mine = np.flatnonzero(groups == group)
            phase[mine] = plate.times(phase[mine], self._ctf[:, rows[mine]])
        return phase

    def _plate(self, number: int) -> "_Plate":
        group = self._table.groups[number]
        first = int(np.flatnonzero(self._table.group == number)[0])
        per_angstrom = self._cycles / self._pixel_size
        frequency = per_angstrom @ torch.tensor(group.magnification, dtype=torch.float32).T.to(self.device)
        is_coarser = group.pixel_size > 1.0001 * self._table.pixel_size
        inside = (per_angstrom.abs() < 0.5 / group.pixel_size).all(-1) if is_coarser else None
        voltage, aberration = self._table.voltage[first], self._table.spherical_aberration[first]
        return _Plate.of(group, frequency, inside, float(voltage), float(aberration))


@dataclass(frozen=True)
class _Plate:
    """CTF and aberrations of one optics group.

    ``basis`` is that of the CTF's phase (`phase_basis`); ``inside`` says where the images have frequencies, None for
    everywhere; odd (a factor) and even (a phase) are None where there are no such terms.
    """

    basis: Tensor
    inside: Tensor | None
    odd: Tensor | None
    even: Tensor | None
    state: CtfState

    @classmethod
    def of(
        cls,
        group: OpticsGroup,
        frequency: Tensor,
        inside: Tensor | None,
        voltage: float,
        spherical_aberration: float,
    ) -> "_Plate":
        odd = zernike_phase(frequency, group.odd, odd=True) if any(group.odd) else None
        even = zernike_phase(frequency, group.even, odd=False) if any(group.even) else None
        if any(group.beam_tilt):
            tilt = beam_tilt_phase(frequency, group.beam_tilt, voltage, spherical_aberration)
            odd = tilt if odd is None else odd + tilt
        factor = None if odd is None else torch.polar(torch.ones_like(odd), odd)
        return cls(phase_basis(frequency), inside, factor, even, group.ctf_state)

    def times(self, phase: Tensor, parameters: Tensor) -> Tensor:
        """A complex factor (B, n, n // 2 + 1), which changes, times the transfer of CTF parameters (9, B)."""
        if self.state != "corrected":
            torch.view_as_real(phase).mul_(self._contrast(parameters)[..., None])
        if self.inside is not None:
            phase *= self.inside
        if self.odd is not None:
            phase *= self.odd
        return phase

    def _contrast(self, parameters: Tensor) -> Tensor:
        gamma = ctf_phase(self.basis, *parameters[:7].to(self.basis))
        if self.even is not None:
            gamma += self.even
        value = gamma.sin_().mul_(-envelope(self.basis[1], *parameters[7:]))
        if self.state == "phase-flipped":
            return value.abs_()
        return value.square_() if self.state == "premultiplied" else value


def _read_noise(path: Path, stack: StackName) -> Floats:
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stack"] == stack]
    return np.array([float(row["power"]) for row in rows], dtype=np.float32)
