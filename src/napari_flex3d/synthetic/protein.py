"""Pseudo-proteins of helices and loops, and how their domains move."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.random import Generator
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

Kind = Literal["hinge", "slide", "two motions", "small domain", "wrong poses", "rigid"]

FIELD = 192.0
"""Side of the box in Å for which the pseudo-protein has natural size; it grows and shrinks with the field."""

ATOMS_PER_DOMAIN = 720

Balls = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class Domain:
    """A part of the protein, and how it moves.

    Parameters
    ----------
    balls
        What it fills: centre (x, y, z) and radius of each ball, Å.
    atoms
        How many pseudo-atoms.
    motion
        "still", "turn" about ``axis`` through ``hinge``, or "slide" along ``axis``.
    axis, hinge
        Direction; point on the axis, Å.
    extent
        How far it goes to either side unless told otherwise: degrees or Å.
    """

    balls: Balls
    atoms: int = ATOMS_PER_DOMAIN
    motion: Literal["still", "turn", "slide"] = "still"
    axis: tuple[float, float, float] = (0, 0, 1)
    hinge: tuple[float, float, float] = (0, 0, 0)
    extent: float = 0.0


LEFT: Balls = ((-15, 4, 0, 17), (-30, 20, 8, 16), (-32, -16, 10, 17), (-36, 2, -22, 15), (-52, 4, 18, 12))
RIGHT: Balls = ((14, -3, 2, 16), (28, 6, -14, 17), (33, -4, 14, 17), (36, 22, 24, 13), (46, -20, -6, 14))
TEETH: tuple[tuple[float, ...], ...] = ((-27, -15, -3, 9), (-9, 3, 15, 27))
COMBS: tuple[Balls, ...] = tuple(
    tuple((x, y, z, 9.0) for x in (row[0], row[-1]) for y in range(-32, 33, 16) for z in range(-24, 25, 16))
    + tuple((x, side * 48, 0, 9.0) for x in (row[0], row[-1]))
    + tuple((x, side * 59, 0, 9.0) for x in row)
    for row, side in zip(TEETH, (1, -1), strict=True)
)
CORE: Balls = ((0, 0, 0, 18), (0, 16, 6, 15), (0, -16, -6, 15), (0, 4, -18, 13), (0, -4, 18, 13))
ARMS: tuple[Balls, Balls] = (
    ((-26, 4, 0, 12), (-37, 14, 4, 14), (-44, -2, -8, 14), (-54, 8, 10, 10)),
    ((26, -4, 0, 12), (36, -14, 8, 14), (45, 2, -4, 14), (52, -16, -12, 11)),
)
KNOB: Balls = ((-2, 29, 4, 12), (2, 45, 8, 11))

_OBLIQUE = (0.15, 0.8, 0.58)
_HINGED = (Domain(LEFT), Domain(RIGHT, motion="turn", axis=_OBLIQUE, extent=12))

DOMAINS: dict[Kind, tuple[Domain, ...]] = {
    "hinge": _HINGED,
    "wrong poses": _HINGED,
    "rigid": (Domain(LEFT), Domain(RIGHT)),
    "slide": (Domain(COMBS[0], 800), Domain(COMBS[1], 800, "slide", axis=(0.0, 0.6, 0.8), extent=12)),
    "two motions": (
        Domain(CORE, 600),
        Domain(ARMS[0], 420, "turn", axis=_OBLIQUE, hinge=(-16, 3, 0), extent=15),
        Domain(ARMS[1], 420, "turn", axis=(0.2, -0.55, 0.8), hinge=(16, -3, 0), extent=15),
    ),
    "small domain": (
        Domain(LEFT),
        Domain(RIGHT),
        Domain(KNOB, 140, "turn", axis=(0.85, 0.2, 0.45), hinge=(-6, 18, 2), extent=20),
    ),
}
"""The parts of each protein. Those of the hinge are lobed and touch in one place; those of the slide are combs, the
plates of one between those of the other; two arms turn on a core, each by itself; a knob of 9 % of the atoms turns on
the protein of the hinge."""


def pseudo_protein(
    rng: Generator, kind: Kind = "hinge"
) -> tuple[Float[ndarray, "atoms 3"], Int[ndarray, " atoms"]]:
    """Make the domains of a protein; they touch. Å from the box centre, and the domain of each atom."""
    parts = [_domain(rng, np.array(domain.balls, float), domain.atoms) for domain in DOMAINS[kind]]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def motions(kind: Kind) -> list[int]:
    """Which domains move; each has a coordinate of its own."""
    return [number for number, domain in enumerate(DOMAINS[kind]) if domain.motion != "still"]


def _domain(rng: Generator, lobes: Float[ndarray, "lobes 4"], count: int) -> Float[ndarray, "atoms 3"]:
    """C-alpha-like points packed into a union of balls: as many helices as fit, then loops between them."""
    low, high = (lobes[:, :3] - lobes[:, 3:]).min(0), (lobes[:, :3] + lobes[:, 3:]).max(0)
    atoms = np.full((1, 3), 1e6)  # so that there is always something to keep away from
    axes = np.full((1, 3), 1e6)
    for _ in range(1500):
        length = rng.uniform(14, 34)
        turn = Rotation.random(rng=rng)
        line = np.linspace(-length / 2, length / 2, 9)[:, None] * turn.apply([0.0, 0.0, 1.0]) + rng.uniform(
            low, high
        )
        if not _inside(line, lobes).all() or cdist(line, axes).min() < 9.0:
            continue
        step = np.arange(int(length / 1.5))  # alpha helix: 1.5 Å rise, 100 degrees, radius 2.3 Å
        spiral = np.stack(
            [2.3 * np.cos(1.745 * step), 2.3 * np.sin(1.745 * step), 1.5 * step - length / 2], -1
        )
        axes = np.concatenate([axes, line])
        atoms = np.concatenate([atoms, turn.apply(spiral) + line.mean(0)])
    spacing = 6.0
    while len(atoms) <= count:
        loose = rng.uniform(low, high, (300, 3))
        for point in loose[_inside(loose, lobes)]:
            if np.linalg.norm(atoms - point, axis=-1).min() > spacing:
                atoms = np.concatenate([atoms, point[None]])
        spacing *= 0.97
    return _chain(atoms[1 : count + 1])


def _inside(points: Float[ndarray, "points 3"], lobes: Float[ndarray, "lobes 4"]) -> Bool[ndarray, " points"]:
    return (cdist(points, lobes[:, :3]) < lobes[:, 3]).any(-1)


def _chain(atoms: Float[ndarray, "atoms 3"]) -> Float[ndarray, "atoms 3"]:
    """Order atoms so that each is followed by the nearest one left, as a chain would run."""
    left = np.ones(len(atoms), dtype=bool)
    order = [int(np.argmin(atoms[:, 0]))]
    for _ in range(len(atoms) - 1):
        left[order[-1]] = False
        distance = np.linalg.norm(atoms - atoms[order[-1]], axis=-1)
        order.append(int(np.argmin(np.where(left, distance, np.inf))))
    return atoms[order]


def move(
    atoms: Float[ndarray, "atoms 3"],
    domain: Int[ndarray, " atoms"],
    kind: Kind,
    positions: Float[ndarray, "states motions"],
) -> Float[ndarray, "states atoms 3"]:
    """Atoms in each state: each moving domain turned about its axis, or slid along it, by its own coordinate.

    Parameters
    ----------
    atoms, domain
        From `pseudo_protein`.
    kind
        Which protein.
    positions
        Degrees or Å, for each state and each of `motions`.
    """
    states = np.repeat(atoms[None], len(positions), axis=0)
    for column, number in enumerate(motions(kind)):
        part, here = DOMAINS[kind][number], domain == number
        axis = np.array(part.axis) / np.linalg.norm(part.axis)
        for state, position in zip(states, positions[:, column], strict=True):
            if part.motion == "turn":
                turn = Rotation.from_rotvec(np.deg2rad(position) * axis)
                state[here] = turn.apply(atoms[here] - part.hinge) + part.hinge
            else:
                state[here] += position * axis
    return states
