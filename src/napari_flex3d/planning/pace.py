"""The pace of the next stages on the particles of a job, measured for some seconds with nothing written."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_flex3d.devices import choose_device
from napari_flex3d.fit import Fit, Setup, at_rest, begin, early_epochs, fit, motions, rigidity, set_up
from napari_flex3d.fit.covariance import expectation_maximisation
from napari_flex3d.fit.state import Rest
from napari_flex3d.io.mrc import read_map
from napari_flex3d.mesh import TetMesh, voxel_positions
from napari_flex3d.motions import in_image_units, train_mask
from napari_flex3d.ops.backprojection import SliceSum
from napari_flex3d.ops.convection import convect
from napari_flex3d.ops.fsc import local_resolution, resolution_windows
from napari_flex3d.ops.gridding import gather3, spread3
from napari_flex3d.ops.projection import Body, place, project, rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.planning.durations import ReconstructionPace, TrainingPace, shown_epochs, visits
from napari_flex3d.room import Sizes
from napari_flex3d.train import TrainParams

SECONDS = 0.2
"""Time to measure each kind of step for."""

FIRST = 3
"""Steps before any is timed."""

CUBE, WINDOW = 12, 18
"""Side of the part of the mask and window, voxels, that the local resolution is measured with."""

WEIGHED = 64
"""Particles that the maps' Fourier weights are taken from here; their time is linear in them."""

VOXELS = 60_000
"""Voxels of the crop box that a pass is measured with; a pass is linear in them."""


def now() -> float:
    """Time when all that a GPU was asked for is done; a benchmark on a busy machine takes the processor's."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def of_training(
    prep: Path, mask_from: Path, mesh: TetMesh, params: TrainParams
) -> tuple[TrainingPace, int, int]:
    """Start a training and time some steps of each kind; particles that it will train on and hold out besides."""
    start = now()
    particles = Particles.open(prep, "train")
    density = read_map(prep / "map_train.mrc")
    no_mesh = mask_from == prep
    mask = read_map(prep / "mask_train.mrc").data > 0.5 if no_mesh else train_mask(mask_from, density)
    setup = set_up(particles, mesh, mask, params.held_out / 100, params, choose_device(params.device))
    guessed = {"latent_dims": 2, "rigidity": 2.0, "flow_lr": 1e-4, "flow_lr_final": 1e-5}
    setup = setup.decided(**{k: v for k, v in guessed.items() if getattr(params, k) == "auto"})
    rest = at_rest(setup, in_image_units(density, mask, particles))
    state = begin(setup, rest, params.layers, params.hidden_units)
    took, visit, begun = now() - start, {}, {}
    few = replace(setup, weighed=WEIGHED)
    for epoch in shown_epochs(params.epochs):
        begun[epoch], visit[epoch] = _timed_epoch(few, state, epoch)
    if early_epochs(params.epochs) in begun:  # where the maps are released
        more = min(len(setup.train), setup.weighed) - WEIGHED
        begun[early_epochs(params.epochs)] += max(0, more) * _weighing_time(few)
    finds = params.start == "motions" and params.initial_latents is None and params.continue_from is None
    look = _look(setup, rest) if finds else 0.0
    scans = params.rigidity == "auto" and params.continue_from is None
    scan = _scan(setup, state, visit) if scans else 0.0
    return TrainingPace(took, begun, visit, look, scan), len(setup.train), int(setup.held_out.sum())


def _scan(setup: Setup, state: Fit, visit: dict[int, float]) -> float:
    """Seconds a particle of a short training at one strength of rigidity, whose epochs are all early ones."""
    epochs, shown = setup.params.epochs, (0, 1, rigidity.EPOCHS - 1)
    if epochs < 3 * rigidity.EPOCHS:  # else they are the first of the training itself
        coarse = setup.decided(epochs=3 * rigidity.EPOCHS)
        visit = {epoch: _timed_epoch(coarse, state, epoch)[1] for epoch in shown}
    return float(visits(visit, rigidity.EPOCHS).sum())


def _weighing_time(setup: Setup) -> float:
    """Seconds a particle of the maps' Fourier weights and signal."""
    rows, box = setup.train[:WEIGHED], setup.particles.box_size

    def once() -> None:
        batch, sums = setup.particles.batch(rows), SliceSum(box, with_values=True)
        sums.add(batch.rotation, batch.transfer.abs().square(), batch.transform)

    return _median(once) / len(rows)


