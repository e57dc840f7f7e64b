"""What training writes for the programs that particles come from."""

from types import SimpleNamespace

import numpy as np
from numpy.testing import assert_allclose

from napari_flex3d import stages
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.star import read_star
from napari_flex3d.io.table import Answers
from napari_flex3d.latent_tables import write_latents
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams


def test_latents_of_a_dataset_keep_its_keys(sample, tmp_path):
    """And its particles as a star file would have them, with the names and the box of the recorded images."""
    dataset = sample.write_cs(sample.cs_columns())
    prep = tmp_path / "prep"
    stages.prepare(
        PrepParams(particles=dataset, map=sample.write_map(), crop_box=28, max_particles=40, seed=2), prep
    )
    table = Particles.open(prep).table
    rows = table.row
    z = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    out = tmp_path / "train"
    model = SimpleNamespace(
        latent_dims=1, latents=z, latent_sd=abs(z), held_out=z[:, 0] > 0.9, half=np.zeros(40, np.uint8)
    )
    write_latents(out, prep, table, model)
    records = np.load(out / "latents.cs")
    assert (records["uid"] == 1000 * (rows + 1)).all()
    assert records["components_mode_0/value"].tolist() == z[:, 0].tolist()
    star = read_star(out / "latents.star")
    assert star["particles"]["rlnImageName"] == [f"{row + 1:06d}@stack.mrcs" for row in rows]
    assert star["optics"]["rlnImageSize"] == ["32"]
    assert star["particles"]["flex3dLatent1"] == [f"{v:.5f}" for v in z[:, 0]]
    again = read_particles(out / "latents.star", Answers(project_dir=dataset.parent))
    assert_allclose(again.rotation, read_any_particles(dataset).rotation[rows], atol=1e-6)


def test_polished_poses_take_the_place_of_a_datasets(sample, tmp_path):
    """Its other fields stay, and both files have the same poses in the terms of their program."""
    dataset = sample.write_cs(sample.cs_columns())
    prep = tmp_path / "prep"
    stages.prepare(PrepParams(particles=dataset, map=sample.write_map(), crop_box=28), prep)
    random = np.random.default_rng(0)
    turn, off = 0.05 * random.normal(size=(60, 3)), random.normal(size=(60, 2))
    table = Particles.open(prep).posed(turn, off).table
    z = np.linspace(-1, 1, 60, dtype=np.float32)[:, None]
    model = SimpleNamespace(
        latent_dims=1, latents=z, latent_sd=abs(z), held_out=z[:, 0] > 0.9, half=np.zeros(60, np.uint8)
    )
    write_latents(tmp_path, prep, table, model, polished=True)
    before, records = np.load(dataset), np.load(tmp_path / "latents.cs")
    assert_allclose(records["ctf/df1_A"], before["ctf/df1_A"])
    assert abs(records["alignments3D/shift"] - before["alignments3D/shift"]).max() > 0.1
    for name in ("latents.cs", "latents.star"):
        again = read_any_particles(tmp_path / name, check=False)
        assert_allclose(again.rotation, table.rotation, atol=1e-6)
        assert_allclose(again.shift, table.shift, atol=1e-5)
