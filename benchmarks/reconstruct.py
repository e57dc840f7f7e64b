"""How many passes over the particles each solver needs for the same half-map, on a made set, and the time of each.

Run: python benchmarks/reconstruct.py [--box 128 192] [--particles 2000] [--threads 2]
     python benchmarks/reconstruct.py --memory [--box 320]
The objective to be reached is that of 20 iterations of plain L-BFGS, as 3DFlex was published with. With --memory few
particles are reconstructed by the stage itself, with as many shared deformations as there ever are, and its largest
size is printed: each further particle adds a row of a table, some 600 bytes.
"""

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from napari_flex3d import room, stages
from napari_flex3d.io.errors import InputWarning
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.mesh import MeshParams, voxel_positions
from napari_flex3d.model import load_model
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct import ReconstructParams, shared, solvers
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.solvers import Descent, SolverName, method_named, solve
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams

FIELD = 192.0
"""Width of the box, Å; the mask fills 6.5 % of it."""

MASKED = 3_000_000
"""Voxels in the mask of which memory is measured, at box 320."""


def made(folder: Path, box: int, particles: int, voxels: int = 0) -> Problem:
    """The first half-set of a made set, with the motion that a short training found; mask of so many voxels or more."""
    sample = write_sample(
        folder / "sample", particles=particles, box=box, pixel_size=FIELD / box, snr=0.1 * 64 / box, seed=1
    )
    mask = read_map(sample.mask)
    if voxels > np.count_nonzero(mask.data > 0.5):
        away = distance_transform_edt(mask.data <= 0.5)
        write_map(sample.mask, away <= np.partition(away.ravel(), voxels)[voxels], like=mask)
    prep = PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask, train_box=48)
    stages.prepare(prep, folder / "prep")
    stages.build_mesh(MeshParams(prep=folder / "prep"), folder / "mesh")
    stages.train_model(
        TrainParams(mesh=folder / "mesh", latent_dims=1, rigidity=2.0, epochs=4), folder / "train"
    )
    data, model = Particles.open(folder / "prep", "full"), load_model(folder / "train")
    with np.load(folder / "mesh" / "mesh.npz") as file:
        mask = file["mask"]
    body = model.mesh.bind(voxel_positions(np.argwhere(mask), box, data.pixel_size))
    return Problem(data, np.flatnonzero(data.half == 0), body, model, noise_weight(data))


def descents(problem: Problem, name: SolverName, tolerance: float) -> Iterator[tuple[Descent, float]]:
    """The solver's state after each iteration, and the seconds since its start."""
    start = time.perf_counter()
    for report in solve(problem, method_named(name, problem, tolerance), 20, enough=0):
        if report.descent is not None:
            yield report.descent, time.perf_counter() - start


def compare(problem: Problem, box: int, tolerance: float) -> None:
    """Print what each solver needs."""
    slow = list(descents(problem, "lbfgs", tolerance))
    wanted, passes = slow[-1][0].objective, 1 + slow[-1][0].iteration
    print(f"\nbox {box}, {len(problem.rows)} particles, {len(problem.body.order)} voxels")
    print(f"L-BFGS               {passes:3d} passes  {slow[-1][1]:7.1f} s  objective {wanted:.1f}")
    for last, seconds in descents(problem, "cg", tolerance):
        if last.objective <= wanted:
            mine = 1 + last.iteration
            print(f"conjugate gradients  {mine:3d} passes  {seconds:7.1f} s  objective {last.objective:.1f}")
            print(
                f"ratio                {passes / mine:5.1f}x       {slow[-1][1] / seconds:7.1f}x", flush=True
            )
            return


def memory(folder: Path, box: int) -> None:
    """Print the largest size of this process while the stage runs.

    One iteration with one product for its direction allocates what twenty with twelve do, but for the solver's
    memory of its last steps, two arrays of voxels each: they are added.
    """
    room.FEWEST_SHARING, shared.INNER = 1, 1
    problem = made(folder, box, 80, MASKED * box**3 // 320**3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    planned = room.of_reconstruction(room.sizes_of(folder / "mesh"))
    params = ReconstructParams(train=folder / "train", max_iterations=1)
    stages.reconstruct_maps(params, folder / "reconstruct")
    steps = 2 * (solvers.HISTORY - 1) * 4 * len(problem.body.order)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"box {box}, {len(problem.body.order)} voxels, {room.most_groups(len(problem.rows))} shared deformations"
    )
    print(f"largest size {peak / 1e6:.2f} GB, with all steps remembered {peak / 1e6 + steps / 1e9:.2f} GB")
    print(f"before the stage {before / 1e6:.2f} GB; planned {planned.memory / 1e9:.2f} GB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, nargs="+")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--share-tolerance", type=float, default=0.5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore", InputWarning)
    for box in given.box or ([320] if given.memory else [128, 192]):
        with tempfile.TemporaryDirectory() as folder:
            if given.memory:
                memory(Path(folder), box)
            else:
                compare(made(Path(folder), box, given.particles), box, given.share_tolerance)


if __name__ == "__main__":
    main()
