"""What is planned against what then happens, on sets of three sizes; the clock counts work instead of seconds.

What it counts is voxels times images that the projection kernels handle, of which nearly all time consists.
"""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch

import napari_flex3d
from napari_flex3d import fit, stages
from napari_flex3d.io.mrc import read_map
from napari_flex3d.mesh import MeshParams, TetMesh
from napari_flex3d.motions import train_mask
from napari_flex3d.ops.projection import _numba
from napari_flex3d.particles import Particles
from napari_flex3d.planning import durations, pace
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import ReconstructParams
from napari_flex3d.room import PROGRAM, of_training, sizes_of
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams

EPOCHS = 3
SIZES = {"small": (80, 32, 1), "more particles": (240, 32, 2), "larger box": (80, 48, 1)}


class WorkClock:
    """Counts the work of the projection kernels."""

    def __init__(self, monkeypatch):
        self.done = 0.0
        for name in ("spread", "gather", "tangent"):
            monkeypatch.setattr(_numba, name, self._counting(getattr(_numba, name), name))

    def _counting(self, kernel, name):
        def counting(*given):
            values, vertices = given[:2] if name != "gather" else given[1:3]
            directions = given[2].shape[1] if name == "tangent" else 0
            self.done += len(values) * len(vertices) * (1 + directions)
            return kernel(*given)

        return counting

    def __call__(self):
        return self.done


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES)
def planned(request, tmp_path_factory):
    """Plan and what happened: stage -> (work planned, work done), and the folder of the jobs."""
    particles, box, dims = request.param
    root = tmp_path_factory.mktemp("plan")
    made = write_sample(
        root / "sample", particles=particles, box=box, pixel_size=192 / box, snr=0.4, seed=1, extent=20
    )
    stages.prepare(PrepParams(particles=made.particles, map=made.map, mask=made.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=8), root / "mesh")
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = WorkClock(monkeypatch)
        monkeypatch.setattr(pace, "now", clock)
        monkeypatch.setattr(pace, "SECONDS", 0.0)
        monkeypatch.setattr(durations, "START", 0.0)
        plan = napari_flex3d.plan(
            root / "mesh",
            latent_dims=dims,
            rigidity=2.0,
            flow_lr=1e-3,
            flow_lr_final=1e-4,
            epochs=EPOCHS,
            max_iterations=2,  # how many it takes depends on the set: the work of each is what is planned
        )
        work = {}
        for stage, run, params in (
            (
                "train",
                stages.train_model,
                TrainParams(
                    mesh=root / "mesh",
                    latent_dims=dims,
                    rigidity=2.0,
                    flow_lr=1e-3,
                    flow_lr_final=1e-4,
                    epochs=EPOCHS,
                ),
            ),
            (
                "reconstruct",
                stages.reconstruct_maps,
                ReconstructParams(train=root / "train", max_iterations=2),
            ),
        ):
            start = clock()
            run(params, root / stage)
            work[stage] = clock() - start
    return {s.stage: (s, work[s.stage]) for s in plan.stages if s.stage in work}, root, dims


@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
@pytest.mark.parametrize("stage", ["train", "reconstruct"])
def test_work_is_within_a_factor_of_one_and_a_half(planned, stage):
    plan, done = planned[0][stage]
    assert 1 / 1.5 < plan.seconds / done < 1.5


@pytest.mark.parametrize("stage", ["train", "reconstruct"])
def test_files_are_within_a_factor_of_one_and_a_half(planned, stage):
    plans, root, _ = planned
    written = sum(file.stat().st_size for file in (root / stage).rglob("*") if file.is_file())
    assert 1 / 1.5 < plans[stage][0].disk / written < 1.5


def test_what_a_training_holds_was_counted(planned):
    _, root, dims = planned
    particles, density = Particles.open(root / "prep"), read_map(root / "prep" / "map_train.mrc")
    mask = train_mask(root / "mesh", density)
    params = TrainParams(
        mesh=root / "mesh", latent_dims=dims, rigidity=2.0, flow_lr=1e-3, flow_lr_final=1e-4, epochs=EPOCHS
    )
    setup = fit.set_up(particles, TetMesh.load(root / "mesh" / "mesh.npz"), mask, 0.05, params)
    state = fit.begin(
        setup,
        fit.at_rest(setup, (density.data * mask).astype(np.float32)),
        params.layers,
        params.hidden_units,
    )
    held = sum(size_of(thing) for thing in (setup, state, list(state.generator.buffers())))
    assert held < of_training(sizes_of(root / "mesh", dims), EPOCHS).memory - PROGRAM


def size_of(thing):
    """Bytes of the arrays in a nest of dataclasses, lists and dicts; mapped ones are not memory."""
    if isinstance(thing, torch.Tensor | np.ndarray):
        return 0 if isinstance(thing, np.memmap) else thing.nbytes
    if is_dataclass(thing):
        return sum(size_of(getattr(thing, f.name)) for f in fields(thing))
    if isinstance(thing, dict):
        return sum(map(size_of, thing.values()))
    return sum(map(size_of, thing)) if isinstance(thing, list | tuple) else 0
