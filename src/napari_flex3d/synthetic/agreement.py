"""How well what was found agrees with what was made."""

from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray


def displacement_error(
    moved: Float[ndarray, "states atoms 3"],
    true: Float[ndarray, "states atoms 3"],
    moving: Bool[ndarray, " atoms"],
) -> tuple[float, float]:
    """How well a model's motion agrees with the true one.

    Parameters
    ----------
    moved
        Reference atoms moved by the model to the mean latent of each state's particles, Å.
    true
        The true atoms of each state, Å.
    moving
        Which atoms count.

    Returns
    -------
    error, motion
        Mean over states and moving atoms of the length of the difference of displacements, and of the true
        displacement, Å. Displacements are relative to the mean over states, which no experiment can tell.
    """
    found, truth = ((x - x.mean(0))[:, moving] for x in (moved, true))
    return float(np.linalg.norm(found - truth, axis=-1).mean()), float(np.linalg.norm(truth, axis=-1).mean())


def _powers(latents: Float[ndarray, "n latents"], degree: int) -> Float[ndarray, "n terms"]:
    """All products of up to ``degree`` latents."""
    terms = [
        np.prod(latents[:, list(chosen)], axis=1)
        for power in range(degree + 1)
        for chosen in combinations_with_replacement(range(latents.shape[1]), power)
    ]
    return np.stack(terms, axis=-1)


def r_squared(
    latents: Float[ndarray, "n latents"], true: Float[ndarray, "n motions"], degree: int = 2
) -> Float[ndarray, " motions"]:
    """Share of the variance of each true coordinate that a polynomial of the latents explains.

    Parameters
    ----------
    latents
        Found latents, one row a particle.
    true
        True coordinates of the same particles, in any unit.
    degree
        Of the polynomial in all latents, fitted by least squares: 2 is a quadratic fit.
    """
    terms = _powers(_scaled(latents), degree)
    missed = true - terms @ np.linalg.lstsq(terms, true, rcond=None)[0]
    return 1 - missed.var(0) / true.var(0)


def share_within(
    latents: Float[ndarray, "n latents"],
    sd: Float[ndarray, "n latents"],
    state: Integer[ndarray, " n"],
    *,
    deviations: float = 2.0,
) -> Float[ndarray, " latents"]:
    """Share of particles whose true state lies within so many standard deviations of the latent that was found.

    The latent of a state is the mean of its particles', as for displacements and maps, made larger by what a
    posterior mean is drawn to the prior's: by ``1 - variance / total``, the total being that of latents and posteriors.

    Parameters
    ----------
    latents, sd
        Posterior mean and standard deviation of each latent.
    state
        Number of each particle's true state; several particles have each.
    deviations
        How many standard deviations; 2 should hold 95 % of a calibrated posterior.
    """
    about, variance = latents - latents.mean(0), sd**2
    kept = 1 - variance / (latents.var(0) + variance.mean(0))
    of = np.unique(state, return_inverse=True)[1]
    total, share = (np.stack([np.bincount(of, column) for column in x.T], -1) for x in (about, kept))
    return (np.abs(about - (total / share)[of]) <= deviations * sd).mean(0)


def _scaled(latents: Float[ndarray, "n latents"]) -> Float[ndarray, "n latents"]:
    """Latents of mean 0 and variance 1, so that their powers are of one size."""
    return (latents - latents.mean(0)) / np.maximum(latents.std(0), 1e-12)
