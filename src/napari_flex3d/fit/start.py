"""What a fit begins with when nobody says it: how many latents, which flow, how much rigidity."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.fit.motions import Motions, find_motions, follow
from napari_flex3d.fit.rigidity import Trial, scan_rigidity
from napari_flex3d.fit.state import Fit, Setup, at_rest, begin

T = TypeVar("T")

DECIDED = ("latent_dims", "rigidity", "flow_lr", "flow_lr_final")
"""Parameters that have numbers once a fit has begun, whatever was asked for."""

WITHOUT_MOTION = 2.0
"""Strength of rigidity where no motion stands out: the gains of a scan would be those of fitting noise."""

RANDOM_RATE, FOUND_RATE = 1.5e-3, 1e-4
"""Learning rates from a random flow, and from one that only needs mending: larger steps would undo it."""


@dataclass(frozen=True)
class Start:
    """A fit that can begin.

    Parameters
    ----------
    setup
        With numbers in its parameters where there was "auto".
    state
        The first state.
    motions
        What was found before any network; None where the start is random or given.
    taken
        Numbers of the motions, from 0, that the latents start along.
    trials
        Strengths of rigidity that were tried.
    """

    setup: Setup
    state: Fit
    motions: Motions | None = None
    taken: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()


def start(
    setup: Setup, density: NDArray[np.float32], latents: NDArray[np.float32] | None
) -> Generator[tuple[int, int, str], None, Start]:
    """Begin a fit: look for motions unless latents are given, then find the rigidity if that is asked for.

    Yields
    ------
    done, total, said
        Where it is, and what there is to say about it, mostly nothing.
    """
    params = setup.params
    rest = at_rest(setup, density)
    motions: Motions | None = None
    taken: tuple[int, ...] = ()
    if latents is None and params.start == "motions":
        yield 0, 0, "Looking for motions, before any network"
        motions = yield from _silently(find_motions(setup, rest))
        taken = _taken(params, motions)
        yield 0, 0, in_words(motions)
    dims = params.latent_dims
    if dims == "auto":
        dims = latents.shape[1] if latents is not None else max(1, len(taken))
    taken = taken[:dims]
    setup = setup.decided(
        latent_dims=dims, **_rates(params, FOUND_RATE if len(taken) == dims else RANDOM_RATE)
    )

    def first(one: Setup, rows: NDArray[np.int64] | slice = slice(None)) -> Fit:
        given = None if latents is None else latents[rows]
        state = begin(one, rest, params.layers, params.hidden_units, given)
        if motions is not None and taken:
            follow(state, motions, taken)
        return state

    trials: tuple[Trial, ...] = ()
    if params.rigidity == "auto" and motions is not None and not taken:
        yield 0, 0, f"rigidity = {WITHOUT_MOTION:g}, since there is no motion to choose it by"
        setup = setup.decided(rigidity=WITHOUT_MOTION)
    elif params.rigidity == "auto":
        yield 0, 0, "Trying strengths of rigidity, on coarse images"
        trials = yield from _silently(scan_rigidity(setup, first))
        chosen = next(trial for trial in trials if trial.chosen)
        yield 0, 0, f"rigidity = {chosen.rigidity:g}: held-out particles gain {chosen.gain:.2f} each"
        setup = setup.decided(rigidity=chosen.rigidity)
    state = first(setup)
    if motions is not None and taken:
        known = motions.latents[:, list(taken)].to(setup.device)
        state.latents[motions.rows, : len(taken)] = known
    return Start(setup, state, motions, taken, trials)


def _silently(steps: Generator[tuple[int, int], None, T]) -> Generator[tuple[int, int, str], None, T]:
    """The same steps with nothing to say."""
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        yield done, total, ""


def _rates(params: Any, rate: float) -> dict[str, float]:
    """Learning rates at the start and at the end."""
    first = rate if params.flow_lr == "auto" else params.flow_lr
    return {
        "flow_lr": first,
        "flow_lr_final": first / 10 if params.flow_lr_final == "auto" else params.flow_lr_final,
    }


def _taken(params: Any, motions: Motions) -> tuple[int, ...]:
    """Motions to start along: those asked for, else those that the particles support."""
    if params.motions:
        return tuple(number - 1 for number in params.motions if number <= len(motions.size))
    return tuple(range(motions.supported))


def in_words(motions: Motions) -> str:
    """What was found, for the log."""
    sizes = ", ".join(f"{size:.2f}" for size in motions.size[: motions.supported].tolist())
    if not motions.supported:
        return (
            f"No motion stands out: the largest bends by {motions.internal[0]:.2f} Å rms, noise alone makes "
            f"{motions.null:.2f} Å"
        )
    count = "1 motion" if motions.supported == 1 else f"{motions.supported} motions"
    return f"The particles support {count}, of {sizes} Å rms (noise alone bends by {motions.null:.2f} Å)"
