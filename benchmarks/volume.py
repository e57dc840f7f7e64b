"""Time of what a slider asks for: the deformed map and the moved isosurface, against inverse warping, in one run.

    python benchmarks/volume.py [--box 128] [--voxels 250000] [--surface 100000] [--threads N]

`FlexModel.volume` pushes voxels to where the flow takes them. Inverse warping asks of every voxel of the result, in the
mask and as far around it as the flow reaches, where it came from: it lays the mesh's displacements on the grid, inverts
the flow by fixed-point iterations ``x <- y - u(x)`` (the first needs no interpolation, the others take
`torch.nn.functional.grid_sample`), reads the map there, trilinear by the same function or by cubic spline (scipy,
coefficients ready), and divides by the flow's change of volume. Both begin at the latent and end with the grid, on the
same threads: `grid_sample` uses one for each image of a batch, so the voxels are given to it as a batch of equal parts.
What does not change with the latent is ready for both; the change of volume is given to the warp for nothing.

The map is made of Gaussian blobs and the flow is affine, so that a mesh expresses it exactly and the deformed map is
known: what is left is the error of the method, relative L2. Times are medians: by the clock, and of the CPU summed over
threads, which other work on the machine stretches less.
"""

import napari_flex3d  # isort: skip # noqa: F401 (before torch: it says how torch's threads wait)

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, map_coordinates, spline_filter
from torch import Tensor
from torch.nn.functional import grid_sample

from napari_flex3d.mesh import TetMesh, regular_mesh
from napari_flex3d.model import FlexModel, FlowGenerator
from napari_flex3d.ops.surfaces import interpolate, vertex_normals
from napari_flex3d.ui.isosurface import CarriedSurface

Floats = NDArray[np.float32]
PIXEL = 1.5
SHEAR = np.array([[0.02, 0.05, -0.03], [-0.06, 0.01, 0.04], [0.03, -0.05, -0.02]])
"""Displacement over distance from the centre; up to 5 Å at the border of 250,000 voxels."""


@dataclass
class Blobs:
    """A sum of Gaussians of one width, Å, that an affine flow carries along."""

    centres: NDArray[np.float64]
    width: float

    def density(self, box: int, deformed: bool) -> Floats:
        """The map at rest, or exactly deformed, on a grid."""
        matrix = np.eye(3) + SHEAR * deformed
        inverse = np.linalg.inv(matrix)
        reach = int(np.ceil(6 * self.width / PIXEL))
        axis = np.arange(-reach, reach + 1)
        around = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
        grid = np.zeros((box + 2 * reach,) * 3)
        for centre in self.centres @ matrix.T:
            nearest = np.round(centre[::-1] / PIXEL).astype(int)
            apart = (around + nearest)[..., ::-1] * PIXEL - centre
            value = np.exp(-np.square(apart @ inverse.T).sum(-1) / (2 * self.width**2))
            first = nearest + box // 2
            if (first >= 0).all() and (first < box).all():
                grid[tuple(slice(f, f + 2 * reach + 1) for f in first)] += value
        inner = slice(reach, -reach)
        return (grid[inner, inner, inner] / np.linalg.det(matrix)).astype(np.float32)


