"""Two combs that slide along each other: what a mesh lets them do, without training and with it."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_flex3d.mesh import voxel_positions
from napari_flex3d.mesh.build import lattice, segmented
from napari_flex3d.model import load_model
from napari_flex3d.stages import build_mesh, prepare, stage_named, train_model
from napari_flex3d.synthetic import write_sample
from napari_flex3d.synthetic.imaging import solvent_mask
from napari_flex3d.synthetic.protein import move, pseudo_protein
from tests.slide import missed_by_mesh, missed_by_training

BOX, APIX = 64, 3.0


@pytest.fixture(scope="module")
def combs():
    """Atoms, their true displacements at the rms state, mask, and voxels labelled by their comb."""
    atoms, moving = pseudo_protein(np.random.default_rng(20231), "slide")
    states = move(atoms, moving, "slide", np.linspace(-12, 12, 21)[:, None])
    mask = solvent_mask(states, BOX, APIX) > 0.5
    voxels = np.argwhere(mask)
    labels = np.full(mask.shape, -1, np.int32)
    nearest = cKDTree(atoms).query(voxel_positions(voxels, BOX, APIX))[1]
    labels[tuple(voxels.T)] = moving[nearest]
    true = np.where(moving[:, None], (0.0, 0.6, 0.8), 0.0) * 7.27  # rms of -12 to 12 Å, evenly
    return atoms, true - true.mean(0), mask, labels


def test_only_a_split_mesh_lets_two_combs_slide(combs):
    atoms, true, mask, labels = combs
    regular = lattice(mask, APIX, 20)
    joined = segmented(regular, labels, "1>0")
    split = segmented(regular, labels, "none")
    assert missed_by_mesh(regular.mesh, atoms, true) > 0.5
    assert missed_by_mesh(joined.mesh, atoms, true) > 0.5
    assert missed_by_mesh(split.mesh, atoms, true) < 0.05


@pytest.mark.slow
def test_training_recovers_the_slide_on_a_split_mesh_only(tmp_path):
    """The whole way from particles, combs told apart by the chains of the model."""
    made = write_sample(tmp_path / "set", kind="slide", particles=2000)
    inputs = {"particles": made.particles, "map": made.map, "mask": made.mask}
    prep = prepare(stage_named("prep").params(**inputs), tmp_path / "prep").folder
    missed = {}
    for name, more in {"regular": {}, "split": {"segments": made.model, "connections": "none"}}.items():
        params = stage_named("mesh").params(prep=prep, **more)
        mesh = build_mesh(params, tmp_path / f"mesh_{name}").folder
        params = stage_named("train").params(mesh=mesh, latent_dims=1, epochs=8)
        model = load_model(train_model(params, tmp_path / f"train_{name}").folder)
        missed[name] = missed_by_training(model, made)
    assert missed["regular"] > 0.5
    assert missed["split"] < 0.15
