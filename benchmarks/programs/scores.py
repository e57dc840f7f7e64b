"""How well what a program found agrees with the truth of a set."""

from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from napari_flex3d.synthetic import displacement_error, r_squared, share_within

from .running import Found
from .sets import ParticleSet

NEIGHBOURS = 0.05
"""Share of the particles that are a particle's neighbours."""


def scores(particles: ParticleSet, found: Found, boxes: list[int]) -> dict[str, Any]:
    """One row of the table, as plain data."""
    used = np.isfinite(found.latents).all(1)
    latents, true = found.latents[used], particles.truth["param"][used]
    row: dict[str, Any] = {
        "name": found.name,
        "wall": found.cost.wall,
        "processor": found.cost.processor,
        "load": found.cost.load,
        "R2": r_squared(latents, true).tolist(),
        "neighbours": neighbourhood_similarity(latents, true),
        "areas": {box: particles.areas(found.maps, box) for box in boxes},
    }
    if latents.shape[1] == true.shape[1] == 1:
        row["Spearman"] = abs(float(spearmanr(latents[:, 0], true[:, 0]).statistic))
    if found.sd is not None:
        row["within 2 sd"] = share_within(latents, found.sd[used], particles.truth["state"][used]).tolist()
    if found.moved is not None:
        atoms = particles.truth["ca_coords_A"][particles.states]
        row["error"], row["motion"] = displacement_error(
            found.moved, atoms, particles.truth["ca_moving"].astype(bool)
        )
    return row


def neighbourhood_similarity(latents: np.ndarray, true: np.ndarray) -> float:
    """Share of a particle's neighbours by latents that are its neighbours by truth; chance is `NEIGHBOURS`.

    Particles of the same state are ordered at random, by the same small noise for every program.
    """
    rng = np.random.default_rng(0)
    apart = true + 1e-6 * rng.normal(size=true.shape)
    count = max(int(NEIGHBOURS * len(true)), 1)
    near = [cKDTree(points).query(points, count + 1)[1][:, 1:] for points in (latents, apart)]
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(*near, strict=True)]) / count)
