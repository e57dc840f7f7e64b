"""Particle sets with known truth, and how well maps of states agree with it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

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

    def means(self, latents: np.ndarray) -> np.ndarray:
        """Mean latent of the particles of each of `states`; particles without latents are left out."""
        used = np.isfinite(latents).all(1)
        state = self.truth["state"]
        return np.stack([latents[used & (state == s)].mean(0) for s in self.states])

    def areas(self, maps: list[np.ndarray], box: int) -> np.ndarray:
        """Area under the FSC of each state's map against its true map, up to the Nyquist frequency of ``box``.

        In 1/pixel of that box, 0.5 at most: the sum over the shells 1 to box / 2, over the box. Both maps are
        multiplied by the set's mask.
        """
        true = self.true_maps(box)
        return np.array([self._area(a, b, box) for a, b in zip(maps, true, strict=True)])

    def all_atom_areas(self, maps: list[np.ndarray], box: int) -> float | None:
        """Mean area against the maps of all atoms, of those states that have one."""
        known = self.simulated()
        return float(np.mean([self._area(maps[s], known[s], box) for s in known])) if known else None

    def true_maps(self, box: int) -> list[np.ndarray]:
        """True map of each state: one Gaussian an atom, of a standard deviation of 1/96 of the field."""
        kept = self.out / f"true_maps_{box}.npy"
        if not kept.exists():
            atoms = self.truth["ca_coords_A"][self.states]
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, np.stack([atoms_to_map(a, box, self.field / box).numpy() for a in atoms]))
        return list(np.load(kept))

    def simulated(self) -> dict[int, np.ndarray]:
        """True maps that other software made of all atoms, where the set has some, by place in `states`."""
        paths = sorted(self._truth_folder.glob("map_state??.mrc"))
        return {list(self.states).index(int(p.stem[-2:])): read_map(p).data for p in paths}

    def references(self, boxes: list[int]) -> list[dict[str, Any]]:
        """Rows of the consensus map, the same for every state, and of the true maps of all atoms, where known."""
        same = [self.consensus.data] * len(self.states)
        rows: list[dict[str, Any]] = [
            {
                "name": "consensus map only",
                "areas": {box: float(self.areas(same, box).mean()) for box in boxes},
                "all-atom areas": {box: self.all_atom_areas(same, box) for box in boxes},
            }
        ]
        known = self.simulated()
        true = {box: self.true_maps(box) for box in boxes}
        one = {box: [self._area(v, true[box][s], box) for s, v in known.items()] for box in boxes}
        rows.append(
            {
                "name": "true map",
                "areas": {box: float(np.mean(one[box])) if known else 0.5 for box in boxes},
                "all-atom areas": dict.fromkeys(boxes, 0.5),
            }
        )
        return rows

    def _area(self, found: np.ndarray, true: np.ndarray, box: int) -> float:
        mask = self._mask(box)
        return float(fsc(resampled(found, box) * mask, resampled(true, box) * mask)[1:].sum() / box)

    def _mask(self, box: int) -> torch.Tensor:
        return resampled(read_map(self.folder / "mask.mrc").data, box).clip(0, 1)


def resampled(volume: np.ndarray, box: int) -> torch.Tensor:
    """A map on a grid of ``box`` voxels over the same field."""
    return resample3(torch.from_numpy(np.array(volume, dtype=np.float32)), box)