def _look(setup: Setup, rest: Rest) -> float:
    """Seconds a particle of the search for motions: its part of the pass and of expectation-maximisation."""
    steps, few, size = motions.find_motions(setup, rest), 64, motions.MODES + 6
    for _ in islice(steps, 2):  # small sets have few
        pass
    a_step = _median(lambda: next(steps, None))
    steps.close()
    precision = torch.eye(size, dtype=torch.float64).repeat(few, 1, 1)
    iteration = _median(lambda: expectation_maximisation(precision, precision[:, 0], 1.0, 1)) / few
    return a_step / motions.BATCH + motions.STEPS * (motions.NULLS + 2) * iteration


def _timed_epoch(setup: Setup, state: Fit, epoch: int) -> tuple[float, float]:
    """Seconds until an epoch is under way, less its steps; and seconds a particle."""
    state.epoch = epoch
    steps = fit(setup, state)
    start = now()
    for _ in islice(steps, FIRST):  # loads or compiles kernels, and asks for memory
        pass
    begun = now() - start
    a_step = _median(lambda: next(steps))
    steps.close()
    return max(0.0, begun - FIRST * a_step), a_step / setup.batch_size


def _median(work: Callable[[], object]) -> float:
    """Median seconds of a piece of work that is repeated for a while; what disturbs it once does not count."""
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < SECONDS:
        start = now()
        work()
        taken.append(now() - start)
    return statistics.median(taken)


def of_volumes(sizes: Sizes) -> float:
    """Seconds to move one map of the training box, write it and draw it."""
    count, box = sizes.voxels(sizes.train_box), sizes.train_box
    random = torch.Generator().manual_seed(0)
    points = (torch.rand(count, 3, generator=random) - 0.5) * box * 0.8
    values = torch.rand(count, generator=random)
    convect(values, points, box, 1.0, 3)
    start = now()
    convect(values, points, box, 1.0, 3)
    return 3 * (now() - start)


def of_reconstruction(prep: Path, mesh: TetMesh, sizes: Sizes, *, rigid_twin: bool) -> ReconstructionPace:
    """Time passes over a few particles, products with a shared deformation, and the local resolution of a part."""
    flexible = _pass_time(prep, mesh, sizes, flexible=True)
    rigid = _pass_time(prep, mesh, sizes, flexible=False) if rigid_twin else 0.0
    product, looked = _product_time(sizes), _resolution_time(prep)
    return ReconstructionPace(flexible, rigid, product, torch.get_num_threads(), looked)


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


def _resolution_time(prep: Path) -> float:
    """Seconds of the local resolution of a map, from a part of its mask; it hardly depends on the window."""
    mask = torch.from_numpy(np.array(read_map(prep / "mask.mrc").data))
    n, middle = len(mask), torch.nonzero(mask > 0).float().mean(0).long().tolist()
    part = torch.zeros_like(mask)
    part[tuple(slice(max(0, m - CUBE // 2), m + CUBE // 2) for m in middle)] = 1
    noise = torch.randn(2, n, n, n, generator=torch.Generator().manual_seed(0))
    start = now()
    local_resolution(noise[0], noise[1], part, 1.0, window=WINDOW)
    share = resolution_windows(part, WINDOW) / max(1, resolution_windows(mask, WINDOW))
    return (now() - start) / max(share, 1e-3)
