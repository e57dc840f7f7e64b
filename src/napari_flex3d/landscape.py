"""The latents measured in Å of motion: lengths of paths, even steps along them, how far each particle moves."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from napari_flex3d.model import FlexModel

Floats = NDArray[np.float64]

_AT_ONCE = 4096
"""Latents that go through the network together."""

_PARTS = 8
"""Chords that a piece of a path is measured by."""


def metric(model: FlexModel, latents: NDArray[Any]) -> Floats:
    """Squared rms motion, Å², that a small step along each pair of latent coordinates makes: (M, K, K).

    Parameters
    ----------
    model
        The model.
    latents
        Where (M, K), displayed scale.

    Notes
    -----
    ``M(z) = sum_n V_n J_n(z)^T J_n(z) / sum_n V_n`` with ``J_n = d u(x_n) / d z``: the pull-back of the rms
    distance between deformed maps, weighted by the density ``V`` that each vertex carries.
    """
    given = np.asarray(latents, np.float32).reshape(-1, model.latent_dims)
    found = np.empty((len(given), model.latent_dims, model.latent_dims))
    scale = np.outer(model.latent_scale, model.latent_scale)
    few = max(1, _AT_ONCE // 64)
    with torch.no_grad():
        for first in range(0, len(given), few):
            standard = torch.from_numpy(given[first : first + few] / model.latent_scale)
            _, slope = model.generator.with_jacobian(standard)
            gram = torch.einsum("bkpc,blpc,p->bkl", slope, slope, model.generator.mass)
            found[first : first + few] = gram.numpy() / scale
    return found


def rms_between(model: FlexModel, first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Root-mean-square motion between states (M, K) and others (M, K), Å, (M)."""
    mass = model.generator.mass.numpy()
    apart = np.square(model.displacements(second) - model.displacements(first)).sum(-1)
    return np.sqrt((apart * mass).sum(-1) / mass.sum())


def motion(model: FlexModel, latents: NDArray[Any]) -> Floats:
    """Root-mean-square displacement from the canonical map at each latent (N, K), Å, (N).

    Notes
    -----
    Displacements are sums of modes, so that the modes' inner products give their mean square without a single vertex.
    """
    generator = model.generator
    modes = generator.modes.view(len(generator.modes), -1, 3)
    gram = torch.einsum("mpc,npc,p->mn", modes, modes, generator.mass)
    found = np.empty(len(latents))
    with torch.no_grad():
        inner = generator.weight @ gram @ generator.weight.T
        for first in range(0, len(latents), _AT_ONCE):
            part = np.asarray(latents[first : first + _AT_ONCE], np.float32) / model.latent_scale
            features = generator.features(torch.from_numpy(part)) - generator.mean_features
            square = ((features @ inner) * features).sum(-1).clamp(min=0)
            found[first : first + _AT_ONCE] = square.sqrt().numpy()
    return found


def lengths(model: FlexModel, path: NDArray[Any]) -> Floats:
    """Length in Å of every piece of a path through latents (F, K): (F - 1).

    Notes
    -----
    Chords between closely spaced states; they converge to the integral of ``sqrt(dz^T M dz)`` from below.
    """
    if len(path) < 2:
        return np.zeros(0)
    fine = _at(path, np.linspace(0, len(path) - 1, (len(path) - 1) * _PARTS + 1))
    chords = rms_between(model, fine[:-1], fine[1:])
    return chords.reshape(-1, _PARTS).sum(1)


def even(model: FlexModel, path: NDArray[Any], frames: int) -> Floats:
    """The same path in so many frames that lie equally many Å apart along it, (frames, K)."""
    given = np.asarray(path, float)
    if len(given) < 2:
        return np.repeat(given, frames, axis=0)
    fine_at = np.linspace(0, len(given) - 1, max((len(given) - 1) * _PARTS, 8 * frames) + 1)
    fine = _at(given, fine_at)
    gone = np.concatenate([[0.0], np.cumsum(rms_between(model, fine[:-1], fine[1:]))])
    if gone[-1] <= 0:  # nothing moves: even in the latents then
        gone = np.arange(len(fine), dtype=float)
    return _at(given, np.interp(np.linspace(0, gone[-1], frames), gone, fine_at))


def smooth(path: NDArray[Any], width: float = 1.0) -> Floats:
    """Round off a path (F, K) by a Gaussian over ``width`` points; its ends stay."""
    given = np.asarray(path, float)
    if len(given) < 3:
        return given.copy()
    count = int(np.ceil(4 * width))
    # points mirrored about the ends, as a continuation that leaves the ends where they are
    before = 2 * given[0] - given[1 : count + 1][::-1]
    after = 2 * given[-1] - given[-count - 1 : -1][::-1]
    rounded = gaussian_filter1d(np.concatenate([before, given, after]), width, axis=0, mode="nearest")
    found = rounded[len(before) : len(before) + len(given)]
    found[[0, -1]] = given[[0, -1]]
    return found


def _at(path: NDArray[Any], where: Floats) -> Floats:
    """Points of a polyline at fractional indices."""
    index = np.arange(len(path))
    return np.stack([np.interp(where, index, column) for column in np.asarray(path, float).T], axis=1)
