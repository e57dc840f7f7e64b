"""Memory and disk that a stage needs, counted from the sizes of its input before anything is allocated."""

import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import input_of, read_job

PROGRAM = 700_000_000
"""Bytes of the program and its libraries."""

MODES = 126
"""Elastic modes of a flow generator."""

NETWORK = 600_000
"""Bytes of a checkpoint's weights of a flow generator of the default size, their average and Adam's moments."""

ON_GPU = 64_000_000
"""What libraries and a recorded step hold of a GPU's memory; with it an H100's was met within a factor of 1.3."""

PICTURES = 100_000
"""Bytes of a job's pictures, record and log."""


MOST_GROUPS, FEWEST_SHARING = 24, 200
"""Shared deformations of a half-set at most, and particles that share one at least on average."""


def most_groups(particles: int) -> int:
    """Deformations at most that so many particles share in the solver of "reconstruct"."""
    return max(1, min(MOST_GROUPS, particles // FEWEST_SHARING))


@dataclass(frozen=True)
class Sizes:
    """What the needs of a stage follow from.

    Parameters
    ----------
    particles
        Images.
    train_box, crop_box
        Pixels.
    mask_share
        Share of the box that the mask fills.
    vertices
        Of the mesh.
    latent_dims
        Latent coordinates of a particle.
    """

    particles: int
    train_box: int
    crop_box: int
    mask_share: float
    vertices: int
    latent_dims: int = 2

    def voxels(self, box: int) -> int:
        """Voxels of the mask on a box."""
        return round(self.mask_share * box**3)

    @property
    def groups(self) -> int:
        """Deformations that the particles of a half-set share at most."""
        return most_groups(self.particles // 2)

    @property
    def batch(self) -> int:
        """Particles in a step of training."""
        return min(max(self.particles // 200, 8), 64)


@dataclass(frozen=True)
class Need:
    """Bytes at most: of memory, of memory on a GPU if one computes, of disk."""

    memory: int
    device_memory: int
    disk: int


def sizes_of(mesh_job: Path, latent_dims: int = 2) -> Sizes:
    """Sizes that a mesh job and its prep job wrote down."""
    prep, mesh = read_job(input_of(mesh_job, "prep")).summary, read_job(mesh_job).summary
    sizes = Sizes(
        int(prep["particles"]),
        int(prep["train_box"]),
        int(prep["crop_box"]),
        float(mesh["mask_share"]),
        int(mesh["vertices"]),
    )
    return replace(sizes, latent_dims=latent_dims)


def of_training(sizes: Sizes, epochs: int) -> Need:
    """What the stage "train" needs: counted are the arrays that grow with particles, box, mask, mesh or batch."""
    dims, n = sizes.latent_dims, sizes.train_box
    latents = 4 * sizes.particles * (dims + dims**2)
    modes = 4 * MODES * 3 * sizes.vertices
    table = 600 * sizes.particles
    maps = 30 * n**3 + 20 * sizes.crop_box**3
    tied = 100 * sizes.voxels(n) + min(sizes.voxels(n), 20_000) * 24 * 25 * 8 + 400 * sizes.voxels(n)
    springs = 300 * round((3 * sizes.vertices) ** (4 / 3))
    batch = sizes.batch * (
        n**2 * 40 + round((1.5 * n) ** 2) * 12 * (1 + dims) + 60 * sizes.vertices * (1 + dims)
    )
    checkpoint = 2 * latents + 3 * modes + NETWORK + 2 * sizes.particles + 5 * n**3 + 8 * sizes.voxels(n)
    disk = epochs * checkpoint + 4 * n**3 + 230 * sizes.particles + PICTURES
    memory = PROGRAM + table + 4 * latents + 5 * modes + maps + tied + springs + batch
    on_device = ON_GPU + 4 * modes + 30 * n**3 + 100 * sizes.voxels(n) + round(1.2 * batch)
    return Need(memory, on_device, disk)


def of_reconstruction(sizes: Sizes, *, rigid_twin: bool = True) -> Need:
    """What the stage "reconstruct" needs: the solver's last steps, shared deformations, maps to correlate."""
    n, voxels = sizes.crop_box, sizes.voxels(sizes.crop_box)
    table = 600 * sizes.particles
    batch = 32 * (n**2 * 40 + round((1.5 * n) ** 2) * 16)
    maps = 140 * n**3
    solver = (2 * 10 + 12) * 4 * voxels + 500 * voxels + 2 * sizes.groups * n**3
    volumes = (8 if rigid_twin else 4) * 4 * n**3
    memory = PROGRAM + table + batch + maps + solver + volumes
    # voxels on their mesh and vectors of the solver, shared deformations, one product, voxels a part at a time
    on_device = 100 * voxels + 2 * sizes.groups * n**3 + 24 * n**3 + 300_000_000 + 2 * batch
    return Need(memory, on_device, volumes + 12 * n**3 + 24 * 4 * voxels + PICTURES)


def of_series(sizes: Sizes, volumes: int, box: int) -> Need:
    """What the stage "generate" needs."""
    one = 4 * box**3
    return Need(PROGRAM + 12 * one + 200 * sizes.voxels(box), 0, volumes * one)


def available_memory() -> int:
    """Bytes that a new program may take without pushing others out."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else []
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                found.append(int(line.split()[1]) * 1024)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    with contextlib.suppress(OSError, ValueError):  # no limit
        found.append(int(limit.read_text()) - int(used.read_text()))
    return min(found, default=2**63)


def free_disk(folder: Path) -> int:
    """Bytes free where a folder is or will be."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def in_words(size: float) -> str:
    """A number of bytes as people say it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def remedy(stage: str, sizes: Sizes) -> str:
    """Which parameter to lower, and to what, when a stage does not fit."""
    if stage == "train" and sizes.particles > 1_000_000 and sizes.particles > sizes.train_box**3:
        return f"Lower max_particles of prep (now {sizes.particles})"
    if stage == "train" and sizes.train_box**3 > sizes.crop_box**3 / 2:
        return f"Lower train_box of prep (now {sizes.train_box}), say to {sizes.train_box // 4 * 2}"
    return f"Lower crop_box of prep (now {sizes.crop_box}), say to {sizes.crop_box * 3 // 8 * 2}"


def check(stage: str, need: Need, sizes: Sizes, out: Path) -> None:
    """Refuse what cannot be held.

    Raises
    ------
    InputError
        If memory or disk are too small.
    """
    memory, disk = available_memory(), free_disk(out)
    if need.memory > memory:
        raise InputError(
            f"{stage} needs about {in_words(need.memory)} of memory, {in_words(memory)} are free. "
            f"{remedy(stage, sizes)}, or use a larger machine."
        )
    if need.disk > disk:
        raise InputError(
            f"{stage} writes about {in_words(need.disk)} to {out}, {in_words(disk)} are free there. "
            "Make room, or give a folder on another disk (-o)."
        )
