"""Made particle sets with known motion, for tests, documentation and the demonstration."""

import math
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
from ..ops import fourier
from .agreement import displacement_error, r_squared, share_within
from .imaging import atoms_to_map, form_images, project_atoms, solvent_mask
from .protein import DOMAINS, FIELD, Kind, motions, move, pseudo_protein
from .star import write_star

__all__ = [
    "Kind",
    "Sample",
    "atoms_to_map",
    "displacement_error",
    "form_images",
    "project_atoms",
    "r_squared",
    "share_within",
    "write_sample",
]

PARTICLES_PER_MICROGRAPH = 100

POSE_ERROR, SHIFT_ERROR = 3.0, 1.5
"""Of wrong poses: rms angle in degrees, and of each coordinate of the shift in Å (in a field of `FIELD`)."""


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
        Position of each state along each motion (states, motions): degrees for a turn, Å for a slide.
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
    extent: float | None = None,
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
        "hinge"; "slide": two interlocking combs, one slides along the other; "two motions": two arms turn on a
        core, each by itself; "small domain": 9 % of the atoms turn on the rest; "wrong poses": the hinge with poses off
        by 3 degrees and 1.5 Å (the true ones are in ``truth``); "rigid": the control, the protein of the hinge at rest.
    states
        Number of states, evenly spaced; each particle is in a random one. For two motions a square grid of at
        least as many.
    extent
        Each motion goes from -extent to extent: degrees for a turn, Å for a slide. None: what suits the kind.

    Returns
    -------
    Sample
        Paths and truth. ``truth.npz`` also has each particle's true pose, contrast and defocus, and in ``param`` its
        true coordinates, each from 0 to 1.
    """
    rng = np.random.default_rng(seed)
    scale = box * pixel_size / FIELD
    one = np.random.default_rng(20231)  # one protein, whatever the seed of the images
    atoms, domain = pseudo_protein(one, kind)
    grid = _grid(max(len(motions(kind)), 1), states)
    angles = (2 * grid - 1) * _extents(kind, extent)
    coordinates = move(atoms, domain, kind, angles) * scale
    moving = np.isin(domain, motions(kind)) if motions(kind) else domain > 0
    state = rng.integers(len(grid), size=particles)
    seen = _imaging(rng, particles, scale)
    images, gain = _noisy_images(rng, coordinates, state, seen, (box, pixel_size, snr))
    share = np.bincount(state, minlength=len(grid)) / particles
    folder.mkdir(parents=True, exist_ok=True)
    suffixes = {"particles": ".star", "map": ".mrc", "mask": ".mrc", "model": ".pdb", "truth": ".npz"}
    paths = {name: folder / f"{name}{suffix}" for name, suffix in suffixes.items()}
    reference = len(grid) // 2
    with write_stack(folder / "particles.mrcs", box, pixel_size) as stack:
        stack.append(images)
    given = _off(rng, seen, scale) if kind == "wrong poses" else seen
    write_star(paths["particles"], given, box, pixel_size)
    consensus = _consensus(coordinates, share, moving, box, pixel_size)
    write_map(paths["map"], consensus, pixel_size=pixel_size)
    write_map(paths["mask"], solvent_mask(coordinates, box, pixel_size), pixel_size=pixel_size)
    corner = box // 2 * pixel_size
    write_calpha(paths["model"], coordinates[reference] + corner, "".join("ABC"[d] for d in domain))
    truth: dict[str, Any] = seen | {
        "state": state,
        "param": grid[state],
        "state_params": grid,
        "angles": angles,
        "ref": reference,
        "ca_coords_A": coordinates,
        "ca_moving": moving,
        "ca_domain": domain,
        "map_scale": gain,
        "pixel_size": pixel_size,
    }
    with atomic(paths["truth"]) as temporary:
        np.savez_compressed(temporary, **truth)
    return Sample(
        **paths, state=state, angles=angles, coordinates=coordinates, moving=moving, reference=reference
    )


def _grid(dimensions: int, states: int) -> Float[ndarray, "states dimensions"]:
    """At least so many states, evenly spaced from 0 to 1 along each coordinate."""
    count = math.ceil(states ** (1 / dimensions))
    axes = np.meshgrid(*[np.linspace(0, 1, count)] * dimensions, indexing="ij")
    return np.stack(axes, axis=-1).reshape(-1, dimensions)


def _extents(kind: Kind, extent: float | None) -> Float[ndarray, " motions"]:
    """How far each motion goes to either side; the control has one coordinate that moves nothing."""
    return np.array([DOMAINS[kind][d].extent if extent is None else extent for d in motions(kind)] or [0.0])


def _off(rng: Generator, seen: dict[str, ndarray], scale: float) -> dict[str, ndarray]:
    """Poses as a refinement gets them: turned by `POSE_ERROR` and shifted by `SHIFT_ERROR`."""
    count = len(seen["shift"])
    turn = Rotation.from_rotvec(rng.normal(0, np.deg2rad(POSE_ERROR) / np.sqrt(3), (count, 3)))
    return seen | {
        "rotation": turn.as_matrix() @ seen["rotation"],
        "shift": seen["shift"] + rng.normal(0, SHIFT_ERROR * scale, (count, 2)),
    }


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
