"""How rigid the motion is: short trainings at several strengths, judged by particles that they did not see."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.fit import early_epochs, fit
from napari_flex3d.fit.state import Fit, Setup

STRENGTHS = (0.125, 0.5, 2.0, 8.0, 32.0)

EPOCHS = 4
"""Epochs of each short training, all of the early, coarse kind."""

PARTICLES = 4000
"""Particles that take part, at most."""

JUDGES = 0.2
"""Share of them that judges and is not trained on; all are training particles of the training that follows."""

HASTE = 3.0
"""Learning rates are so many times those of the training, so that a few epochs show what a strength does."""

GOOD_ENOUGH = 0.98
"""The stiffest strength with this share of the best gain is taken: what more freedom gains beyond is noise."""


@dataclass(frozen=True)
class Trial:
    """A strength that was tried.

    Parameters
    ----------
    rigidity
        The strength.
    gain
        How much better a judging particle fits the flexible model than the rigid one, log-likelihood.
    displacement
        Density-weighted rms displacement, Å.
    chosen
        Whether it was taken.
    """

    rigidity: float
    gain: float
    displacement: float
    chosen: bool = False


def scan_rigidity(
    setup: Setup, first: Callable[[Setup, NDArray[np.int64]], Fit]
) -> Generator[tuple[int, int], None, tuple[Trial, ...]]:
    """Train shortly at each strength on some of the training particles.

    Parameters
    ----------
    setup
        The training that is to follow; its held-out particles take no part.
    first
        Makes the first state for a setup of some rows of the particles.

    Yields
    ------
    done, total
        Steps.
    """
    random = np.random.default_rng(setup.params.seed)
    rows = np.sort(random.permutation(setup.train)[:PARTICLES])
    number = setup.particles.number[rows]
    judging = random.permutation(np.unique(number))
    held_out = np.isin(number, judging[: max(1, round(JUDGES * len(judging)))])
    epochs = max(setup.params.epochs, 3 * EPOCHS)  # so many that all of these are early ones
    assert early_epochs(epochs) >= EPOCHS
    trials = []
    for i, strength in enumerate(STRENGTHS):
        part = replace(setup, particles=setup.particles.take(rows), held_out=held_out)
        rates = {name: HASTE * getattr(setup.params, name) for name in ("flow_lr", "flow_lr_final")}
        part = part.decided(rigidity=strength, epochs=epochs, **rates)
        metrics: dict[str, float] = {}
        steps = fit(part, first(part, rows))
        while metrics.get("epoch", 0) < EPOCHS:
            done, total, metrics = next(steps)
            yield i * total * EPOCHS // epochs + done, len(STRENGTHS) * total * EPOCHS // epochs
        steps.close()
        gain = metrics["rigid_loss_held_out"] - metrics["loss_held_out"]
        trials.append(Trial(strength, gain, metrics["displacement_rms"]))
    best = max(trial.gain for trial in trials)
    enough = [i for i, trial in enumerate(trials) if trial.gain >= min(GOOD_ENOUGH * best, best)]
    return tuple(replace(trial, chosen=i == enough[-1]) for i, trial in enumerate(trials))
