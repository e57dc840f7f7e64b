"""An atomic model as ribbons: one through the C-alpha or phosphorus atoms of every unbroken stretch of a chain."""

from dataclasses import dataclass

import gemmi
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

PER_RESIDUE, SIDES = 4, 6
WIDTH, THICKNESS = 1.5, 0.45
"""Half axes of the ribbon's section, Å."""
LONGEST = {"CA": 4.6, "P": 8.5}
"""Atoms that are farther apart, Å, are not joined."""


@dataclass(frozen=True)
class Ribbon:
    """A surface.

    Parameters
    ----------
    points
        (N, 3) Å, in the frame of the model.
    faces
        (F, 3).
    chain
        (N,) number of the chain that each point belongs to.
    """

    points: np.ndarray
    faces: np.ndarray
    chain: np.ndarray


def traces(structure: gemmi.Structure) -> list[tuple[int, np.ndarray]]:
    """Stretches of atoms that follow one another: number of the chain, and positions (M, 3) in Å."""
    found: list[tuple[int, np.ndarray]] = []
    for number, chain in enumerate(structure[0]):
        stretch: list[list[float]] = []
        for residue in chain:
            atom = next((a for a in residue if a.name in LONGEST), None)
            if atom is None:
                continue
            here = atom.pos.tolist()
            if stretch and np.linalg.norm(np.subtract(here, stretch[-1])) > LONGEST[atom.name]:
                found.append((number, np.array(stretch)))
                stretch = []
            stretch.append(here)
        found.append((number, np.array(stretch)))
    return [(number, points) for number, points in found if len(points) > 1]


def ribbon(structure: gemmi.Structure) -> Ribbon:
    """Make the ribbons of a model; empty if it has no chain of two residues."""
    points, faces, chains, count = [], [], [], 0
    for number, trace in traces(structure):
        one, sides = _tube(trace)
        points.append(one)
        faces.append(sides + count)
        chains.append(np.full(len(one), number))
        count += len(one)
    if not points:
        return Ribbon(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros(0, int))
    return Ribbon(np.concatenate(points), np.concatenate(faces), np.concatenate(chains))


def _tube(trace: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and faces of a flat tube along a trace.

    Notes
    -----
    Its wide side follows the curve's binormal (as in Carson 1987), which in a helix lies along the axis.
    """
    count = len(trace)
    at = np.linspace(0, count - 1, (count - 1) * PER_RESIDUE + 1)
    if count > 2:
        spline = CubicSpline(np.arange(count), trace)
        line, along = spline(at), spline(at, 1)
    else:
        line = trace[0] + at[:, None] * (trace[1] - trace[0])
        along = np.broadcast_to(trace[1] - trace[0], line.shape)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    wide = _wide(trace)
    wide = np.stack([np.interp(at, np.arange(count), column) for column in wide.T], 1)
    wide -= (wide * along).sum(1, keepdims=True) * along
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9)
    flat = np.cross(along, wide)
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    ring = WIDTH * np.cos(angle)[None, :, None] * wide[:, None]
    ring = ring + THICKNESS * np.sin(angle)[None, :, None] * flat[:, None]
    points = (line[:, None] + ring).reshape(-1, 3)
    a = np.arange(len(line) - 1)[:, None] * SIDES + np.arange(SIDES)
    b = np.arange(len(line) - 1)[:, None] * SIDES + (np.arange(SIDES) + 1) % SIDES
    faces = np.stack([a, b, a + SIDES, b, b + SIDES, a + SIDES], -1).reshape(-1, 3)
    caps = np.array([[0, k + 1, k] for k in range(1, SIDES - 1)])
    last = (len(line) - 1) * SIDES
    return points, np.concatenate([faces, caps, caps[:, ::-1] + last])


def _wide(trace: np.ndarray) -> np.ndarray:
    """Direction of the wide side at every atom (M, 3), without jumps from one side to the other."""
    steps = np.diff(trace, axis=0)
    if len(steps) < 2:
        helper = np.eye(3)[np.abs(steps[0]).argmin()]
        return np.repeat(np.cross(steps[0], helper)[None], len(trace), axis=0)
    found = np.cross(steps[:-1], steps[1:])
    found = np.concatenate([found[:1], found, found[-1:]])
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
    for k in range(1, len(found)):
        if found[k] @ found[k - 1] < 0:
            found[k] *= -1
    return gaussian_filter1d(found, 1.0, axis=0, mode="nearest")
