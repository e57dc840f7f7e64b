"""Particles per second of training and where the time goes, next to those of another checkout in the same run.

    python benchmarks/training.py [--box 64 128] [--latent-dims 1 2 5] [--threads 2] [--device cuda]
        [--against CHECKOUT] [--cpu-time]

A made protein is trained on from the start of each kind of epoch: the early ones, of which the first has no trial
latents, and the later ones, in which the map moves as well. CHECKOUT is a folder with ``src/`` of another version, as
``git worktree add CHECKOUT COMMIT`` makes one. With --cpu-time what counts is the processor time of one thread,
for a machine that does other work. On a GPU the parts are not told apart: it works while the program goes on.
"""

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari_flex3d  # noqa: F401 (before torch: it says how torch's threads wait)

EPOCHS = 16
EARLY = EPOCHS // 3
SHOWN = (0, 1, 2, 3, 4, 8)
PARTICLES = 12_800
"""As many as fill a batch of 64; they are the same few over and over."""

FEW = 256


class Clock:
    """Time spent in named parts; what one part spends inside another counts for the inner one only."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.spent: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Count calls of a function as a part; nothing if this version has no such function."""
        function = getattr(owner, name, None)
        if function is None:
            return

        def watched(*args: Any, **kwargs: Any) -> Any:
            start = self.now()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                took = self.now() - start
                self.spent[part] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        setattr(owner, name, watched)


def watch_all(clock: Clock) -> None:
    """Name the parts of a training, in this version and in earlier ones."""
    from napari_flex3d import fit, latents, model, particles
    from napari_flex3d.ops import backprojection, projection
    from napari_flex3d.ops.projection import _numba

    for name in ("spread", "gather", "tangent"):
        clock.watch(_numba, name, "kernel")
    transforms = getattr(projection, "transforms", None)
    for owner, name in (
        (transforms, "forward"),
        (transforms, "inverse"),
        (projection, "_to_transform"),
        (projection, "_from_transform"),
        (particles, "rfft2"),
        (particles, "cropped_rfft2"),
        (backprojection, "rfft3"),
        (backprojection, "irfft3"),
        (backprojection.torch.fft, "rfftn"),
        (backprojection.torch.fft, "irfftn"),
    ):
        clock.watch(owner, name, "FFT")
    if transforms is not None:
        from napari_flex3d.ops import misfit

        clock.watch(misfit, "_on_cpu", "compare")
        clock.watch(misfit, "_pulled_back", "compare")
    clock.watch(particles.Optics, "transfer", "CTF")
    clock.watch(getattr(fit, "DensitySteps", fit), "take", "map")
    clock.watch(latents, "place", "place")
    clock.watch(fit, "_rigidity", "rigidity")
    for name in ("features", "flow", "with_jacobian"):
        clock.watch(model.FlowGenerator, name, "network")
    clock.watch(latents.torch.optim.Adam, "step", "network")
    clock.watch(particles.Particles, "batch", "batch")
    clock.watch(fit, "gauss_newton", "latents")
    clock.watch(fit, "best_trial", "latents")


def problem(folder: Path, box: int) -> Path:
    """Prep and mesh jobs of a made protein; returns the mesh job."""
    from napari_flex3d import stages
    from napari_flex3d.mesh import MeshParams
    from napari_flex3d.prep import PrepParams
    from napari_flex3d.synthetic import write_sample

    made = write_sample(folder / "sample", particles=FEW, box=box, pixel_size=192 / box, snr=0.1, seed=0)
    prep = PrepParams(particles=made.particles, map=made.map, mask=made.mask)
    stages.prepare(prep, folder / "prep")
    stages.build_mesh(MeshParams(prep=folder / "prep"), folder / "mesh")
    return folder / "mesh"


def measure(
    mesh_job: Path, latent_dims: int, threads: int, cpu_time: bool, seconds: float, device: str
) -> dict[str, Any]:
    """Particles per second and shares of time in each shown epoch."""
    import numpy as np
    import torch

    from napari_flex3d import fit, train
    from napari_flex3d.io.mrc import read_map
    from napari_flex3d.mesh import TetMesh
    from napari_flex3d.particles import Particles
    from napari_flex3d.train import TrainParams

    torch.set_num_threads(threads)
    few = Particles.open(mesh_job.parent / "prep", "train")
    many = np.arange(PARTICLES) % len(few)
    particles = Particles(
        np.asarray(few.images)[many], few.table.take(many), few.pixel_size, few.noise, few.map_scale
    )
    density = read_map(mesh_job.parent / "prep" / "map_train.mrc")
    masked = getattr(train, "_mask", None) or importlib.import_module("napari_flex3d.motions").train_mask
    mask = masked(mesh_job, density)
    numbers = {"rigidity": 2.0, "flow_lr": 1e-4, "flow_lr_final": 1e-5}  # else found first
    params = TrainParams(mesh=mesh_job, latent_dims=latent_dims, epochs=EPOCHS, **numbers)
    gpu = () if device == "cpu" else (device,)
    setup = fit.set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, 0.05, params, *gpu)
    scaled = (density.data * mask * particles.map_scale).astype(np.float32)
    rest = fit.at_rest(setup, scaled) if hasattr(fit, "at_rest") else scaled  # what earlier versions want
    state = fit.begin(setup, rest, 6, 64)
    clock = Clock(time.thread_time if cpu_time else time.perf_counter)
    if not gpu:
        watch_all(clock)
    found: dict[str, Any] = {"voxels": int(mask.sum()), "cells": len(setup.mesh.cells), "epochs": {}}
    for epoch in SHOWN:
        state.epoch = epoch
        steps = fit.fit(setup, state)
        for _ in range(6 if gpu else 2):  # on a GPU one of them is recorded
            next(steps)
        clock.spent.clear()
        start, count = clock.now(), 0
        while count < 3 or clock.now() - start < seconds:
            next(steps)
            count += 1
        if gpu:
            torch.cuda.synchronize()
        took = clock.now() - start
        steps.close()
        shares = {part: spent / took for part, spent in clock.spent.items()}
        found["epochs"][epoch] = {"rate": count * setup.batch_size / took, "shares": shares}
    if gpu:
        found["gpu memory"] = torch.cuda.max_memory_allocated()
    return found


