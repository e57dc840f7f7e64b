"""The half-map's normal operator with particles of nearly equal deformation sharing one: a preconditioner.

Particles that share a deformation make together a rigid problem in its frame: a convolution, whose weights are the sum
of their slices. One product then costs a few transforms for each shared deformation, whatever the number of particles.
The solver uses it to choose its directions; every step is judged on the particles themselves, each with its own
deformation, so sharing changes the way to the least-squares map and not that map.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor

from napari_flex3d.ops.backprojection import SliceSum
from napari_flex3d.ops.fourier import multiplicity
from napari_flex3d.ops.gridding import gather3, spread3
from napari_flex3d.ops.projection import Body
from napari_flex3d.reconstruct.problem import BATCH, Problem

INNER = 20
"""Conjugate-gradient iterations on the shared operator for one direction."""

_SAMPLE = 20_000
"""Particles at most that the groups are found from; the others join the nearest."""


@dataclass(frozen=True)
class Group:
    """Particles that share a deformation.

    Parameters
    ----------
    vertices
        Mesh vertices (P, 3), voxels; the box centre is at the origin.
    response
        What each frequency of the grid is multiplied by (n, n, n // 2 + 1).

    Both are on the problem's device.
    """

    vertices: Tensor
    response: Tensor


class SharedOperator:
    """Normal operator of a problem, approximately.

    Parameters
    ----------
    problem
        The half-set.
    members
        Rows of the particles of each group.
    padding
        How much wider than the box the grid is. At 1, voxels further apart than half the box see each other on the
        wrong side, which does for a preconditioner; at 2 no two do.
    """

    def __init__(self, problem: Problem, members: list[NDArray[np.int64]], padding: int = 1) -> None:
        self._body: Body = problem.body.to(problem.device)
        self._groups = [_group(problem, rows, padding) for rows in members]

    def __call__(self, values: Tensor) -> Tensor:
        """Product with a map's voxels, in the body's order; wherever the values are, it is computed on the device."""
        return self._product(values.to(self._body.weights.device)).to(values.device)

    def _product(self, values: Tensor) -> Tensor:
        total = torch.zeros_like(values)
        if values.device.type != "cpu":
            for group in self._groups:
                total += self._of(group, values)
            return total
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for part in pool.map(lambda group: self._of(group, values), self._groups):
                total += part
        return total

    def _of(self, group: Group, values: Tensor) -> Tensor:
        n = len(group.response)
        transform = torch.fft.rfftn(spread3(values, group.vertices, self._body, n))
        field = torch.fft.irfftn(transform * group.response, s=(n, n, n))
        return gather3(field, group.vertices, self._body)

    def solve(self, right: Tensor, iterations: int | None = None) -> Tensor:
        """Map whose product is nearly ``right``, after some conjugate-gradient iterations; `INNER` unless given."""
        residual = right.to(self._body.weights.device, copy=True)
        values = torch.zeros_like(residual)
        direction, strength = residual, float(residual @ residual)
        for _ in range(INNER if iterations is None else iterations):
            product = self._product(direction)
            length = strength / float(direction @ product)
            values = values + length * direction
            residual = residual - length * product
            stronger = float(residual @ residual)
            direction = residual + (stronger / strength) * direction
            strength = stronger
        return values.to(right.device)


def share(problem: Problem, tolerance: float, most: int) -> list[NDArray[np.int64]]:
    """Group the particles of a problem by deformation.

    Parameters
    ----------
    problem
        The half-set.
    tolerance
        Root mean square distance in Å, over the map's density, of a particle's deformation from that of its group.
    most
        Groups at most, whatever the tolerance.

    Returns
    -------
    list
        Rows of the particles of each group.
    """
    if problem.model is None or most == 1:
        return [problem.rows]
    place = _coordinates(problem)
    some = place[np.linspace(0, len(place) - 1, min(len(place), _SAMPLE)).astype(int)]
    count, centres = 1, some.mean(0, keepdims=True)
    while count < most and _distance(some, centres) > tolerance:
        count = min(2 * count, most)
        centres, _ = kmeans2(some, count, minit="++", seed=0)
    label, _ = vq(place, centres)
    return [problem.rows[label == k] for k in np.unique(label)]


def _coordinates(problem: Problem) -> NDArray[np.float64]:
    """Place of every particle's deformation (N, few) where distances are root mean squares in Å."""
    assert problem.model is not None
    generator = problem.model.generator
    with torch.no_grad():
        features = generator.features(torch.from_numpy(problem.model.standard[problem.rows])).double()
        moves = (generator.weight @ generator.modes).double().view(features.shape[1], -1, 3)
        metric = torch.einsum("fpc,gpc,p->fg", moves, moves, generator.mass.double())
    size, axes = torch.linalg.eigh(metric)
    scaled = (features - features.mean(0)) @ (axes * size.clamp(min=0).sqrt())
    variance, turn = torch.linalg.eigh(scaled.T @ scaled)
    return (scaled @ turn[:, variance > 1e-4 * variance.max()]).numpy()


def _distance(place: NDArray[np.float64], centres: NDArray[np.float64]) -> float:
    """Root mean square distance from the nearest centre."""
    return float(np.sqrt(np.square(vq(place, centres)[1]).mean()))


def _group(problem: Problem, rows: NDArray[np.int64], padding: int) -> Group:
    box = problem.particles.box_size
    slices = SliceSum(box, padding)
    share = problem.weight / multiplicity(box)
    for start in range(0, len(rows), BATCH):
        transfer, rotation = problem.particles.optics(rows[start : start + BATCH])
        slices.add(rotation, transfer.abs().square() * share)
    at = problem.mean_vertices(rows) / problem.particles.pixel_size
    return Group(at.to(problem.device), _response(slices.weights).to(problem.device))


def _response(weights: Tensor) -> Tensor:
    """Weights of the slices as what a spline-spread transform is multiplied by.

    The fall-off of the trilinear insertion is divided out of the convolution's kernel, and the cubic B-spline's own
    transform, once for spreading and once for gathering, out of its response.
    """
    n = len(weights)
    fall = torch.sinc(torch.fft.fftfreq(n)).square()
    kernel = torch.fft.irfftn(weights, s=(n, n, n)) / (fall[:, None, None] * fall[:, None] * fall)
    spline = [torch.sinc(k) ** 4 for k in (torch.fft.fftfreq(n), torch.fft.rfftfreq(n))]
    spread = spline[0][:, None, None] * spline[0][:, None] * spline[1]
    return torch.fft.rfftn(kernel).real * n**3 / spread.square()
