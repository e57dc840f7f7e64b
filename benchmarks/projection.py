"""Time and error of the projection operator against the literal algorithm, in one run.

    python benchmarks/projection.py [--box 128] [--voxels 200000] [--images 16] [--threads N] [--rounds 7] [--cpu-time]

The literal algorithm forms the deformed volume: trilinear scatter to 3-D with autograd, 3-D FFT, a slice by trilinear
interpolation in Fourier space, backward by autograd. Errors are of the images up to 0.8 of the Nyquist frequency,
relative to a direct sum in double precision. finufft's type 2 gives the gradient of the values only; ours also gives
that of the mesh.

The second table holds the kernel's steps against what one core could do at most: the operations that a voxel needs (see
`docs/performance.md`) at the rates that `peaks.py` measures.
"""

import napari_flex3d  # isort: skip # noqa: F401 (before torch: it says how torch's threads wait)

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from peaks import Peaks, measure_peaks, quickest
from torch import Tensor

from napari_flex3d.mesh import TetMesh, regular_mesh
from napari_flex3d.ops.fourier import frequencies, radii, rfft3
from napari_flex3d.ops.projection import Body, place, project

PIXEL = 1.5
LIMIT = 0.8 * 0.5


@dataclass
class Problem:
    """Masked voxels tied to a mesh, flows and views of a few images."""

    box: int
    body: Body
    values: Tensor
    vertices: Tensor  # (B, P, 3), deformed, Å
    rotation: Tensor  # (B, 3, 3)
    target: Tensor  # (B, n, n // 2 + 1): gradients of the images

    def positions(self, vertices: Tensor) -> Tensor:
        """Deformed voxels (N, 3) of one image."""
        return torch.einsum("nk,nkc->nc", self.body.weights.to(vertices), vertices[self.corners])

    @cached_property
    def corners(self) -> Tensor:
        """The four vertices (N, 4) of each voxel's cell."""
        cell = torch.repeat_interleave(torch.arange(len(self.body.cells)), self.body.offsets.diff().long())
        return self.body.cells.long()[cell]


