"""The stage "reconstruct": half-maps at full resolution with the motion undone."""

import csv
import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.jobs import input_of
from napari_flex3d.mesh import voxel_positions
from napari_flex3d.model import FlexModel, load_model
from napari_flex3d.ops.backprojection import DensityPreconditioner, slice_weights
from napari_flex3d.ops.fourier import multiplicity, radii, shells, soft_edge
from napari_flex3d.ops.fsc import corrected_fsc, local_resolution, resolution
from napari_flex3d.ops.projection import Body, place, project, rigid_body
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.particles import Particles
from napari_flex3d.progress import Progress

BATCH = 32
ENOUGH = 1e-3
"""The solver stops when an iteration gains less than this share of all that was gained."""


@dataclass(frozen=True, kw_only=True)
class ReconstructParams(Params):
    """Parameters of the stage "reconstruct"."""

    train: Path = param(REQUIRED, "The training job.", positional=True, path="job")
    max_iterations: int = param(
        20, "Iterations at most for a half-map.", low=1, high=500, cryosparc="flex_bfgs_num_iters"
    )
    rigid_twin: bool = param(
        True,
        "Also reconstruct without motion, by the same solver, to compare with.",
        cryosparc="flex_do_noflex_recon",
    )


@dataclass(frozen=True)
class Problem:
    """Least squares for one half-map: images, where the map's voxels fall in them, and the noise.

    Parameters
    ----------
    particles
        At the crop box.
    rows
        Particles of the half-set.
    body
        The masked voxels on the mesh, or on a single tetrahedron for the rigid twin.
    model
        Gives every particle's flow; None for the rigid twin.
    weight
        Multiplicity over noise power of each coefficient (n, half).
    """

    particles: Particles
    rows: NDArray[np.int64]
    body: Body
    model: FlexModel | None
    weight: Tensor

    def vertices(self, rows: NDArray[np.int64], rotation: Tensor) -> Tensor:
        """Mesh vertices in each image (B, P, 2), pixels."""
        rest = self.body.vertices[None]
        if self.model is not None:
            with torch.no_grad():
                rest = rest + self.model.generator(torch.from_numpy(self.model.standard[rows]))
        return place(rotation, rest, self.particles.pixel_size)

    def gradient(
        self, values: Tensor | None, *, against_images: bool
    ) -> Generator[int, None, tuple[Tensor, float]]:
        """Sum over the particles of the gradient and of the value of half the squared misfit.

        Parameters
        ----------
        values
            The map's voxels, in the body's order; None for zero.
        against_images
            Misfit to the images; otherwise to nothing, which gives the normal operator's product.

        Yields
        ------
        Particles done so far.
        """
        box, count = self.particles.box_size, len(self.body.order)
        at = torch.zeros(count) if values is None else values
        total, value = torch.zeros(count), 0.0
        for start in range(0, len(self.rows), BATCH):
            rows = self.rows[start : start + BATCH]
            batch = self.particles.batch(rows)
            free = at.detach().clone().requires_grad_()
            images = batch.transfer * project(free, self.vertices(rows, batch.rotation), self.body, box)
            misfit = batch.transform - images if against_images else images
            loss = 0.5 * (self.weight * (misfit.real.square() + misfit.imag.square())).sum()
            (step,) = torch.autograd.grad(loss, free)
            total += step
            value += float(loss.detach())
            yield start + len(rows)
        return total, value

    def preconditioner(self, mask: Tensor) -> DensityPreconditioner:
        """The rigid problem's Fourier weights, as a preconditioner."""
        box = self.particles.box_size
        weights = torch.zeros(box, box, box // 2 + 1)
        for start in range(0, len(self.rows), BATCH):
            batch = self.particles.batch(self.rows[start : start + BATCH])
            weights += slice_weights(
                batch.rotation, batch.transfer.abs().square() * self.weight / multiplicity(box)
            )
        return DensityPreconditioner(weights, mask)


@dataclass(frozen=True)
class Iteration:
    """How far the solver is: passes over the data, iteration, and the objective once an iteration is done."""

    done: int
    total: int
    iteration: int
    objective: float | None = None


def solve(problem: Problem, mask: Tensor, max_iterations: int) -> Generator[Iteration, None, Tensor]:
    """Least-squares map of a half-set by preconditioned conjugate gradients.

    Parameters
    ----------
    problem
        The half-set.
    mask
        Free voxels (n, n, n).
    max_iterations
        At most; it stops earlier when an iteration gains less than `ENOUGH` of all that was gained.

    Returns
    -------
    Values of the free voxels, in the body's order, in the images' units.

    Notes
    -----
    Hestenes & Stiefel 1952 on the normal equations; the preconditioner inverts the rigid problem in Fourier space.
    Stopping early regularises: frequencies that the images hardly determine come last.
    """
    order = problem.body.order
    passes = (max_iterations + 1) * len(problem.rows)

    def watched(
        step: Generator[int, None, tuple[Tensor, float]], iteration: int
    ) -> Generator[Iteration, None, tuple[Tensor, float]]:
        while True:
            try:
                yield Iteration(iteration * len(problem.rows) + next(step), passes, iteration)
            except StopIteration as end:
                return end.value

    negative, objective = yield from watched(problem.gradient(None, against_images=True), 0)
    inverse = problem.preconditioner(mask)

    def precondition(vector: Tensor) -> Tensor:
        grid = torch.empty_like(vector)
        grid[order] = vector
        return inverse(grid)[order]

    start = objective
    yield Iteration(len(problem.rows), passes, 0, objective)
    values, residual = torch.zeros_like(negative), -negative
    scaled = precondition(residual)
    direction, strength = scaled, float(residual.double() @ scaled.double())
    for iteration in range(1, max_iterations + 1):
        product, _ = yield from watched(problem.gradient(direction, against_images=False), iteration)
        length = strength / float(direction.double() @ product.double())
        values = values + length * direction
        residual = residual - length * product
        gained = 0.5 * length * strength
        objective -= gained
        yield Iteration(passes * iteration // max_iterations, passes, iteration, objective)
        if gained < ENOUGH * (start - objective):
            break
        scaled = precondition(residual)
        stronger = float(residual.double() @ scaled.double())
        direction = scaled + (stronger / strength) * direction
        strength = stronger
    return values


def reconstruct(params: ReconstructParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Reconstruct both half-sets with the motion, and again without it.

    Writes ``flex_half1.mrc``, ``flex_half2.mrc``, ``flex.mrc``, the same for ``rigid``, ``fsc.csv``, ``fsc.png``,
    ``local_resolution.mrc`` and ``summary.json``.

    Raises
    ------
    InputError
        If a half-set has fewer than 10 particles.
    """
    mesh_job = input_of(params.train, "mesh")
    prep = input_of(mesh_job, "prep")
    particles = Particles.open(prep, "full")
    model = load_model(params.train)
    consensus = read_map(prep / "map.mrc")
    with np.load(mesh_job / "mesh.npz", allow_pickle=False) as file:
        mask, soft = file["mask"], torch.from_numpy(file["mask_soft"]).float()
    points = voxel_positions(np.argwhere(mask), len(mask), particles.pixel_size)
    yield Progress(0, 0, f"Tying {len(points)} voxels to the mesh")
    flexible = model.mesh.bind(points)
    bodies = {"flex": flexible}
    if params.rigid_twin:
        bodies["rigid"] = rigid_body(torch.from_numpy(points).float())
    halves: dict[str, list[Tensor]] = {}
    for part, (kind, body) in enumerate(bodies.items()):
        halves[kind] = []
        for half in (0, 1):
            rows = np.flatnonzero(particles.half == half)
            if len(rows) < 10:
                raise InputError(
                    f"{prep}: half-set {half + 1} has {len(rows)} particles; at least 10 are needed."
                )
            problem = Problem(particles, rows, body, model if kind == "flex" else None, _weight(particles))
            values = yield from _reported(
                solve(problem, torch.from_numpy(mask), params.max_iterations),
                kind,
                half,
                (2 * part + half) / (2 * len(bodies)),
                1 / (2 * len(bodies)),
            )
            volume = torch.zeros(mask.shape)
            inside = torch.zeros(len(values))
            inside[body.order] = values / particles.map_scale
            volume[torch.from_numpy(mask)] = inside
            halves[kind].append(volume)
            write_map(out / f"{kind}_half{half + 1}.mrc", volume.numpy(), like=consensus)
        write_map(out / f"{kind}.mrc", ((halves[kind][0] + halves[kind][1]) / 2).numpy(), like=consensus)
    yield Progress(99, 100, "Fourier shell correlation")
    curves = {kind: _curves(pair, soft) for kind, pair in halves.items()}
    limit = float(model.facts["training_limit_A"])
    pixel = particles.pixel_size
    _write_curves(out / "fsc.csv", curves, len(mask), pixel)
    draw_fsc(out / "fsc.png", curves, len(mask), pixel, limit)
    local = local_resolution(halves["flex"][0], halves["flex"][1], soft, pixel)
    write_map(out / "local_resolution.mrc", local.numpy(), like=consensus)
    summary: dict[str, Any] = {
        kind: {
            "fsc143_A": resolution(curve["corrected"], len(mask), pixel, 0.143),
            "fsc05_A": resolution(curve["corrected"], len(mask), pixel, 0.5),
        }
        for kind, curve in curves.items()
    }
    summary |= {
        "training_limit_A": limit,
        "particles": len(particles),
        "iterations_at_most": params.max_iterations,
    }
    with atomic(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    return summary


def _reported(
    solver: Generator[Iteration, None, Tensor], kind: str, half: int, start: float, share: float
) -> Generator[Progress, None, Tensor]:
    """Turn the solver's reports into the stage's."""
    while True:
        try:
            now = next(solver)
        except StopIteration as end:
            return end.value
        done = round(1000 * (start + share * now.done / now.total))
        if now.objective is None:
            yield Progress(done, 1000)
            continue
        metrics = {
            "half": half + 1,
            "rigid": int(kind == "rigid"),
            "iteration": now.iteration,
            "objective": now.objective,
        }
        words = f"{kind} half-map {half + 1}, iteration {now.iteration}: objective {now.objective:.1f}"
        yield Progress(done, 1000, words, metrics)


def _weight(particles: Particles) -> Tensor:
    box = particles.box_size
    power = torch.as_tensor(np.asarray(particles.noise))
    band = soft_edge(radii(box), 0.5 - 1.5 / box, 2 / box)
    band[0, 0] = 0  # the mean of an image is background
    return band * multiplicity(box) / power[shells(box).clamp(max=box // 2)]


def _curves(pair: list[Tensor], soft: Tensor) -> dict[str, Tensor]:
    unmasked, masked, corrected = corrected_fsc(pair[0], pair[1], soft)
    return {"unmasked": unmasked, "masked": masked, "corrected": corrected}


def _write_curves(path: Path, curves: dict[str, dict[str, Tensor]], box: int, pixel_size: float) -> None:
    names = [(kind, name) for kind, curve in curves.items() for name in curve]
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["shell", "frequency", "resolution", *(f"{kind}_{name}" for kind, name in names)])
        for shell in range(1, box // 2):
            frequency = shell / (box * pixel_size)
            values = (f"{float(curves[kind][name][shell]):.5f}" for kind, name in names)
            table.writerow([shell, f"{frequency:.6f}", f"{1 / frequency:.4f}", *values])


def draw_fsc(
    path: Path, curves: dict[str, dict[str, Tensor]], box: int, pixel_size: float, limit: float
) -> None:
    """Plot the FSC of both half-map pairs, with the limit up to which training saw the images."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    plot = figure.subplots()
    shell = np.arange(1, box // 2)
    frequency = shell / (box * pixel_size)
    for kind, colour in (("flex", "C2"), ("rigid", "C7")):
        if kind not in curves:
            continue
        found = resolution(curves[kind]["corrected"], box, pixel_size, 0.143)
        plot.plot(frequency, curves[kind]["corrected"][shell], color=colour, label=f"{kind}, {found:.2f} Å")
        plot.plot(frequency, curves[kind]["unmasked"][shell], color=colour, linewidth=0.8, linestyle=":")
    for level in (0.143, 0.5):
        plot.axhline(level, color="gray", linewidth=0.7)
    plot.axvline(
        1 / limit, color="C1", linewidth=1, linestyle="--", label=f"training saw up to {limit:.1f} Å"
    )
    plot.set(xlabel="spatial frequency (1/Å)", ylabel="FSC of half-maps", ylim=(-0.05, 1.02), xlim=(0, None))
    plot.legend(title="solid: mask-corrected, dotted: unmasked")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