def asked(arguments: argparse.Namespace, source: Path | None, mesh_job: Path, dims: int) -> dict[str, Any]:
    """Measure in a process of its own, with this version or another."""
    environment = dict(os.environ)
    if source is not None:
        environment["PYTHONPATH"] = str(source / "src")
    command = [sys.executable, __file__, "--worker", str(mesh_job), "--latent-dims", str(dims)]
    command += ["--threads", str(arguments.threads), "--seconds", str(arguments.seconds)]
    command += ["--device", arguments.device]
    command += ["--cpu-time"] * arguments.cpu_time
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def early_rate(found: dict[str, Any]) -> float:
    """Particles per second over all early epochs."""
    return EARLY / sum(1 / found["epochs"][str(epoch)]["rate"] for epoch in range(EARLY))


def whole(found: dict[str, Any]) -> tuple[float, float]:
    """Particles per second and the share of kernel and FFT over all epochs, by the time that each takes."""
    by_epoch = [found["epochs"][str(epoch if epoch < EARLY else SHOWN[-1])] for epoch in range(EPOCHS)]
    seconds = [1 / each["rate"] for each in by_epoch]
    inside = sum(
        s * (e["shares"].get("kernel", 0) + e["shares"].get("FFT", 0))
        for s, e in zip(seconds, by_epoch, strict=True)
    )
    return EPOCHS / sum(seconds), inside / sum(seconds)


def show(box: int, dims: int, name: str, found: dict[str, Any], first: dict[str, Any] | None) -> None:
    """Print one version's lines."""
    late = found["epochs"][str(SHOWN[-1])]
    epochs = {"first": "0", "second": "1", "later": str(SHOWN[-1])}
    for label, epoch in epochs.items():
        rate, shares = found["epochs"][epoch]["rate"], found["epochs"][epoch]["shares"]
        inside = shares.get("kernel", 0) + shares.get("FFT", 0)
        ratio = f"{rate / first['epochs'][epoch]['rate']:6.2f}" if first else "      "
        parts = "  ".join(f"{p} {shares.get(p, 0):.0%}" for p in PARTS) if shares else ""
        print(
            f"{box:4d} {dims:2d}  {name:8s} {label:7s} {rate:9.0f} {ratio} {inside or math.nan:8.0%}   {parts}"
        )
    rate, inside = whole(found)
    share = f"{inside or math.nan:8.0%}"
    ratio = f"{rate / whole(first)[0]:6.2f}" if first else "      "
    print(f"{box:4d} {dims:2d}  {name:8s} {'whole':7s} {rate:9.0f} {ratio} {share}   all {EPOCHS} epochs")
    cheap = early_rate(found) / late["rate"]
    if "gpu memory" in found:
        print(f"         {name:8s} {found['gpu memory'] / 1e6:.0f} MB of the GPU's memory at most")
    print(f"         {name:8s} early epochs, all {EARLY}: {cheap:.2f} times cheaper than a later one")


PARTS = ("kernel", "FFT", "compare", "CTF", "network", "place", "map", "rigidity", "latents", "batch")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--latent-dims", type=int, nargs="+", default=[1, 2, 5])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cpu_time:
        arguments.threads = 1
    if arguments.worker:
        found = measure(
            arguments.worker,
            arguments.latent_dims[0],
            arguments.threads,
            arguments.cpu_time,
            arguments.seconds,
            arguments.device,
        )
        print(json.dumps(found))
        return
    print(f"{arguments.threads} threads, {'processor' if arguments.cpu_time else 'wall'} time, batches of 64")
    print(" box  K  version  epoch   particles/s ratio  kernel+FFT   share of the time")
    for box in arguments.box:
        with tempfile.TemporaryDirectory() as folder:
            mesh_job = problem(Path(folder), box)
            for dims in arguments.latent_dims:
                first = None
                if arguments.against:
                    first = asked(arguments, arguments.against, mesh_job, dims)
                    show(box, dims, "other", first, None)
                found = asked(arguments, None, mesh_job, dims)
                show(box, dims, "this", found, first)


if __name__ == "__main__":
    main()
