"""What the scatter shows along x and y: latents, their principal components, or an embedding; and the way back."""

import importlib.util
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.spatial import cKDTree

UMAP = "UMAP"
UMAP_PARTICLES = 20_000
"""As many particles are embedded; the others lie between their nearest."""
NEAREST = 6
"""Neighbours that say where a particle lies, and which latent a place stands for."""


class Plane(Protocol):
    """A plane that particles are seen in."""

    names: tuple[str, ...]
    points: np.ndarray
    """(N, 1) or (N, 2) places of the particles."""

    def place(self, latent: np.ndarray) -> np.ndarray:
        """Where latents (..., K) lie in the plane."""

    def latent_at(self, place: np.ndarray, here: np.ndarray) -> np.ndarray:
        """Latent (..., K) at a place (..., 1 or 2), as near to the latent ``here`` as can be."""


@dataclass(frozen=True)
class Axis:
    """A direction through the latents: its coordinate is ``direction @ (latent - through)``."""

    name: str
    direction: np.ndarray
    through: np.ndarray


class LinearPlane:
    """Two axes, or one.

    Parameters
    ----------
    latents
        (N, K).
    axes
        One or two of them; two that are parallel count as one.
    """

    def __init__(self, latents: np.ndarray, axes: tuple[Axis, ...]) -> None:
        self.axes = axes
        self.names = tuple(axis.name for axis in axes)
        self._matrix = np.stack([axis.direction for axis in axes])
        self._offset = np.array([axis.direction @ axis.through for axis in axes])
        self._inverse = np.linalg.pinv(self._matrix)
        self.points = np.ascontiguousarray(
            latents @ self._matrix.T.astype(latents.dtype) - self._offset.astype(latents.dtype), np.float32
        )

    def place(self, latent: np.ndarray) -> np.ndarray:
        """Where latents (..., K) lie in the plane."""
        return np.asarray(latent, float) @ self._matrix.T - self._offset

    def latent_at(self, place: np.ndarray, here: np.ndarray) -> np.ndarray:
        """Latent (..., K) at a place; what the axes do not see stays as it is ``here``."""
        wanted = np.asarray(place, float)[..., : len(self.axes)]
        return np.asarray(here, float) + (wanted - self.place(here)) @ self._inverse.T


class EmbeddedPlane:
    """An embedding that is known at the particles only.

    Parameters
    ----------
    latents
        (N, K).
    points
        (N, 2) their places.
    """

    names: tuple[str, ...] = (f"{UMAP} 1", f"{UMAP} 2")

    def __init__(self, latents: np.ndarray, points: np.ndarray) -> None:
        self.points = np.ascontiguousarray(points, np.float32)
        self._latents = latents
        self._spread = _spread(latents)
        self._in_latents, self._in_plane = cKDTree(latents / self._spread), cKDTree(self.points)

    def place(self, latent: np.ndarray) -> np.ndarray:
        """Where latents (..., K) lie: between the particles that are most alike."""
        return _between(self._in_latents, np.asarray(latent) / self._spread, self.points)

    def latent_at(self, place: np.ndarray, here: np.ndarray) -> np.ndarray:
        """Latent (..., K) of the particles around a place."""
        return _between(self._in_plane, np.asarray(place, float), self._latents)


def linear_axes(latents: np.ndarray) -> list[Axis]:
    """Every latent coordinate; and every principal component where there are several coordinates."""
    dims = latents.shape[1]
    axes = [Axis(f"z{k + 1}", np.eye(dims)[k], np.zeros(dims)) for k in range(dims)]
    if dims == 1 or len(latents) <= dims:
        return axes
    mean = latents.mean(0, dtype=float)
    _, directions = np.linalg.eigh(np.cov(latents.T.astype(float)))
    components = directions.T[::-1]
    signs = np.sign(components[np.arange(dims), np.abs(components).argmax(1)])
    return axes + [Axis(f"PC{k + 1}", components[k] * signs[k], mean) for k in range(dims)]


def has_umap() -> bool:
    """Whether the package umap-learn is there."""
    return importlib.util.find_spec("umap") is not None


def embed(latents: np.ndarray) -> EmbeddedPlane:
    """Embed the latents (N, K) by UMAP (McInnes 2018); takes up to minutes, so it belongs in a thread."""
    from umap import UMAP as Embedding

    scaled = latents / _spread(latents)
    few = np.random.default_rng(0).permutation(len(latents))[:UMAP_PARTICLES]
    fitted = Embedding(n_neighbors=min(15, len(few) - 1), random_state=0, n_jobs=1).fit_transform(scaled[few])
    return EmbeddedPlane(latents, _between(cKDTree(scaled[few]), scaled, fitted))


def _spread(latents: np.ndarray) -> np.ndarray:
    return np.maximum(latents.std(0), 1e-6)


def _between(tree: cKDTree, places: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Mean of what the nearest points of a tree have, the nearer the heavier."""
    distance, index = tree.query(places, k=min(NEAREST, tree.n))
    weight = 1 / np.maximum(distance, 1e-9)
    weight /= weight.sum(-1, keepdims=True)
    return (of[index] * weight[..., None]).sum(-2)
