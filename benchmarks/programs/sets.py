"""Particle sets with known truth, and how well maps of states agree with it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from truth import around

from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.ops.fourier import resample3
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.synthetic import atoms_to_map


@dataclass(frozen=True)
class ParticleSet:
    """A particle set as `write_sample` and the shared sets have it, and where what is made of it goes.

    Parameters
    ----------
    folder
        Has particles.star, map.mrc, mask.mrc and truth.npz (or truth/truth.npz).
    out
        For results.
    """

    folder: Path
    out: Path

    @cached_property
    def truth(self) -> dict[str, np.ndarray]:
        """Arrays of truth.npz."""
        return dict(np.load(self._truth_folder / "truth.npz"))

    @property
    def _truth_folder(self) -> Path:
        inner = self.folder / "truth"
        return inner if inner.is_dir() else self.folder

    @cached_property
    def consensus(self) -> Volume:
        """Consensus map that the programs were given."""
        return read_map(self.folder / "map.mrc")

    @property
    def field(self) -> float:
        """Side of the box, Å."""
        return len(self.consensus.data) * self.consensus.pixel_size

    @cached_property
    def states(self) -> np.ndarray:
        """States that some particle is in."""
        return np.unique(self.truth["state"])

    @cached_property
    def mapped(self) -> np.ndarray:
        """States whose true maps count: those that the set has maps of, all of them where it has none."""
        return np.array([int(p.stem[-2:]) for p in self._given_maps]) if self._given_maps else self.states

    @property
    def _given_maps(self) -> list[Path]:
        """True maps that came with the set."""
        return sorted(self._truth_folder.glob("map_state??.mrc"))

    def means(self, latents: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Mean latent of the particles of each state; particles without latents are left out."""
        used = np.isfinite(latents).all(1)
        return np.stack([latents[used & (self.truth["state"] == s)].mean(0) for s in states])

    def true_maps(self, box: int) -> list[np.ndarray]:
        """True map of each of `mapped`: the set's own, or one Gaussian an atom, 1/96 of the field wide (sd)."""
        if self._given_maps:
            return [resampled(read_map(path).data, box).numpy() for path in self._given_maps]
        kept = self.out / f"true_maps_{box}.npy"
        if not kept.exists():
            atoms = self.truth["ca_coords_A"][self.mapped]
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, np.stack([atoms_to_map(a, box, self.field / box).numpy() for a in atoms]))
        return list(np.load(kept))

    def areas(self, maps: list[np.ndarray], box: int) -> dict[str, float]:
        """Mean area under the FSC of each state's map against its true map, up to the Nyquist frequency of ``box``.

        In 1/pixel of that box, 0.5 at most: the sum over the shells 1 to box / 2, over the box. Both maps are
        multiplied by the set's mask ("whole"), or by a soft one around the atoms that move ("moving").
        """
        whole = resampled(read_map(self.folder / "mask.mrc").data, box).clip(0, 1)
        moving = self.truth["ca_moving"].astype(bool)
        areas: dict[str, list[float]] = {"whole": [], "moving": []}
        for state, found, true in zip(self.mapped, maps, self.true_maps(box), strict=True):
            part = around(self.truth["ca_coords_A"][state][moving], box, self.field / box)
            for name, mask in (("whole", whole), ("moving", part)):
                curve = fsc(resampled(found, box) * mask, resampled(true, box) * mask)
                areas[name].append(float(curve[1:].sum() / box))
        return {name: float(np.mean(values)) for name, values in areas.items()}


def resampled(volume: np.ndarray, box: int) -> torch.Tensor:
    """A map on a grid of ``box`` voxels over the same field."""
    return resample3(torch.from_numpy(np.array(volume, dtype=np.float32)), box)
