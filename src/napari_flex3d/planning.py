"""How long the next stages of a job will take here, and what memory and disk they need: measured first, for seconds."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_flex3d.fit import Fit, Setup, begin, early_epochs, fit, set_up
from napari_flex3d.generate import GenerateParams
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import input_of, read_job
from napari_flex3d.mesh import TetMesh, regular_mesh, voxel_positions
from napari_flex3d.model import load_model
from napari_flex3d.ops.convection import convect
from napari_flex3d.ops.gridding import gather3, spread3
from napari_flex3d.ops.projection import Body, place, project, rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.reconstruct import ReconstructParams
from napari_flex3d.reconstruct.shared import INNER
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
from napari_flex3d.train import TrainParams, train_mask

now = time.perf_counter
"""The clock; a benchmark on a busy machine takes the processor's."""

SECONDS = 1.0
"""Time to measure each kind of step for."""

HELD_OUT_VISIT = 1.6
"""A visit of a held-out particle, which scores trial latents and takes two steps, in visits of a training particle."""

LAST_VISIT = 0.4
"""The last step of a training particle's latent, in visits."""

ITERATIONS = 3
"""Iterations that a half-map usually needs before one gains next to nothing."""

BESIDES = 1.7
"""Passes over the particles besides: the first gradient, and the weights of those that share a deformation."""

VOXELS = 60_000
"""Voxels of the crop box that a pass is measured with; a pass is linear in them."""


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
    start = now()
    density = read_map(prep / "map.mrc")
    mask = read_map(prep / "mask.mrc").data > 0.5
    mesh, _ = regular_mesh(mask, density.pixel_size, params.get("cells", 20))
    took = 3 * (now() - start) + 2  # and its picture, weights and files
    facts = read_job(prep).summary
    sizes = Sizes(
        int(facts["particles"]),
        int(facts["train_box"]),
        int(facts["crop_box"]),
        float(mask.mean()),
        len(mesh.vertices),
        params.get("latent_dims", 2),
    )
    need = Need(700_000_000 + 60 * mask.size, 0, 14 * mask.size)
    first = _judged("mesh", took, need, sizes, prep)
    return [first, *_training_and_after(prep, prep, mesh, sizes, params)]


def _from_mesh(job: Path, params: dict[str, Any]) -> list[StagePlan]:
    sizes = sizes_of(job, params.get("latent_dims", 2))
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
    need = of_training(sizes, train.epochs)
    seconds = math.nan
    if need.memory < available_memory():  # else even the measurement would not fit
        seconds = _training_time(prep, mask_from, mesh, train)
    planned = _judged("train", seconds, need, sizes, prep)
    return [planned, *_after_training(prep, mesh, sizes, prep, params)]


def _training_time(prep: Path, mask_from: Path, mesh: TetMesh, params: TrainParams) -> float:
    """Start a training with nothing written, time some steps of each kind, and count how many of each there will be."""
    start = now()
    particles = Particles.open(prep, "train")
    density = read_map(prep / "map_train.mrc")
    no_mesh = mask_from == prep
    mask = read_map(prep / "mask_train.mrc").data > 0.5 if no_mesh else train_mask(mask_from, density)
    setup = set_up(particles, mesh, mask, params.held_out / 100, params)
    scaled = (density.data * mask * particles.map_scale).astype(np.float32)
    state = begin(setup, scaled, params.layers, params.hidden_units)
    seconds = now() - start + 1  # and pictures and tables at the end
    early = min(early_epochs(params.epochs), params.epochs)
    shown = sorted({0, min(1, early - 1), early - 1} | ({early} if early < params.epochs else set()))
    visit, begun = {}, {}
    for epoch in shown:
        begun[epoch], visit[epoch] = _timed_epoch(setup, state, epoch)
    visits = np.interp(np.arange(params.epochs), shown, [visit[e] for e in shown])
    seconds += sum(begun[min(shown, key=lambda s: abs(s - e))] for e in range(min(early + 1, params.epochs)))
    count, held = len(setup.train), int(setup.held_out.sum())
    seconds += float(visits.sum()) * (count + HELD_OUT_VISIT * held) + LAST_VISIT * count * float(visits[-1])
    return seconds


def _timed_epoch(setup: Setup, state: Fit, epoch: int) -> tuple[float, float]:
    """Seconds until an epoch's second step is done, less its steps; and seconds a particle."""
    state.epoch = epoch
    steps = fit(setup, state)
    start = now()
    for _ in islice(steps, 2):  # loads or compiles kernels
        pass
    begun = now() - start
    a_step = _median(lambda: next(steps))
    steps.close()
    return max(0.0, begun - 2 * a_step), a_step / setup.batch_size


