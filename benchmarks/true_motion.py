"""Half-maps made with the true deformations of a particle set: the best that any training could lead to.

Run: python benchmarks/true_motion.py SET MESH_JOB OUT
with SET a folder that holds truth/truth.npz; OUT gets flex_half1.mrc and flex_half2.mrc, and the resolutions are printed
as `truth.py` prints them. The displacements of the C-alpha atoms in each state are interpolated at the vertices of
the mesh.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from torch import Tensor
from truth import maps

from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.jobs import input_of
from napari_flex3d.mesh import TetMesh, voxel_positions
from napari_flex3d.ops.projection import place
from napari_flex3d.particles import Particles
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.shared import SharedOperator
from napari_flex3d.reconstruct.solvers import ConjugateGradients, solve

SHARING = 5
"""States that share a deformation in the solver's preconditioner."""


@dataclass(frozen=True, kw_only=True)
class TrueProblem(Problem):
    """A half-set whose deformations are known: vertices (S, P, 3) in Å of each state, and every particle's state."""

    moved: Tensor
    state: NDArray[np.int64]

    def vertices(self, rows: NDArray[np.int64], rotation: Tensor) -> Tensor:
        """Mesh vertices in each image (B, P, 2), pixels."""
        return place(rotation, self.moved[self.state[rows]], self.particles.pixel_size)

    def mean_vertices(self, rows: NDArray[np.int64]) -> Tensor:
        """Mesh vertices (P, 3), Å, of the deformation that some particles share."""
        return self.moved[self.state[rows]].mean(0)


def moved_vertices(truth: dict[str, np.ndarray], rest: np.ndarray) -> Tensor:
    """Vertices (S, P, 3) in each state: the atoms' displacements from the reference state, interpolated."""
    atoms = truth["ca_coords_A"]
    reference = atoms[int(truth["ref"])]
    unique = np.unique(reference.round(2), axis=0, return_index=True)[1]
    steps = (atoms - reference)[:, unique].transpose(1, 0, 2).reshape(len(unique), -1)
    smooth = RBFInterpolator(reference[unique], steps, neighbors=40, kernel="linear", smoothing=1.0)
    moves = smooth(rest).reshape(len(rest), len(atoms), 3).transpose(1, 0, 2)
    return torch.from_numpy(rest + moves).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("set", "mesh", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    folder = given.set / "truth" if (given.set / "truth").is_dir() else given.set
    truth = dict(np.load(folder / "truth.npz"))
    prep = input_of(given.mesh, "prep")
    particles = Particles.open(prep, "full")
    with np.load(given.mesh / "mesh.npz") as file:
        mask = file["mask"]
    body = TetMesh.load(given.mesh / "mesh.npz").bind(
        voxel_positions(np.argwhere(mask), len(mask), particles.pixel_size)
    )
    moved = moved_vertices(truth, body.vertices.numpy().astype(float))
    state = truth["state"][particles.source_row]
    like = read_map(prep / "map.mrc")
    given.out.mkdir(parents=True, exist_ok=True)
    for half in (0, 1):
        rows = np.flatnonzero(particles.half == half)
        problem = TrueProblem(particles, rows, body, None, noise_weight(particles), moved=moved, state=state)
        members = [rows[state[rows] // SHARING == k] for k in np.unique(state[rows] // SHARING)]
        steps = solve(problem, ConjugateGradients(SharedOperator(problem, members).solve), 20)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                values = torch.zeros(len(body.order))
                values[body.order] = end.value / particles.map_scale
                break
        volume = torch.zeros(mask.shape)
        volume[torch.from_numpy(mask)] = values
        write_map(given.out / f"flex_half{half + 1}.mrc", volume.numpy(), like=like)
    maps(truth, folder, given.out)


if __name__ == "__main__":
    main()
