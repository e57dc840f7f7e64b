"""The stage "motions": what the particles say of motion before any training, and how much rigidity they want."""

import csv
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_flex3d.devices import DeviceName, choose_device
from napari_flex3d.fit import Setup, set_up
from napari_flex3d.fit.motions import Motions, find_motions
from napari_flex3d.fit.rigidity import Trial
from napari_flex3d.fit.start import in_words
from napari_flex3d.fit.state import at_rest
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.jobs import input_of
from napari_flex3d.mesh import TetMesh
from napari_flex3d.ops.fourier import resample3
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.particles import Particles
from napari_flex3d.progress import Progress

FEWEST = 20
"""Particles at least."""


@dataclass(frozen=True, kw_only=True)
class MotionsParams(Params):
    """Parameters of the stage "motions"."""

    mesh: Path = param(REQUIRED, "The mesh job.", positional=True, path="job")
    held_out: float = param(
        5.0,
        "Share of the particles that training will hold out; they are not looked at.",
        unit="%",
        low=0,
        high=50,
    )
    device: DeviceName = param("auto", "Where to compute; auto is a CUDA GPU if there is one.")
    seed: int = param(0, "Seed of everything random.", low=0, high=2**31 - 1, advanced=True)


def motions(params: MotionsParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Look for motions among the particles of a mesh job, by a linear model and in one pass.

    Writes ``motions.csv``, ``motions.npz`` and ``motions.png``; a training of the same mesh job with the same seed
    and held-out share finds the same and starts from them.

    Raises
    ------
    InputError
        If the device is not there or there are too few particles.
    """
    particles, density, mask = open_particles(params.mesh)
    yield Progress(0, 0, f"{len(particles)} particles: looking for motions")
    mesh = TetMesh.load(params.mesh / "mesh.npz")
    setup = set_up(particles, mesh, mask, params.held_out / 100, params, choose_device(params.device))
    steps = find_motions(setup, at_rest(setup, in_image_units(density, mask, particles)))
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            found: Motions = end.value
            break
        yield Progress(done, total)
    yield Progress(1, 1, in_words(found))
    write_motions(out, found, setup)
    return {
        "particles": len(found.rows),
        "supported": found.supported,
        "size_A": [round(size, 3) for size in found.size.tolist()],
        "null_A": round(found.null, 3),
    }


def open_particles(mesh_job: Path) -> tuple[Particles, Volume, NDArray[np.bool_]]:
    """Particles at the training box, consensus map, and the mask that the mesh fills.

    Raises
    ------
    InputError
        If there are fewer than 20 particles.
    """
    prep = input_of(mesh_job, "prep")
    particles = Particles.open(prep, "train")
    if len(particles) < FEWEST:
        raise InputError(f"{prep} has {len(particles)} particles; training needs at least {FEWEST}.")
    density = read_map(prep / "map_train.mrc")
    return particles, density, train_mask(mesh_job, density)


def train_mask(mesh: Path, density: Volume) -> NDArray[np.bool_]:
    """Mask of the mesh job at the training box."""
    with np.load(mesh / "mesh.npz", allow_pickle=False) as file:
        soft = torch.from_numpy(file["mask_soft"]).float()
    return (resample3(soft, len(density.data)) > 0.5).numpy()


def in_image_units(density: Volume, mask: NDArray[np.bool_], particles: Particles) -> NDArray[np.float32]:
    """The consensus map inside the mask, in the images' units."""
    return (density.data * mask * particles.map_scale).astype(np.float32)


def write_motions(out: Path, found: Motions, setup: Setup) -> None:
    """Write what was found: a table, displacement fields with the latents of the particles, and the scree plot."""
    columns = ["motion", "size_A", "internal_A", "null_A", "gain", "gain_error", "supported"]
    with atomic(out / "motions.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for i in range(len(found.size)):
            numbers = (found.size[i], found.internal[i], found.null, found.gain[i], found.error[i])
            writer.writerow([i + 1, *(f"{float(n):.4f}" for n in numbers), int(i < found.supported)])
    with atomic(out / "motions.npz") as temporary, temporary.open("wb") as opened:
        np.savez_compressed(
            opened,
            vertices=setup.mesh.vertices,
            fields=found.fields.cpu().numpy(),
            particle=setup.particles.source_row[found.rows.numpy()],
            latents=found.latents.numpy(),
        )
    draw_motions(out / "motions.png", found)


def draw_motions(path: Path, found: Motions) -> None:
    """Scree plot: how large each motion is against what noise makes, and what it gains."""
    number = np.arange(1, len(found.size) + 1)
    colors = ["C2" if i < found.supported else "0.7" for i in range(len(number))]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.bar(number, found.internal.numpy(), color=colors)
    left.axhline(found.null, color="k", linestyle="--", linewidth=0.8, label="largest that noise makes")
    left.set(xlabel="motion", ylabel="bend, rms (Å)")
    left.legend()
    right.bar(number, found.gain.numpy(), yerr=found.error.numpy(), color=colors)
    right.axhline(0, color="gray", linewidth=0.8)
    right.set(
        xlabel="motion", ylabel="gain on particles it was not found from\n(log-likelihood per particle)"
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def write_trials(out: Path, trials: Sequence[Trial]) -> None:
    """Write which strengths of rigidity were tried: a table and the curve."""
    with atomic(out / "rigidity.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rigidity", "gain_held_out", "displacement_A", "chosen"])
        for t in trials:
            writer.writerow([t.rigidity, f"{t.gain:.4f}", f"{t.displacement:.4f}", int(t.chosen)])
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    plot = figure.subplots()
    plot.semilogx([t.rigidity for t in trials], [t.gain for t in trials], marker="o", color="C2")
    chosen = next(t for t in trials if t.chosen)
    plot.plot(chosen.rigidity, chosen.gain, "o", color="C3", label=f"chosen: {chosen.rigidity:g}")
    plot.set(xlabel="rigidity", ylabel="gain over the rigid model\n(held out, log-likelihood per particle)")
    plot.legend()
    with atomic(out / "rigidity.png") as temporary:
        figure.savefig(temporary, dpi=110)
