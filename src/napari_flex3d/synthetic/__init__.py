"""Made particle sets with known motion, for tests, documentation and the demonstration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.random import Generator
from scipy.spatial.transform import Rotation

from ..io.files import atomic
from ..io.models import write_calpha
from ..io.mrc import write_map, write_stack
from ..ops import fourier, rotations
from .imaging import (
    AMPLITUDE_CONTRAST,
    SPHERICAL_ABERRATION,
    VOLTAGE,
    atoms_to_map,
    form_images,
    project_atoms,
    solvent_mask,
)
from .protein import FIELD, Kind, move, pseudo_protein

__all__ = [
    "Kind",
    "Sample",
    "atoms_to_map",
    "displacement_error",
    "form_images",
    "project_atoms",
    "write_sample",
]

PARTICLES_PER_MICROGRAPH = 100


@dataclass(frozen=True)
class Sample:
    """A made particle set: its files and the truth behind it.

    Parameters
    ----------
    particles, map, mask, model, truth
        Files: RELION 3.1 star, consensus map, solvent mask, pseudo-atoms of the reference state, the rest.
    state
        State of each particle.
    angles
        Position of each state along the motion: degrees for a hinge, Å for a slide.
    coordinates
        Pseudo-atoms in each state, (x, y, z) in Å from the box centre.
    moving
        Which pseudo-atoms move.
    reference
        The state of ``model``.
    """

    particles: Path
    map: Path
    mask: Path
    model: Path
    truth: Path
    state: ndarray
    angles: ndarray
    coordinates: ndarray
    moving: ndarray
    reference: int


def displacement_error(
    moved: Float[ndarray, "states atoms 3"],
    true: Float[ndarray, "states atoms 3"],
    moving: Bool[ndarray, " atoms"],
) -> tuple[float, float]:
    """How well a model's motion agrees with the true one.

    Parameters
    ----------
    moved
        Reference atoms moved by the model to the mean latent of each state's particles, Å.
    true
        The true atoms of each state, Å.
    moving
        Which atoms count.

    Returns
    -------
    error, motion
        Mean over states and moving atoms of the length of the difference of displacements, and of the true
        displacement, Å. Displacements are relative to the mean over states, which no experiment can tell.
    """
    found, truth = ((x - x.mean(0))[:, moving] for x in (moved, true))
    return float(np.linalg.norm(found - truth, axis=-1).mean()), float(np.linalg.norm(truth, axis=-1).mean())


def _imaging(rng: Generator, particles: int, scale: float) -> dict[str, ndarray]:
    """How each particle was seen: pose, contrast, defocus, half-set, micrograph."""
    micrograph = np.arange(particles) // PARTICLES_PER_MICROGRAPH
    per_micrograph = rng.uniform(9000, 24000, micrograph[-1] + 1)[micrograph]
    defocus = per_micrograph + rng.normal(0, 150, particles)
    astigmatism = rng.uniform(100, 500, micrograph[-1] + 1)[micrograph]
    return {
        "micrograph": micrograph,
        "rotation": Rotation.random(particles, rng=rng).as_matrix(),
        "shift": rng.normal(0, 4.0 * scale / np.sqrt(2), (particles, 2)),
        "contrast": np.clip(rng.normal(1, 0.08, particles), 0.6, 1.4),
        "defocus_u": defocus + astigmatism / 2,
        "defocus_v": defocus - astigmatism / 2,
        "defocus_angle": rng.uniform(0, np.pi, micrograph[-1] + 1)[micrograph],
        "half": rng.permutation(np.arange(particles) % 2),
    }


def write_sample(
    folder: Path,
    *,
    particles: int = 3000,
    box: int = 64,
    pixel_size: float = 3.0,
    snr: float = 0.1,
    seed: int = 0,
    kind: Kind = "hinge",
    states: int = 21,
    extent: float = 12.0,
) -> Sample:
    """Make a particle set with known motion: two domains about a hinge, CTF, shifts, noise.

    Parameters
    ----------
    folder
        Where the files go; made when missing.
    particles
        Number of images.
    box, pixel_size
        Box in pixels and pixel in Å; the protein fills 60 % of the field whatever its size.
    snr
        Variance of the signal over the whole image over that of the noise.
    seed
        The same seed gives the same files.
    kind
        "hinge", "slide" (two blocks face to face; one slides along the other), or "rigid": the control, where
        nothing moves.
    states
        Number of states, evenly spaced; each particle is in a random one.
    extent
        The motion goes from -extent to extent: degrees for a hinge, Å for a slide.

    Returns
    -------
    Sample
        Paths and truth. ``truth.npz`` also has each particle's pose, contrast and defocus.
    """
    rng = np.random.default_rng(seed)
    scale = box * pixel_size / FIELD
    one = np.random.default_rng(20231)  # one protein, whatever the seed of the images
    atoms, moving = pseudo_protein(one, kind)
    angles = np.linspace(-extent, extent, states)
    coordinates = move(atoms, moving, kind, angles) * scale
    state = rng.integers(states, size=particles)
    seen = _imaging(rng, particles, scale)
    images, gain = _noisy_images(rng, coordinates, state, seen, (box, pixel_size, snr))
    share = np.bincount(state, minlength=states) / particles
    consensus = _consensus(coordinates, share, moving, box, pixel_size)
    folder.mkdir(parents=True, exist_ok=True)
    suffixes = {"particles": ".star", "map": ".mrc", "mask": ".mrc", "model": ".pdb", "truth": ".npz"}
    paths = {name: folder / f"{name}{suffix}" for name, suffix in suffixes.items()}
    reference = states // 2
    with write_stack(folder / "particles.mrcs", box, pixel_size) as stack:
        stack.append(images)
    _write_star(paths["particles"], seen, box, pixel_size)
    write_map(paths["map"], consensus, pixel_size=pixel_size)
    write_map(paths["mask"], solvent_mask(coordinates, box, pixel_size), pixel_size=pixel_size)
    corner = box // 2 * pixel_size
    write_calpha(paths["model"], coordinates[reference] + corner, "".join("B" if m else "A" for m in moving))
    truth: dict[str, Any] = seen | {
        "state": state,
        "param": (state / max(states - 1, 1))[:, None],
        "state_params": np.linspace(0, 1, states)[:, None],
        "angles": angles,
        "ref": reference,
        "ca_coords_A": coordinates,
        "ca_moving": moving,
        "map_scale": gain,
        "pixel_size": pixel_size,
    }
    with atomic(paths["truth"]) as temporary:
        np.savez_compressed(temporary, **truth)
    return Sample(
        **paths, state=state, angles=angles, coordinates=coordinates, moving=moving, reference=reference
    )


def _consensus(
    coordinates: Float[ndarray, "states atoms 3"],
    share: Float[ndarray, " states"],
    moving: Bool[ndarray, " atoms"],
    box: int,
    pixel_size: float,
) -> Float[ndarray, "n n n"]:
    """Mean density over the particles, low-passed at 2.5 pixels, as a consensus refinement would give it."""
    still = atoms_to_map(coordinates[0, ~moving], box, pixel_size)
    moved = [
        s * atoms_to_map(c[moving], box, pixel_size) for s, c in zip(share, coordinates, strict=True) if s
    ]
    return fourier.low_pass(still + torch.stack(moved).sum(0), 1 / 2.5, 0.04).numpy()


def _noisy_images(
    rng: Generator,
    coordinates: Float[ndarray, "states atoms 3"],
    state: ndarray,
    seen: dict[str, ndarray],
    optics: tuple[int, float, float],
) -> tuple[ndarray, float]:
    """Images with noise of standard deviation 1 and signal of variance ``snr``; and the signal's factor."""
    box, pixel_size, snr = optics
    images = np.empty((len(state), box, box), dtype=np.float32)
    for first in range(0, len(state), 32):
        batch = slice(first, first + 32)
        part = {name: values[batch] for name, values in seen.items()}
        images[batch] = form_images(coordinates[state[batch]], part, box, pixel_size).numpy()
    gain = float(np.sqrt(snr / images.var(axis=(1, 2), dtype=np.float64).mean()))
    images *= gain
    for image in images:
        image += rng.standard_normal((box, box), dtype=np.float32)
    return images.astype(np.float16), gain


