"""Covariance of linear coefficients behind noisy observations, and what it gains on others.

Every particle gives the normal equations of a linear least-squares problem in the units of its noise,
``precision`` H (N, r, r) and ``pull`` b (N, r); its coefficients c are drawn from a normal distribution.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def expectation_maximisation(
    precision: Float[Tensor, "n r r"], pull: Float[Tensor, "n r"], first: float, steps: int
) -> tuple[Float[Tensor, " r"], Float[Tensor, "r r"], Float[Tensor, "n r"]]:
    """Mean and covariance of the coefficients, and each particle's posterior mean.

    Parameters
    ----------
    precision, pull
        Normal equations.
    first
        Variance of each coefficient to begin with. What the data say nothing of stays near it, so it is to be small.
    steps
        Iterations.

    Notes
    -----
    Dempster, Laird & Rubin 1977, for a linear mixed model (Laird & Ware 1982).
    """
    eye = torch.eye(pull.shape[1], dtype=pull.dtype, device=pull.device)
    mean, covariance, posterior = torch.zeros_like(pull[0]), first * eye, pull
    for _ in range(steps):
        inverse = torch.linalg.inv(covariance)
        spread = torch.linalg.inv(precision + inverse)
        posterior = (spread @ (pull + inverse @ mean)[..., None])[..., 0]
        mean = posterior.mean(0)
        off = posterior - mean
        covariance = spread.mean(0) + off.T @ off / len(off)
    return mean, covariance, posterior


def log_likelihood(
    precision: Float[Tensor, "n r r"], pull: Float[Tensor, "n r"], covariance: Float[Tensor, "r r"]
) -> Float[Tensor, " n"]:
    """Log-likelihood of each particle under coefficients of mean 0 and a covariance, over that of no motion."""
    value, vector = torch.linalg.eigh(covariance)
    root = vector * value.clamp(min=0).sqrt()
    inner = root.T @ precision @ root + torch.eye(len(value), dtype=root.dtype, device=root.device)
    pulled = (pull @ root)[..., None]
    explained = (pulled * torch.linalg.solve(inner, pulled)).sum((1, 2))
    return 0.5 * (explained - torch.logdet(inner))
