"""Two combs that slide along each other: how much of the motion a mesh, or a training on it, misses."""

import numpy as np
import torch
from scipy.sparse import csc_matrix, identity, kron
from scipy.sparse.linalg import spsolve

from napari_flex3d.fit.state import RIGIDITY_UNIT
from napari_flex3d.ops.elasticity import shape_gradients, stiffness
from napari_flex3d.synthetic import displacement_error

GAIN, RIGIDITY = 23.0, 2.0
"""What the true motion is worth in the data, noise units per particle (`docs/measurements.md`); default rigidity."""


def missed_by_mesh(mesh, atoms, true):
    """Share of the motion that the best motion of the mesh misses, data and rigidity weighed as in training.

    Of all motions ``u`` of the mesh, that with the least ``gain * |u - true|² / |true|² + rigidity * energy(u)``.
    """
    rest, cells = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.cells)
    inverse, volume = shape_gradients(rest, cells)
    energy = stiffness(cells, inverse, volume * (RIGIDITY_UNIT / volume.sum()), len(rest))
    cell, weights = mesh.locate(atoms)
    rows = np.repeat(np.arange(len(atoms)), 4)
    follow = csc_matrix((weights.ravel(), (rows, mesh.cells[cell].ravel())), (len(atoms), len(rest)))
    follow = kron(follow, identity(3)).tocsc()
    data = GAIN / (true**2).sum()
    system = data * follow.T @ follow + RIGIDITY * energy + 1e-9 * identity(energy.shape[0])
    found = follow @ spsolve(system.tocsc(), data * follow.T @ true.ravel())
    missed = found.reshape(-1, 3) - true
    return np.linalg.norm(missed, axis=1).mean() / np.linalg.norm(true, axis=1).mean()


def missed_by_training(model, made):
    """Share of the motion that a trained model misses; a shift common to both combs belongs to the pose."""
    centres = [model.latents[made.state == s].mean(0) for s in range(len(made.angles))]
    moved = np.stack([model.move(made.coordinates[made.reference], z) for z in centres])
    about = [x - x.mean(1, keepdims=True) for x in (moved, made.coordinates)]
    error, motion = displacement_error(*about, np.ones(len(made.moving), bool))
    return error / motion
