"""Time and error of the projection operator against the literal algorithm, in one run.

    python benchmarks/projection.py [--box 128] [--voxels 200000] [--images 16] [--threads N]

The literal algorithm forms the deformed volume: trilinear scatter to 3-D with autograd, 3-D FFT, a slice by trilinear
interpolation in Fourier space, backward by autograd. Errors are of the images up to 0.8 of the Nyquist frequency,
relative to a direct sum in double precision. finufft's type 2 gives the gradient of the values only; ours also gives
that of the mesh.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
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


def timed(run: Callable[[], Tensor], images: int, repeats: int = 7) -> tuple[float, Tensor]:
    """Best time in ms per image, and the images."""
    result = run()  # compiles and warms up
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return best * 1e3 / images, result


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--voxels", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=16, help="a batch of training")
    parser.add_argument("--threads", type=int, default=threads())
    arguments = parser.parse_args()
    import numba

    torch.set_num_threads(arguments.threads)
    numba.set_num_threads(arguments.threads)
    problem = make_problem(arguments.box, arguments.voxels, arguments.images)
    exact = torch.stack([direct_sum(problem, image) for image in range(arguments.images)])
    rows = []

    def measure(name: str, run: Callable[[], Tensor], images: int) -> None:
        spent, found = timed(run, images)
        rows.append((name, spent, error(found, exact[: len(found)], problem.box)))

    first = problem.target[:1]
    measure(
        "literal: scatter to 3-D, FFT, slice (torch)",
        both_ways(problem, lambda v, p: literal(problem, v, p, 0)[None], first),
        1,
    )
    for oversampling in (1.25, 1.5, 2.0):
        measure(
            f"numba, oversampling {oversampling:g}",
            both_ways(problem, lambda v, p, o=oversampling: ours(problem, v, p, o, "numba"), problem.target),
            arguments.images,
        )
    measure(
        "plain torch, oversampling 1.5",
        both_ways(problem, lambda v, p: ours(problem, v, p, 1.5, "torch"), problem.target),
        arguments.images,
    )
    for tolerance in (1e-2, 1e-4):
        measure(f"finufft type 1 + type 2, {tolerance:g}", with_finufft(problem, tolerance), arguments.images)

    print(
        f"box {problem.box}, {len(problem.values)} voxels, {len(problem.body.cells)} cells, {arguments.threads} threads"
    )
    print(
        f"{'forward + backward':46s} {'ms / image':>10s} {'literal / this':>14s} {'error to 0.8 Nyquist':>21s}"
    )
    for name, spent, wrong in rows:
        print(f"{name:46s} {spent:10.1f} {rows[0][1] / spent:14.1f} {wrong:21.2e}")


if __name__ == "__main__":
    main()