def _median(work: Callable[[], object]) -> float:
    """Median seconds of a piece of work that is repeated for a while; what disturbs it once does not count."""
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < SECONDS:
        start = now()
        work()
        taken.append(now() - start)
    return statistics.median(taken)


def _after_training(
    prep: Path, mesh: TetMesh, sizes: Sizes, out: Path, params: dict[str, Any]
) -> Iterator[StagePlan]:
    frames = params.get("frames", _default(GenerateParams, "frames")) * sizes.latent_dims
    series = of_series(sizes, frames, sizes.train_box)
    yield _judged("generate", frames * _volume_time(sizes) + 5, series, sizes, out)
    twin = params.get("rigid_twin", _default(ReconstructParams, "rigid_twin"))
    need = of_reconstruction(sizes, rigid_twin=twin)
    seconds = math.nan
    if need.memory < available_memory():
        most = params.get("max_iterations", _default(ReconstructParams, "max_iterations"))
        iterations = min(ITERATIONS, most)
        product = _product_time(sizes)
        seconds = 4.0
        for flexible, groups in ((True, sizes.groups), (False, 1))[: 1 + twin]:
            seconds += (
                (iterations + BESIDES) * sizes.particles * _pass_time(prep, mesh, sizes, flexible=flexible)
            )
            seconds += 2 * iterations * INNER * product * math.ceil(groups / torch.get_num_threads())
    yield _judged("reconstruct", seconds, need, sizes, out)


def _default(params: type[Any], name: str) -> Any:
    return next(info.default for info in params.describe() if info.name == name)


def _volume_time(sizes: Sizes) -> float:
    """Seconds to move one map of the training box, write it and draw it."""
    count, box = sizes.voxels(sizes.train_box), sizes.train_box
    random = torch.Generator().manual_seed(0)
    points = (torch.rand(count, 3, generator=random) - 0.5) * box * 0.8
    values = torch.rand(count, generator=random)
    convect(values, points, box, 1.0, 3)
    start = now()
    convect(values, points, box, 1.0, 3)
    return 3 * (now() - start)


def _pass_time(prep: Path, mesh: TetMesh, sizes: Sizes, *, flexible: bool) -> float:
    """Seconds a particle of a pass of "reconstruct", from two thinned masks: a pass is linear in the voxels."""
    particles = Particles.open(prep, "full")
    mask = read_map(prep / "mask.mrc").data > 0.5
    every = max(1, int(mask.sum()) // VOXELS)
    points = voxel_positions(np.argwhere(mask)[::every], len(mask), particles.pixel_size)
    whole = mesh.bind(points) if flexible else rigid_body(torch.from_numpy(points).float())
    part = whole.subset(torch.arange(len(points)) % 4 == 0)
    full, quarter = (_time_of_images(particles, body) for body in (whole, part))
    a_voxel = max(0.0, full - quarter) / (len(whole.order) - len(part.order))
    return full + a_voxel * (sizes.voxels(sizes.crop_box) - len(whole.order))


def _product_time(sizes: Sizes) -> float:
    """Seconds of a product with one shared deformation: transforms of a volume, and its voxels there and back."""
    box, count = sizes.crop_box, min(VOXELS, sizes.voxels(sizes.crop_box))
    volume = torch.zeros(box, box, box)
    body = rigid_body((torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * box / 2)
    values = torch.ones(count)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # groups are spread over the threads
    gather3(spread3(values, body.vertices, body, box), body.vertices, body)  # loads or compiles
    there = _median(lambda: gather3(spread3(values, body.vertices, body, box), body.vertices, body))
    transforms = _median(lambda: torch.fft.irfftn(torch.fft.rfftn(volume), s=volume.shape))
    torch.set_num_threads(threads)
    return there * sizes.voxels(box) / count + transforms


def _time_of_images(particles: Particles, body: Body) -> float:
    rows = np.arange(min(16, len(particles)))
    values = torch.ones(len(body.order), requires_grad=True)

    def once() -> Tensor:
        batch = particles.batch(rows)
        at = place(batch.rotation, body.vertices[None], particles.pixel_size)
        misfit = batch.transform - batch.transfer * project(values, at, body, particles.box_size)
        return torch.autograd.grad(torch.view_as_real(misfit).square().sum(), values)[0]

    once()
    return _median(once) / len(rows)


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
