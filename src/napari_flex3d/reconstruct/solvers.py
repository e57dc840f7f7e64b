"""Two ways down the same objective, each iteration one pass over the particles and an exact step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_flex3d.reconstruct.problem import Problem
from napari_flex3d.reconstruct.shared import SharedOperator, share
from napari_flex3d.room import most_groups

SolverName = Literal["cg", "lbfgs"]

HISTORY = 10
"""Steps that a method remembers, with what each did to the gradient."""


@dataclass
class Descent:
    """How far a solver is; with its memory, enough to go on from.

    Parameters
    ----------
    values
        The map's voxels in the body's order, images' units.
    gradient
        Of the objective there.
    start, objective
        Half the squared misfit of no map at all, and of this one.
    iteration
        Iterations done.
    is_done
        Whether it has come to its end.
    """

    values: Tensor
    gradient: Tensor
    start: float
    objective: float
    iteration: int = 0
    is_done: bool = False

    def tensors(self) -> dict[str, Tensor]:
        """As tensors, to be stored."""
        numbers = [self.start, self.objective, self.iteration, self.is_done]
        facts = torch.tensor(numbers, dtype=torch.float64)
        return {"values": self.values, "gradient": self.gradient, "facts": facts}

    @classmethod
    def restored(cls, tensors: dict[str, Tensor]) -> "Descent":
        """From `tensors`."""
        start, objective, iteration, is_done = tensors["facts"].tolist()
        return cls(tensors["values"], tensors["gradient"], start, objective, int(iteration), bool(is_done))


class Method(ABC):
    """Chooses directions from gradients, and remembers its last steps and what each did to the gradient."""

    enough: float
    """An iteration that gains a smaller share of all that was gained is the last."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = []

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Where to go from a point with this gradient."""

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Remember a step and how it changed the gradient; forget the oldest."""
        self._pairs = [*self._pairs, (step, change)][-HISTORY:]

    def tensors(self) -> dict[str, Tensor]:
        """What it remembers, to be stored."""
        named: dict[str, Tensor] = {}
        for number, (step, change) in enumerate(self._pairs):
            named |= {f"step{number}": step, f"change{number}": change}
        return named

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Remember `tensors` again."""
        count = sum(name.startswith("step") for name in tensors)
        self._pairs = [(tensors[f"step{k}"], tensors[f"change{k}"]) for k in range(count)]


class ConjugateGradients(Method):
    """Preconditioned conjugate gradients; the preconditioner need not be linear.

    Notes
    -----
    Hestenes & Stiefel 1952; every direction is made conjugate to the last ones (Notay, SIAM J. Sci. Comput. 2000).
    """

    enough = 2e-2

    def __init__(self, precondition: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._precondition = precondition

    def direction(self, gradient: Tensor) -> Tensor:
        """Preconditioned descent, conjugate to the steps so far."""
        along = self._precondition(-gradient)
        for step, change in self._pairs:
            along = along - (_dot(along, change) / _dot(step, change)) * step
        return along


class LimitedMemory(Method):
    """L-BFGS without preconditioner, as 3DFlex was published with.

    Notes
    -----
    Nocedal, Math. Comp. 1980; the two-loop recursion.
    """

    enough = 1e-3

    def direction(self, gradient: Tensor) -> Tensor:
        """Quasi-Newton descent."""
        along, shares = gradient.clone(), []
        for step, change in reversed(self._pairs):
            shares.append(_dot(step, along) / _dot(step, change))
            along -= shares[-1] * change
        if self._pairs:
            step, change = self._pairs[-1]
            along *= _dot(step, change) / _dot(change, change)
        for (step, change), part in zip(self._pairs, reversed(shares), strict=True):
            along += (part - _dot(change, along) / _dot(step, change)) * step
        return -along


@dataclass(frozen=True)
class Report:
    """Where a solver is: particles seen in this iteration; and the state, once an iteration is done."""

    iteration: int
    seen: int
    descent: Descent | None = None


def solve(
    problem: Problem,
    method: Method,
    max_iterations: int,
    descent: Descent | None = None,
    enough: float | None = None,
) -> Generator[Report, None, Tensor]:
    """Least-squares map of a half-set.

    Parameters
    ----------
    problem
        The half-set.
    method
        Chooses the directions.
    max_iterations
        At most.
    descent
        Where to go on from; None starts from no map at all.
    enough
        It stops when an iteration gains less than this share of all that was gained; the method's own if None.

    Returns
    -------
    Values of the free voxels, in the body's order, in the images' units.

    Notes
    -----
    The objective is quadratic, so that the step along a direction is exact, and the product of the normal operator with
    the direction gives the next gradient as well. Stopping early regularises: frequencies that the images hardly
    determine come last.
    """
    least = method.enough if enough is None else enough
    if descent is None:
        gradient, objective = yield from _watched(problem.gradient(None, against_images=True), 0)
        descent = Descent(torch.zeros_like(gradient), gradient, objective, objective)
        yield Report(0, len(problem.rows), descent)
    while not descent.is_done and descent.iteration < max_iterations:
        direction = method.direction(descent.gradient)
        product, _ = yield from _watched(
            problem.gradient(direction, against_images=False), descent.iteration + 1
        )
        slope = _dot(descent.gradient, direction)
        length = -slope / _dot(direction, product)
        method.learn(length * direction, length * product)
        gained = -0.5 * length * slope
        descent = Descent(
            descent.values + length * direction,
            descent.gradient + length * product,
            descent.start,
            descent.objective - gained,
            descent.iteration + 1,
            gained < least * (descent.start - descent.objective + gained),
        )
        yield Report(descent.iteration, len(problem.rows), descent)
    return descent.values


def method_named(name: SolverName, problem: Problem, tolerance: float) -> Method:
    """Make the method for a half-set; ``tolerance`` (Å) is how different deformations may be that share one."""
    if name == "lbfgs":
        return LimitedMemory()
    members = share(problem, tolerance, most_groups(len(problem.rows)))
    return ConjugateGradients(SharedOperator(problem, members).solve)


def _watched(
    a_pass: Generator[int, None, tuple[Tensor, float]], iteration: int
) -> Generator[Report, None, tuple[Tensor, float]]:
    while True:
        try:
            yield Report(iteration, next(a_pass))
        except StopIteration as end:
            return end.value


def _dot(first: Tensor, second: Tensor) -> float:
    return float(first.double() @ second.double())
