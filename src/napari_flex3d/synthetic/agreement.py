"""How well what was found agrees with what was made."""

from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Bool, Float
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
    true: Float[ndarray, "n motions"],
    *,
    deviations: float = 2.0,
    degree: int = 3,
) -> Float[ndarray, " motions"]:
    """Share of particles whose true coordinate lies within so many standard deviations of the found one.

    Latents have a unit of their own, so the true coordinate is fitted by a polynomial of the latents, and each
    particle's deviation is carried into its unit by the slope there. The fit goes this way round because a posterior
    mean is drawn to the prior: the truth is expected at the mean, while the mean is not expected at the truth.

    Parameters
    ----------
    latents, sd
        Posterior mean and standard deviation of each latent; covariances between latents are taken as 0.
    true
        True coordinates of the same particles, in any unit.
    deviations
        How many standard deviations; 2 should hold 95 % of a calibrated posterior.
    degree
        Of the polynomial.
    """
    unit = latents.std(0)
    scaled = _scaled(latents)
    factors = np.linalg.lstsq(_powers(scaled, degree), true, rcond=None)[0]
    missed = true - _powers(scaled, degree) @ factors
    variance = np.zeros_like(true)
    for column in range(latents.shape[1]):
        step = np.zeros(latents.shape[1])
        step[column] = 1e-3
        slope = (_powers(scaled + step, degree) - _powers(scaled - step, degree)) @ factors / 2e-3
        variance += (slope * sd[:, [column]] / unit[column]) ** 2
    return (np.abs(missed) <= deviations * np.sqrt(variance)).mean(0)


def _scaled(latents: Float[ndarray, "n latents"]) -> Float[ndarray, "n latents"]:
    """Latents of mean 0 and variance 1, so that their powers are of one size."""
    return (latents - latents.mean(0)) / np.maximum(latents.std(0), 1e-12)
