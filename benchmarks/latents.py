"""Latents by damped Gauss-Newton steps against a first-order optimiser (Adam), on one trained model.

Run: python benchmarks/latents.py TRAIN_JOB [--particles 600] [--threads 1]
Every way starts with all latents at 0 and sees the same images, flow and map. A pass is one projection of a particle
with what a step needs: K tangents for Gauss-Newton, the way back for Adam. The best latents are those that
Gauss-Newton finds from several starts. Seconds are processor time.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_flex3d.fit import at_rest, begin, set_up
from napari_flex3d.fit.levels import level_at
from napari_flex3d.jobs import input_of
from napari_flex3d.latents import Prior, Scene, best_trial, gauss_newton, settled
from napari_flex3d.mesh import TetMesh
from napari_flex3d.model import checkpoint_folder, load_state
from napari_flex3d.motions import in_image_units, open_particles
from napari_flex3d.particles import ParticleBatch
from napari_flex3d.synthetic import r_squared
from napari_flex3d.train import TrainParams

BATCH = 64
STARTS = 8
RATES = (0.03, 0.1, 0.3)
NEWTON, ADAM = 6, 64


class Problem:
    """Some particles of a trained model, and what is to be minimised over their latents."""

    def __init__(self, job: Path, count: int) -> None:
        mesh_job = input_of(job, "mesh")
        particles, density, mask = open_particles(mesh_job)
        model, tensors = load_state(checkpoint_folder(job))
        params = TrainParams(mesh=mesh_job, **model.facts["chosen"])
        setup = set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, 0.05, params)
        state = begin(
            replace(setup, held_out=model.held_out),
            at_rest(setup, in_image_units(density, mask, particles)),
            params.layers,
            params.hidden_units,
        )
        state.restore(tensors)
        level = level_at(setup, state, params.epochs)
        self.generator, self.dims = state.average.requires_grad_(False), model.latent_dims
        self.prior = Prior(None, 4.0, torch.ones(self.dims))
        self.scene = Scene(state.values, level.body, level.box_size, level.pixel_size, level.oversampling)
        self.rows = np.linspace(0, len(particles) - 1, min(count, len(particles))).astype(int)
        self.batches = [batch for _, batch in level.batches(setup, self.rows, BATCH)]
        self.others = state.latents

    def objective(self, batch: ParticleBatch, latents: Tensor) -> Tensor:
        """What is minimised, for each particle of a batch (B)."""
        return self.scene.loss(batch, self.generator(latents)) + self.prior.energy(latents)

    def starts(self) -> list[Tensor]:
        """All latents at 0, a tensor a batch."""
        return [torch.zeros(len(batch.rotation), self.dims) for batch in self.batches]

    @torch.no_grad()
    def cost(self, latents: list[Tensor]) -> Tensor:
        """Objective of all particles."""
        return torch.cat([self.objective(b, z) for b, z in zip(self.batches, latents, strict=True)])

    @torch.no_grad()
    def best(self) -> list[Tensor]:
        """Where the objective is lowest, as far as several starts tell."""
        random = torch.Generator().manual_seed(0)
        found = []
        for batch in self.batches:
            count = len(batch.rotation)
            some = [
                self.others[torch.randint(len(self.others), (count,), generator=random)]
                for _ in range(STARTS)
            ]
            ends = [settled(self.scene, batch, self.generator, start, self.prior)[0] for start in some]
            best = best_trial(self.scene, batch, self.generator, torch.stack(ends), self.prior)
            found.append(settled(self.scene, batch, self.generator, best, self.prior)[0])
        return found

    def newton(self) -> Iterator[list[Tensor]]:
        """Latents after each Gauss-Newton step."""
        latents = self.starts()
        for _ in range(NEWTON):
            latents = [
                gauss_newton(self.scene, batch, self.generator, z, self.prior)[0]
                for batch, z in zip(self.batches, latents, strict=True)
            ]
            yield latents

    def adam(self, rate: float) -> Iterator[list[Tensor]]:
        """Latents after each of Adam's steps."""
        latents = [z.requires_grad_() for z in self.starts()]
        optimizers = [torch.optim.Adam([z], lr=rate) for z in latents]
        for _ in range(ADAM):
            for batch, z, optimizer in zip(self.batches, latents, optimizers, strict=True):
                optimizer.zero_grad()
                self.objective(batch, z).sum().backward()
                optimizer.step()
            yield [z.detach().clone() for z in latents]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", type=Path, help="a finished training")
    parser.add_argument("--particles", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--truth", type=Path, help="truth.npz of the set, for the R2 of its coordinates")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    problem = Problem(given.job, given.particles)
    best = problem.best()
    lowest = problem.cost(best)
    true = None if given.truth is None else np.load(given.truth)["param"][problem.rows]

    def told(name: str, passes: int, seconds: float, latents: list[Tensor]) -> None:
        above = problem.cost(latents) - lowest
        near = float((above < 0.1).float().mean())
        line = f"{name:18s} {passes:6d} {seconds:9.2f} {float(above.mean()):12.3f} {near:11.1%}"
        if true is not None:
            line += "   " + ", ".join(f"{v:.3f}" for v in r_squared(torch.cat(latents).numpy(), true))
        print(line, flush=True)

    print(f"{len(problem.rows)} particles, K = {problem.dims}, {given.threads} threads")
    print(f"{'':18s} {'passes':>6s} {'CPU, s':>9s} {'above best':>12s} {'within 0.1':>11s}   R2")
    told("start", 0, 0.0, problem.starts())
    ways = {"Gauss-Newton": problem.newton()} | {f"Adam, {rate:g}": problem.adam(rate) for rate in RATES}
    for name, steps in ways.items():
        seconds, began = 0.0, time.process_time()
        for i, latents in enumerate(steps, 1):
            seconds += time.process_time() - began
            if i <= 4 or i in (6, 8, 16, 32, 64):
                told(name, i, seconds, latents)
            began = time.process_time()
    told("best known", 0, 0.0, best)


if __name__ == "__main__":
    main()