def make_model(box: int, voxels: int, width: float, blobs: int) -> tuple[FlexModel, Blobs]:
    """A ball of voxels on a mesh; the flow at latent 1 is the affine one."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = (voxels * 3 / (4 * np.pi)) ** (1 / 3)
    mask = x**2 + y**2 + z**2 <= radius**2
    mesh: TetMesh = regular_mesh(mask, PIXEL, 20)[0]
    mode = torch.from_numpy(mesh.vertices @ SHEAR.T).float()
    generator = FlowGenerator(1, mode.reshape(1, -1), torch.ones(len(mode)), layers=6, hidden_units=64)
    with torch.no_grad():
        generator.weight[0] = 1  # the latent itself; the hidden units take part, and give nothing
    random = np.random.default_rng(0)
    centres = random.normal(size=(blobs, 3))
    inside = (radius * PIXEL - 6 * width) * random.random((blobs, 1)) ** (1 / 3)
    made = Blobs(centres / np.linalg.norm(centres, axis=1, keepdims=True) * inside, width)
    one = np.ones(1, np.float32)
    rest = {"standard": one[None], "covariance": one[None, None], "latent_scale": one}
    facts = {"held_out": np.zeros(1, bool), "half": np.zeros(1, np.uint8)}
    canonical = made.density(box, deformed=False)
    model = FlexModel(
        mesh=mesh, generator=generator, canonical=canonical, mask=mask, pixel_size=PIXEL, **rest, **facts
    )
    return model, made


class InverseWarp:
    """The deformed map by asking of each of its voxels where it came from."""

    def __init__(self, model: FlexModel, threads: int) -> None:
        self.model, self.box, self.threads = model, model.box_size, threads
        self.map = torch.from_numpy(model.canonical)[None, None]
        self.coefficients = spline_filter(model.canonical, mode="constant").astype(np.float32)
        reach = int(np.ceil(np.linalg.norm(model.mesh.vertices @ SHEAR.T, axis=1).max() / PIXEL)) + 1
        asked = np.argwhere(binary_dilation(model.mask, iterations=reach))
        asked = asked[: len(asked) // threads * threads]  # parts of one size; the corner of the rim is zero
        self.asked = np.ravel_multi_index(tuple(asked.T), model.canonical.shape)
        at = ((asked - self.box // 2)[:, ::-1] * PIXEL).astype(np.float32)
        cell, self.weights = model.mesh.locate(at)
        self.corners = model.mesh.cells[cell].astype(np.int32)
        self.scale = 2 / (self.box - 1) / PIXEL  # grid_sample counts from -1 to 1, first to last voxel
        to = torch.from_numpy((asked[:, ::-1] * (2 / (self.box - 1)) - 1).astype(np.float32))
        self.to = to.view(threads, 1, 1, -1, 3)
        self.field = np.zeros((self.box**3, 3), np.float32)
        grid = torch.from_numpy(self.field).view(1, *(self.box,) * 3, 3)
        self.grid = grid.permute(0, 4, 1, 2, 3)
        self.pool = ThreadPoolExecutor(threads)

    def deformed(self, latent: Floats, iterations: int, order: int) -> Floats:
        """Invert the flow in so many iterations, and read the map by interpolation of order 1 or 3."""
        displaced = self.model.displacements(latent) * np.float32(self.scale)
        here = interpolate(displaced, self.corners, self.weights)
        at = self.to - torch.from_numpy(here).view(self.to.shape)
        if iterations > 1:
            self.field[self.asked] = here
        for _ in range(iterations - 1):
            moved = self.sample(self.grid, at)
            at = self.to - moved.permute(0, 2, 3, 4, 1)
        found = self.sample(self.map, at).reshape(-1) if order == 1 else self.spline(at)
        found /= float(np.linalg.det(np.eye(3) + SHEAR))
        out = np.zeros((self.box,) * 3, np.float32)
        out.reshape(-1)[self.asked] = found  # numpy's indexing is quicker than torch's here
        return out

    def sample(self, image: Tensor, at: Tensor) -> Tensor:
        """Trilinear interpolation of channels of an image, one part of the places on each thread."""
        return grid_sample(image.expand(self.threads, -1, -1, -1, -1), at, align_corners=True)

    def spline(self, at: Tensor) -> Tensor:
        """Cubic spline interpolation of the map, one part of the places on each thread."""
        places = (at.view(self.threads, -1, 3).numpy()[..., ::-1] + 1) * np.float32((self.box - 1) / 2)
        parts = self.pool.map(lambda p: map_coordinates(self.coefficients, p.T, prefilter=False), places)
        return torch.from_numpy(np.concatenate(list(parts)))


def surface_of(model: FlexModel, wanted: int) -> CarriedSurface:
    """Isosurface of about so many vertices."""
    levels = np.quantile(model.canonical[model.mask], np.linspace(0.3, 0.99, 12))
    surfaces = [CarriedSurface.of(model.canonical, PIXEL, float(level), model.mesh) for level in levels]
    return min(surfaces, key=lambda surface: abs(len(surface.points) - wanted))


def timed(run: Callable[[], Floats], repeats: int) -> tuple[float, float, Floats]:
    """Median times, ms, by the clock and of the CPU; the result."""
    result = run()  # compiles and warms up
    spent = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        result = run()
        spent.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    by_clock, of_cpu = np.median(spent, axis=0) * 1e3
    return float(by_clock), float(of_cpu), result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--voxels", type=int, default=250_000)
    parser.add_argument("--surface", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, blobs = make_model(arguments.box, arguments.voxels, width=2 * PIXEL, blobs=400)
    truth = blobs.density(arguments.box, deformed=True)
    latent = np.ones(1, np.float32)
    warp = InverseWarp(model, arguments.threads)
    rows: list[tuple[str, float, float, float]] = []

    def measure(name: str, run: Callable[[], Floats]) -> None:
        spent, cpu, found = timed(run, arguments.repeats)
        rows.append((name, spent, cpu, float(np.linalg.norm(found - truth) / np.linalg.norm(truth))))

    measure("FlexModel.volume, tricubic", lambda: model.volume(latent))
    measure("FlexModel.volume, trilinear", lambda: model.volume(latent, order=1))
    for order, word in ((1, "trilinear"), (3, "tricubic")):
        for iterations in (1, 2, 3, 4):
            name = f"inverse warp, {iterations} iterations, {word}"
            measure(name, lambda i=iterations, o=order: warp.deformed(latent, i, o))
    print(
        f"box {arguments.box}, {int(model.mask.sum())} voxels, {len(warp.asked)} asked by the warp, "
        f"{arguments.threads} threads, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
    )
    print(f"{'deformed map':40s} {'ms':>8s} {'CPU ms':>8s} {'error':>8s} {'/ FlexModel.volume':>22s}")
    for name, spent, cpu, wrong in rows:
        like = rows[0 if "tricubic" in name else 1]
        ratios = f"{spent / like[1]:8.1f}, CPU {cpu / like[2]:.1f}"
        print(f"{name:40s} {spent:8.1f} {cpu:8.1f} {wrong:8.1e} {ratios:>22s}")

    rough, _ = make_model(arguments.box, arguments.voxels, width=0.8 * PIXEL, blobs=4000)
    surface = surface_of(rough, arguments.surface)

    def move() -> Floats:
        shift = surface.displacements(rough.displacements(latent))
        np.linalg.norm(shift, axis=1)  # the colours
        return surface.points + shift

    print(f"\nisosurface of {len(surface.points)} vertices, {len(surface.faces)} faces")
    spent, cpu, moved = timed(move, arguments.repeats)
    exact = np.abs(moved - surface.points @ (np.eye(3) + SHEAR).T).max()
    print(f"{'moved':40s} {spent:8.1f} {cpu:8.1f}, {exact:.1e} Å from the flow at most")
    spent, cpu, _ = timed(lambda: vertex_normals(moved, surface.faces), arguments.repeats)
    print(f"{'its normals, for the light':40s} {spent:8.1f} {cpu:8.1f}")


if __name__ == "__main__":
    main()