def _write_star(path: Path, seen: dict[str, ndarray], box: int, pixel_size: float) -> None:
    """Write particles as RELION 3.1 does."""
    count = len(seen["half"])
    optics = (
        f"opticsGroup1 1 {pixel_size:.6f} {VOLTAGE:.6f} {SPHERICAL_ABERRATION:.6f} {AMPLITUDE_CONTRAST:.6f} "
    )
    optics += f"{pixel_size:.6f} {box} 2"
    optics_labels = (
        "rlnOpticsGroupName rlnOpticsGroup rlnMicrographOriginalPixelSize rlnVoltage rlnSphericalAberration "
        "rlnAmplitudeContrast rlnImagePixelSize rlnImageSize rlnImageDimensionality"
    )
    labels = (
        "rlnImageName rlnMicrographName rlnOpticsGroup rlnRandomSubset rlnDefocusU rlnDefocusV "
        "rlnDefocusAngle rlnPhaseShift rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginXAngst rlnOriginYAngst"
    )
    numbers = np.column_stack(
        [
            seen["defocus_u"],
            seen["defocus_v"],
            np.rad2deg(seen["defocus_angle"]),
            np.zeros(count),
            np.rad2deg(rotations.to_euler(seen["rotation"])),
            seen["shift"],
        ]
    )
    rows = [
        f"{i + 1:06d}@particles.mrcs mic_{seen['micrograph'][i]:04d}.mrc 1 {seen['half'][i] + 1} "
        + " ".join(f"{v:.6f}" for v in numbers[i])
        for i in range(count)
    ]
    with atomic(path) as temporary:
        temporary.write_text(
            f"# version 30001\n\ndata_optics\n\n{_loop(optics_labels, [optics])}\n\n"
            f"# version 30001\n\ndata_particles\n\n{_loop(labels, rows)}\n",
            encoding="utf-8",
        )


def _loop(labels: str, rows: list[str]) -> str:
    head = [f"_{label} #{number}" for number, label in enumerate(labels.split(), start=1)]
    return "\n".join(["loop_", *head, *rows])
