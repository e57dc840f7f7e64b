"""A step of the fit, recorded once on a GPU and replayed: what its several hundred kernels wait for is their calls.

On an H100 a step of a small training calls for 9 ms what computes for 1 ms.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from napari_flex3d.particles import ParticleBatch

FIRST = 3
"""Steps before one is recorded: libraries and kernels make themselves ready in them."""


@dataclass(frozen=True)
class Drawn:
    """What a visit of a batch is random in.

    Parameters
    ----------
    rows
        The particles, (B).
    trial
        Rows whose latents are tried (B), and a random direction (B, K); None where nothing is tried.
    noise
        On the latents, standard normal (B, K).
    others
        Rows of particles whose mean displacement is taken out.
    """

    rows: Tensor
    trial: tuple[Tensor, Tensor] | None
    noise: Tensor
    others: Tensor

    def to(self, device: torch.device) -> "Drawn":
        """The same on another device."""
        trial = None if self.trial is None else (self.trial[0].to(device), self.trial[1].to(device))
        return Drawn(self.rows.to(device), trial, self.noise.to(device), self.others.to(device))

    def tensors(self) -> list[Tensor]:
        """All of it."""
        return [self.rows, *(self.trial or ()), self.noise, self.others]


@dataclass(frozen=True)
class Found:
    """What a visit gave besides a new state.

    Parameters
    ----------
    numbers
        Loss, what the flexible model gains over the rigid one, and rigidity energy, summed over particles (3).
    compared
        Particles, the first of the batch, that the gain is of.
    gradients
        Of the two maps, summed over the batch; none while the map is held.
    """

    numbers: Tensor
    compared: int
    gradients: list[Tensor]


Step = Callable[[ParticleBatch, Drawn], Found]


class Recorder:
    """Does the steps of an epoch. All of them are to be the same work on tensors that stay where they are.

    On a GPU a step is recorded (a CUDA graph) and replayed for every later batch of the same size.
    """

    def __init__(self, device: torch.device) -> None:
        self._recordable = device.type == "cuda"
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, step: Step, batch: ParticleBatch, drawn: Drawn) -> Found:
        """Do a step; what it gives on a GPU is overwritten by the next."""
        self._done += 1
        if not self._recordable or self._done <= FIRST:
            return step(batch, drawn)
        if self._graph is None:
            self._record(step, batch, drawn)
        given = _tensors(batch, drawn)
        if any(new.shape != old.shape for new, old in zip(given, self._given, strict=True)):
            return step(batch, drawn)  # what is left over at the end of an epoch
        assert self._graph is not None
        for new, old in zip(given, self._given, strict=True):
            old.copy_(new)
        self._graph.replay()
        return self._found

    def _record(self, step: Step, batch: ParticleBatch, drawn: Drawn) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._given = [t.clone() for t in _tensors(batch, drawn)]
        transform, transfer, rotation, rows, *rest = self._given
        trial = None if drawn.trial is None else (rest[0], rest[1])
        held = Drawn(rows, trial, *rest[-2:])
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._found = step(ParticleBatch(transform, transfer, rotation), held)


def _tensors(batch: ParticleBatch, drawn: Drawn) -> list[Tensor]:
    return [*(getattr(batch, f.name) for f in fields(batch)), *drawn.tensors()]
