"""How long the next stages of a job will take here, and what memory and disk they need: measured first, for seconds."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from napari_flex3d.generate import GenerateParams
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import input_of, read_job
from napari_flex3d.mesh import TetMesh, regular_mesh
from napari_flex3d.model import load_model
from napari_flex3d.planning import pace
from napari_flex3d.planning.durations import START
from napari_flex3d.reconstruct import ReconstructParams
from napari_flex3d.room import (
    Need,
    Sizes,
    available_memory,
    free_disk,
    in_words,
    of_reconstruction,
    of_series,
    of_training,
    remedy,
    sizes_of,
)
from napari_flex3d.train import TrainParams


@dataclass(frozen=True)
class StagePlan:
    """What a stage will need.

    Parameters
    ----------
    stage
        Its name.
    seconds
        How long it will take.
    memory, device_memory, disk
        Bytes at most; of a GPU's memory if one computes.
    refusal
        Why it does not fit, and which parameter to lower; empty when it fits.
    """

    stage: str
    seconds: float
    memory: int
    device_memory: int
    disk: int
    refusal: str = ""


@dataclass(frozen=True)
class Plan:
    """Plans of the next stages; ``memory`` and ``disk`` are what is free here, in bytes."""

    stages: tuple[StagePlan, ...]
    memory: int
    disk: int
    threads: int

    def to_record(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return asdict(self)


def plan(job: Path | str, **params: Any) -> Plan:
    """Measure for about 10 seconds, and predict what the stages after a job will need with these parameters.

    Parameters
    ----------
    job
        A prep, mesh or training job.
    params
        Parameters of the next stages by name, such as ``latent_dims`` or ``epochs``; defaults otherwise.

    Raises
    ------
    InputError
        If the job is none of these.
    """
    job = Path(job)
    stage = read_job(job).stage
    if stage == "prep":
        planned = _from_prep(job, params)
    elif stage == "mesh":
        planned = _from_mesh(job, params)
    elif stage == "train":
        planned = _from_training(job, params)
    else:
        raise InputError(f"{job} is a {stage} job: nothing follows it. Give a prep, mesh or train job.")
    return Plan(tuple(planned), available_memory(), free_disk(job), torch.get_num_threads())


def _from_prep(prep: Path, params: dict[str, Any]) -> list[StagePlan]:
    start = pace.now()
    density = read_map(prep / "map.mrc")
    mask = read_map(prep / "mask.mrc").data > 0.5
    mesh, _ = regular_mesh(mask, density.pixel_size, params.get("cells", 20))
    took = 3 * (pace.now() - start) + 2  # and its picture, weights and files
    facts = read_job(prep).summary
    sizes = Sizes(
        int(facts["particles"]),
        int(facts["train_box"]),
        int(facts["crop_box"]),
        float(mask.mean()),
        len(mesh.vertices),
        _latent_dims(params),
    )
    need = Need(700_000_000 + 60 * mask.size, 0, 14 * mask.size)
    first = _judged("mesh", took, need, sizes, prep)
    return [first, *_training_and_after(prep, prep, mesh, sizes, params)]


def _latent_dims(params: dict[str, Any]) -> int:
    """Latent coordinates asked for, or a guess where the particles are to say."""
    dims = params.get("latent_dims", "auto")
    return 2 if dims == "auto" else int(dims)


def _from_mesh(job: Path, params: dict[str, Any]) -> list[StagePlan]:
    sizes = sizes_of(job, _latent_dims(params))
    return _training_and_after(input_of(job, "prep"), job, TetMesh.load(job / "mesh.npz"), sizes, params)


def _from_training(job: Path, params: dict[str, Any]) -> list[StagePlan]:
    mesh_job = input_of(job, "mesh")
    model = load_model(job)
    sizes = sizes_of(mesh_job, model.latent_dims)
    return list(_after_training(input_of(mesh_job, "prep"), model.mesh, sizes, job, params))


def _training_and_after(
    prep: Path, mask_from: Path, mesh: TetMesh, sizes: Sizes, params: dict[str, Any]
) -> list[StagePlan]:
    known = {info.name for info in TrainParams.describe()}
    train = TrainParams(mesh=mask_from, **{k: v for k, v in params.items() if k in known})
    need = of_training(sizes, train.epochs + train.extra_epochs)
    seconds = math.nan
    if need.memory < available_memory():  # else even the measurement would not fit
        measured, count, held = pace.of_training(prep, mask_from, mesh, train)
        seconds = measured.seconds(train.epochs, count, held, train.extra_epochs)
    planned = _judged("train", seconds, need, sizes, prep)
    return [planned, *_after_training(prep, mesh, sizes, prep, params)]


def _after_training(
    prep: Path, mesh: TetMesh, sizes: Sizes, out: Path, params: dict[str, Any]
) -> Iterator[StagePlan]:
    frames = params.get("frames", _default(GenerateParams, "frames")) * sizes.latent_dims
    series = of_series(sizes, frames, sizes.train_box)
    yield _judged("generate", frames * pace.of_volumes(sizes) + START, series, sizes, out)
    twin = params.get("rigid_twin", _default(ReconstructParams, "rigid_twin"))
    need = of_reconstruction(sizes, rigid_twin=twin)
    seconds = math.nan
    if need.memory < available_memory():
        most = params.get("max_iterations", _default(ReconstructParams, "max_iterations"))
        measured = pace.of_reconstruction(prep, mesh, sizes, rigid_twin=twin)
        seconds = measured.seconds(sizes.particles, sizes.groups, most, rigid_twin=twin)
    yield _judged("reconstruct", seconds, need, sizes, out)


def _default(params: type[Any], name: str) -> Any:
    return next(info.default for info in params.describe() if info.name == name)


def _judged(stage: str, seconds: float, need: Need, sizes: Sizes, out: Path) -> StagePlan:
    planned = StagePlan(stage, seconds, need.memory, need.device_memory, need.disk)
    memory, disk = available_memory(), free_disk(out)
    if need.memory > memory:
        words = (
            f"needs {in_words(need.memory)} of memory, {in_words(memory)} are free. {remedy(stage, sizes)}."
        )
        return replace(planned, refusal=words)
    if need.disk > disk:
        words = f"writes {in_words(need.disk)}, {in_words(disk)} are free on this disk. Make room."
        return replace(planned, refusal=words)
    return planned
