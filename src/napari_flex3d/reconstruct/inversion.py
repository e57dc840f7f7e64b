"""The rigid half-map again by Fourier inversion: a third check, that shares no projection with the solver."""

from torch import Tensor

from napari_flex3d.ops.backprojection import SliceSum
from napari_flex3d.ops.fourier import multiplicity
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.reconstruct.problem import BATCH, Problem
from napari_flex3d.reconstruct.shared import INNER, SharedOperator

ITERATIONS = 2 * INNER
"""As many as the solver's usual two directions take."""


def inverted(problem: Problem, mask: Tensor) -> Tensor:
    """Map of the rigid problem from sums of slices (voxels in the body's order).

    Parameters
    ----------
    problem
        Of the rigid twin.
    mask
        Voxels of the body (n, n, n).

    Notes
    -----
    Images, transfer functions and noise are summed as slices of the map's transform, on a grid twice as fine, and
    divided by the sum of their weights. Within a mask this division is a deconvolution, so it takes conjugate gradients
    on the grid. Dividing without the mask leaves in what noise the mask would have taken away, which is most of it:
    such a map agrees less with the twin the finer the grid is.
    """
    box = problem.particles.box_size
    slices = SliceSum(box, padding=2, with_values=True)
    share = problem.weight / multiplicity(box)
    for start in range(0, len(problem.rows), BATCH):
        batch = problem.particles.batch(problem.rows[start : start + BATCH])
        power = batch.transfer.abs().square() * share
        slices.add(batch.rotation, power, batch.transfer.conj() * batch.transform * share)
    right = slices.backprojected()[mask][problem.body.order]
    return SharedOperator(problem, [problem.rows], padding=2).solve(right.contiguous(), ITERATIONS)


def agreement(first: Tensor, second: Tensor, shell: int) -> float:
    """Least Fourier shell correlation of two maps from shell 1 to ``shell``."""
    return float(fsc(first, second)[1 : shell + 1].min())
