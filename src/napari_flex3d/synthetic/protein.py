"""A pseudo-protein of two lobed domains, and how it moves."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.random import Generator
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

Kind = Literal["hinge", "slide", "rigid"]

FIELD = 192.0
"""Side of the box in Å for which the pseudo-protein has natural size; it grows and shrinks with the field."""

FIXED_LOBES = np.array(
    [[-15, 4, 0, 17], [-30, 20, 8, 16], [-32, -16, 10, 17], [-36, 2, -22, 15], [-52, 4, 18, 12.0]]
)
MOVING_LOBES = np.array(
    [[14, -3, 2, 16], [28, 6, -14, 17], [33, -4, 14, 17], [36, 22, 24, 13], [46, -20, -6, 14.0]]
)
"""Balls that the two domains fill: centre (x, y, z) and radius, Å."""

FIXED_SLAB, MOVING_SLAB = (
    np.array([[x, y, z, 11.0] for y in range(-32, 33, 16) for z in range(-24, 25, 16)]) for x in (-11, 11)
)
"""The same for two blocks that lie face to face and slide: a slab of balls each."""

ATOMS_PER_DOMAIN = 720


def pseudo_protein(
    rng: Generator, kind: Kind = "hinge"
) -> tuple[Float[ndarray, "atoms 3"], Bool[ndarray, " atoms"]]:
    """Two domains that touch, of helices and loops; the second moves. Å from the box centre.

    They are lobed and touch in one place, or for "slide" are blocks that lie face to face.
    """
    lobes = (FIXED_SLAB, MOVING_SLAB) if kind == "slide" else (FIXED_LOBES, MOVING_LOBES)
    fixed, moving = (_domain(rng, each) for each in lobes)
    return np.concatenate([fixed, moving]), np.arange(len(fixed) + len(moving)) >= len(fixed)


def _domain(rng: Generator, lobes: Float[ndarray, "lobes 4"]) -> Float[ndarray, "atoms 3"]:
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
    while len(atoms) <= ATOMS_PER_DOMAIN:
        loose = rng.uniform(low, high, (300, 3))
        for point in loose[_inside(loose, lobes)]:
            if np.linalg.norm(atoms - point, axis=-1).min() > spacing:
                atoms = np.concatenate([atoms, point[None]])
        spacing *= 0.97
    return _chain(atoms[1 : ATOMS_PER_DOMAIN + 1])


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
    moving: Bool[ndarray, " atoms"],
    kind: Kind,
    angles: Float[ndarray, " states"],
) -> Float[ndarray, "states atoms 3"]:
    """Atoms in each state: the moving domain turned about an axis through the interface, or slid along it.

    The hinge lies on the interface of the domains (the origin); its axis is oblique to all three axes.
    """
    states = np.repeat(atoms[None], len(angles), axis=0)
    if kind == "hinge":
        axis = np.array([0.15, 0.8, 0.58]) / np.linalg.norm([0.15, 0.8, 0.58])
        for state, angle in zip(states, angles, strict=True):
            state[moving] = Rotation.from_rotvec(np.deg2rad(angle) * axis).apply(atoms[moving])
    elif kind == "slide":
        states[:, moving] += angles[:, None, None] * np.array([0.0, 0.6, 0.8])
    return states
