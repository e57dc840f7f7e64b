"""The rigid control: a particle without motion, where the flexible map has nothing to gain and must lose nothing."""

import json

import mrcfile
import pytest
import torch

from napari_flex3d import stages
from napari_flex3d.mesh import MeshParams
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import ReconstructParams
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams

BOX, PIXEL = 32, 6.0


def test_without_motion_the_flexible_map_is_the_rigid_one(tmp_path):
    """Resolutions within one shell of each other; the maps differ by less than the half-maps of one kind do."""
    sample = write_sample(
        tmp_path / "sample", kind="rigid", particles=600, box=BOX, pixel_size=PIXEL, snr=0.1, seed=5
    )
    stages.prepare(
        PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), tmp_path / "prep"
    )
    stages.build_mesh(MeshParams(prep=tmp_path / "prep", cells=10), tmp_path / "mesh")
    stages.train_model(
        TrainParams(mesh=tmp_path / "mesh", latent_dims=1, rigidity=2.0, epochs=6), tmp_path / "train"
    )
    stages.reconstruct_maps(ReconstructParams(train=tmp_path / "train"), tmp_path / "reconstruct")
    summary = json.loads((tmp_path / "reconstruct" / "summary.json").read_text())

    for criterion in ("fsc143_A", "fsc05_A"):
        shells = [BOX * PIXEL / summary[kind][criterion] for kind in ("flex", "rigid")]
        assert shells[0] == pytest.approx(shells[1], abs=1)
    volumes = {
        name: torch.from_numpy(mrcfile.read(tmp_path / "reconstruct" / f"{name}.mrc").copy())
        for name in ("flex", "rigid", "flex_half1", "flex_half2", "rigid_half1", "rigid_half2")
    }
    kinds = fsc(volumes["flex"], volumes["rigid"])
    halves = [fsc(volumes[f"{kind}_half1"], volumes[f"{kind}_half2"]) for kind in ("flex", "rigid")]

    for half in halves:
        assert bool((kinds[1:-3] > half[1:-3]).all())
