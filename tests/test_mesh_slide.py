"""Two blocks that slide along each other: what a mesh lets them do, without images and without training.

Data and rigidity are weighed as in training: of all motions ``u`` of the mesh, the one with the least
``gain * |u - true|² / |true|² + rigidity * energy(u)``, where ``gain`` is what the true motion is worth in the data,
noise units per particle (23 in the training of `docs/measurements.md`), and 2 is the default rigidity. A shift common
to both blocks costs nothing and belongs to the pose, so displacements are compared about their mean.
"""

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix, identity, kron
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from napari_flex3d.fit.state import RIGIDITY_UNIT
from napari_flex3d.mesh import voxel_positions
from napari_flex3d.mesh.build import lattice, segmented
from napari_flex3d.model import load_model
from napari_flex3d.ops.elasticity import shape_gradients, stiffness
from napari_flex3d.stages import build_mesh, prepare, stage_named, train_model
from napari_flex3d.synthetic import displacement_error, write_sample
from napari_flex3d.synthetic.imaging import solvent_mask
from napari_flex3d.synthetic.protein import move, pseudo_protein

BOX, APIX = 64, 3.0
GAIN, RIGIDITY = 23.0, 2.0


@pytest.fixture(scope="module")
def blocks():
    """Atoms, their true displacements at the rms state, mask, and voxels labelled by their block."""
    atoms, moving = pseudo_protein(np.random.default_rng(20231), "slide")
    states = move(atoms, moving, "slide", np.linspace(-12, 12, 21)[:, None])
    mask = solvent_mask(states, BOX, APIX) > 0.5
    voxels = np.argwhere(mask)
    labels = np.full(mask.shape, -1, np.int32)
    nearest = cKDTree(atoms).query(voxel_positions(voxels, BOX, APIX))[1]
    labels[tuple(voxels.T)] = moving[nearest]
    true = np.where(moving[:, None], (0.0, 0.6, 0.8), 0.0) * 7.27  # rms of -12 to 12 Å, evenly
    return atoms, true - true.mean(0), mask, labels


def _missed(mesh, atoms, true):
    """Share of the motion that the best motion of the mesh misses."""
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


def test_only_a_split_mesh_lets_two_blocks_slide(blocks):
    atoms, true, mask, labels = blocks
    regular = lattice(mask, APIX, 20)
    joined = segmented(regular, labels, "1>0")
    split = segmented(regular, labels, "none")
    assert _missed(regular.mesh, atoms, true) > 0.5
    assert _missed(joined.mesh, atoms, true) > 0.5
    assert _missed(split.mesh, atoms, true) < 0.05


@pytest.mark.slow
def test_training_recovers_the_slide_on_a_split_mesh_only(tmp_path):
    """The whole way from particles, blocks told apart by the chains of the model."""
    made = write_sample(tmp_path / "set", kind="slide", particles=2000)
    inputs = {"particles": made.particles, "map": made.map, "mask": made.mask}
    prep = prepare(stage_named("prep").params(**inputs), tmp_path / "prep").folder
    missed = {}
    for name, more in {"regular": {}, "split": {"segments": made.model, "connections": "none"}}.items():
        params = stage_named("mesh").params(prep=prep, **more)
        mesh = build_mesh(params, tmp_path / f"mesh_{name}").folder
        params = stage_named("train").params(mesh=mesh, latent_dims=1, epochs=8)
        model = load_model(train_model(params, tmp_path / f"train_{name}").folder)
        centres = [model.latents[made.state == s].mean(0) for s in range(len(made.angles))]
        moved = np.stack([model.move(made.coordinates[made.reference], z) for z in centres])
        about = [x - x.mean(1, keepdims=True) for x in (moved, made.coordinates)]
        error, motion = displacement_error(*about, np.ones(len(made.moving), bool))
        missed[name] = error / motion
    assert missed["regular"] > 0.5
    assert missed["split"] < 0.15