def make_problem(box: int, voxels: int, images: int) -> Problem:
    """A ball of random voxels, smooth flows of about a voxel, random views."""
    random = torch.Generator().manual_seed(0)
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    mask = radius <= (voxels * 3 / (4 * np.pi)) ** (1 / 3)
    mesh, _ = regular_mesh(mask, PIXEL, 20)
    at = np.argwhere(mask)
    points = ((at[:, ::-1] - box // 2) * PIXEL).astype(np.float32)
    body = TetMesh.bind(mesh, points)
    rest = torch.from_numpy(mesh.vertices)
    wave = torch.randn((images, 3, 3), generator=random) * 0.03
    flow = PIXEL * torch.sin(torch.einsum("pc,bcd->bpd", rest, wave))
    rotation = torch.linalg.qr(torch.randn((images, 3, 3), generator=random))[0]
    rotation *= torch.linalg.det(rotation)[:, None, None]
    values = torch.rand(len(points), generator=random)
    target = torch.randn((images, box, box // 2 + 1, 2), generator=random)
    return Problem(box, body, values, rest + flow, rotation, torch.view_as_complex(target))


def scatter(values: Tensor, positions_px: Tensor, box: int) -> Tensor:
    """Trilinear scatter of voxels into a volume [z, y, x]."""
    low = positions_px.floor()
    part = (positions_px - low).unbind(-1)
    x, y, z = (low.long() + box // 2).clamp(0, box - 2).unbind(-1)
    first = (z * box + y) * box + x
    index, mass = [], []
    for corner, weight in corners(part):
        index.append(first + corner[0] + box * (corner[1] + box * corner[2]))
        mass.append(values * weight)
    return values.new_zeros(box**3).index_add(0, torch.cat(index), torch.cat(mass)).reshape(box, box, box)


def corners(part: tuple[Tensor, ...]) -> Iterator[tuple[tuple[int, int, int], Tensor]]:
    """Steps (x, y, z) to the eight corners of a grid cell, and the trilinear weight of each."""
    for z, y, x in itertools.product(range(2), repeat=3):
        wx, wy, wz = (f if step else 1 - f for f, step in zip(part, (x, y, z), strict=True))
        yield (x, y, z), wx * wy * wz


def slice_of(transform: Tensor, rotation: Tensor, box: int) -> Tensor:
    """Central slice of a half transform (n, n, n // 2 + 1) by trilinear interpolation."""
    k = frequencies(box) * box
    at = k @ rotation[:2]  # A^T (kx, ky, 0), Fourier pixels
    mirrored = at[..., 0] < 0
    at = torch.where(mirrored[..., None], -at, at)
    low = at.floor()
    total = torch.zeros(at.shape[:-1], dtype=transform.dtype)
    for corner, weight in corners((at - low).unbind(-1)):
        x, y, z = (low.long() + torch.tensor(corner)).unbind(-1)
        held = (x <= box // 2) & (y.abs() <= box // 2) & (z.abs() <= box // 2)
        total = total + transform[z % box, y % box, x.clamp(max=box // 2)] * (weight * held)
    return torch.where(mirrored, total.conj(), total)


def literal(problem: Problem, values: Tensor, vertices: Tensor, image: int) -> Tensor:
    """One image the literal way; padded neither in real nor in Fourier space, as 3DFlex describes it."""
    volume = scatter(values, problem.positions(vertices[image]) / PIXEL, problem.box)
    return slice_of(rfft3(volume), problem.rotation[image], problem.box)


def ours(problem: Problem, values: Tensor, vertices: Tensor, oversampling: float, name: str) -> Tensor:
    """All images by `ops.projection`."""
    seen = place(problem.rotation, vertices, PIXEL)
    return project(values, seen, problem.body, problem.box, oversampling, name)


def direct_sum(problem: Problem, image: int) -> Tensor:
    """One image in double precision by separable exponentials."""
    at = problem.positions(problem.vertices[image].double()) @ problem.rotation[image, :2].double().T / PIXEL
    ky = torch.fft.fftfreq(problem.box, dtype=torch.float64)
    kx = torch.arange(problem.box // 2 + 1, dtype=torch.float64) / problem.box
    total = torch.zeros((len(ky), len(kx)), dtype=torch.complex128)
    for some, mass in zip(at.split(20000), problem.values.double().split(20000), strict=True):
        row = torch.polar(mass[:, None].expand(-1, len(ky)), -2 * torch.pi * some[:, 1:] * ky)
        column = torch.polar(
            torch.ones(()).double().expand(len(some), len(kx)), -2 * torch.pi * some[:, :1] * kx
        )
        total += row.T @ column
    return total


def with_finufft(problem: Problem, tolerance: float) -> Callable[[], Tensor]:
    """Type 1 for the images, type 2 for the gradient of the values, all images; float32."""
    import finufft

    at = torch.stack(
        [problem.positions(v) @ r[:2].T for v, r in zip(problem.vertices, problem.rotation, strict=True)]
    )
    angle = (at * (2 * torch.pi / (problem.box * PIXEL))).numpy()
    masses = problem.values.to(torch.complex64).numpy()
    spectrum = np.random.default_rng(0).normal(size=(problem.box,) * 2).astype(np.complex64)
    shape = (problem.box,) * 2

    def forward_and_adjoint() -> Tensor:
        images = []
        for x, y in np.ascontiguousarray(angle.transpose(0, 2, 1)):
            found = finufft.nufft2d1(
                y, x, masses, shape, isign=-1, eps=tolerance, modeord=1, nthreads=threads()
            )
            finufft.nufft2d2(y, x, spectrum, isign=1, eps=tolerance, modeord=1, nthreads=threads())
            images.append(found[:, : problem.box // 2 + 1])
        return torch.from_numpy(np.stack(images))

    return forward_and_adjoint


def threads() -> int:
    return torch.get_num_threads()


@dataclass
class Contender:
    """Something to be timed, and what it found."""

    name: str
    run: Callable[[], Tensor]
    images: int
    best: float = np.inf  # ms per image
    found: Tensor | None = None


def race(contenders: list[Contender], rounds: int, clock: Callable[[], float]) -> None:
    """All in turn, so that other work on the machine meets all alike; the quickest run of each counts."""
    for contender in contenders:
        contender.found = contender.run()  # compiles and warms up
    for _ in range(rounds):
        for contender in contenders:
            start = clock()
            contender.run()
            spent = (clock() - start) * 1e3 / contender.images
            contender.best = min(contender.best, spent)


def error(found: Tensor, exact: Tensor, box: int) -> float:
    """Relative L2 error over frequencies up to `LIMIT`."""
    inside = radii(box) <= LIMIT
    return float((found.to(exact.dtype) - exact)[..., inside].norm() / exact[..., inside].norm())


def both_ways(
    problem: Problem, forward: Callable[[Tensor, Tensor], Tensor], target: Tensor
) -> Callable[[], Tensor]:
    """Forward and backward for the gradients of values and mesh vertices."""

    def run() -> Tensor:
        values = problem.values.clone().requires_grad_()
        vertices = problem.vertices.clone().requires_grad_()
        images = forward(values, vertices)
        torch.autograd.backward(images, target)
        return images.detach()

    return run


def contenders(problem: Problem, images: int) -> list[Contender]:
    """The literal algorithm first."""
    first = problem.target[:1]

    def one(name: str, oversampling: float) -> Callable[[], Tensor]:
        return both_ways(problem, lambda v, p: ours(problem, v, p, oversampling, name), problem.target)

    found = [
        Contender(
            "literal: scatter to 3-D, FFT, slice (torch)",
            both_ways(problem, lambda v, p: literal(problem, v, p, 0)[None], first),
            1,
        )
    ]
    for oversampling in (1.25, 1.5, 2.0):
        found.append(Contender(f"numba, oversampling {oversampling:g}", one("numba", oversampling), images))
    found.append(Contender("plain torch, oversampling 1.5", one("torch", 1.5), images))
    for tolerance in (1e-2, 1e-4):
        run = with_finufft(problem, tolerance)
        found.append(Contender(f"finufft type 1 + type 2, {tolerance:g}", run, images))
    return found


@dataclass(frozen=True)
class Step:
    """What one voxel of one image needs in a step of the kernel; counted in `docs/performance.md`."""

    name: str
    on16: float  # operations on vectors of 16
    on4: float  # and of four
    loads: float
    stores: float
    bytes: float  # from memory

    def bound(self, peaks: Peaks) -> tuple[float, str]:
        """Least time in ns, and what takes it."""
        parts = {
            "arithmetic": self.on16 * peaks.fused16 + self.on4 * peaks.fused4,
            "loads": self.loads * peaks.load,
            "stores": self.stores * peaks.store,
            "memory": self.bytes * peaks.byte,
        }
        slowest = max(parts, key=lambda name: parts[name])
        return parts[slowest], slowest


STEPS = (
    Step("forward: spread", 62 / 16, 4, 10 + 6 / 16, 4 + 11 / 16, 16),
    Step("backward: gather for values and mesh", 105 / 16, 8, 13 + 22 / 16, 2 + 15 / 16, 24),
)


def against_the_bound(problem: Problem) -> None:
    """Print the kernel's steps on one thread, image by image, against what the core could do."""
    from napari_flex3d.ops.projection import _numba, fine_box

    fine = fine_box(problem.box, 1.5)
    seen = place(problem.rotation, problem.vertices, PIXEL) * (fine / problem.box)
    grid = np.random.default_rng(0).normal(size=(1, fine, fine)).astype(np.float32)
    arrays = [_numba.arrays(problem.values, vertices[None], problem.body) for vertices in seen]
    to_values, to_vertices = np.zeros((1, len(arrays[0][0])), np.float32), np.zeros_like(arrays[0][1])

    def run(image: int, step: int) -> None:
        if step == 0:
            _numba.kernels.spread(0, 1, *arrays[image], grid)
        else:
            _numba.kernels.gather_both(0, 1, *arrays[image], grid, to_values, to_vertices)

    peaks = measure_peaks()
    print(
        f"\none core: {peaks.fused16:.3f} ns a multiply-add of 16 numbers, {peaks.fused4:.3f} of 4, "
        f"{peaks.load:.3f} a load and {peaks.store:.3f} a store of 4, {1 / peaks.byte:.0f} GB/s"
    )
    print(f"{'ms per image, one thread':46s} {'measured':>10s} {'bound':>8s} {'bound / this':>13s}  bound by")
    all_spent = all_bound = 0.0
    for number, step in enumerate(STEPS):
        spent = float(np.mean([quickest(run, image, number, repeats=40) for image in range(len(seen))])) / 1e6
        bound, by = step.bound(peaks)
        bound *= len(problem.values) / 1e6
        all_spent, all_bound = all_spent + spent, all_bound + bound
        print(f"{step.name:46s} {spent:10.3f} {bound:8.3f} {bound / spent:13.2f}  {by}")
    print(f"{'both':46s} {all_spent:10.3f} {all_bound:8.3f} {all_bound / all_spent:13.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--voxels", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=16, help="a batch of training")
    parser.add_argument("--threads", type=int, default=threads())
    parser.add_argument("--rounds", type=int, default=7, help="the quickest counts")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count processor time: the machine does other work"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problem = make_problem(arguments.box, arguments.voxels, arguments.images)
    exact = torch.stack([direct_sum(problem, image) for image in range(arguments.images)])
    rows = contenders(problem, arguments.images)
    race(rows, arguments.rounds, time.process_time if arguments.cpu_time else time.perf_counter)

    print(
        f"box {problem.box}, {len(problem.values)} voxels, {len(problem.body.cells)} cells, "
        f"{arguments.threads} threads, "
        f"{'processor' if arguments.cpu_time else 'wall'} time, load of the machine {os.getloadavg()[0]:.1f}"
    )
    print(
        f"{'forward + backward':46s} {'ms / image':>10s} {'literal / this':>14s} {'error to 0.8 Nyquist':>21s}"
    )
    for row in rows:
        assert row.found is not None
        wrong = error(row.found, exact[: len(row.found)], problem.box)
        print(f"{row.name:46s} {row.best:10.2f} {rows[0].best / row.best:14.1f} {wrong:21.2e}")
    against_the_bound(problem)


if __name__ == "__main__":
    main()
