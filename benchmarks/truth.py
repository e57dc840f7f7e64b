"""How well a training agrees with the known truth of a particle set.

Run: python benchmarks/truth.py SET TRAIN_JOB [RECONSTRUCT_JOB]
with SET a folder that holds truth/truth.npz (the shared sets) or truth.npz (a made sample).
"""

import argparse
import csv
import itertools
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from napari_flex3d.io.mrc import read_map
from napari_flex3d.model import load_model
from napari_flex3d.ops.fourier import soft_edge
from napari_flex3d.ops.fsc import fsc, resolution
from napari_flex3d.synthetic import displacement_error, r_squared, share_within


def around(points: np.ndarray, box: int, pixel_size: float, radius: float = 8.0) -> torch.Tensor:
    """Soft mask of everything within ``radius`` Å of points (x, y, z from the box centre)."""
    from scipy.ndimage import distance_transform_edt

    index = np.round(points[:, ::-1] / pixel_size).astype(int) + box // 2
    outside = np.ones((box,) * 3, dtype=bool)
    outside[tuple(index.clip(0, box - 1).T)] = False
    distance = distance_transform_edt(outside, sampling=pixel_size)
    return soft_edge(torch.from_numpy(distance).float(), radius, 4 * pixel_size)


def latents_and_motion(truth: dict[str, np.ndarray], train: Path) -> None:
    model = load_model(train)
    with (train / "latents.csv").open() as file:
        rows = [int(row["particle"]) for row in csv.DictReader(file)]
    state = truth["state"][rows]
    true = truth["ca_coords_A"]
    reference = true[int(truth["ref"])]
    param = truth["param"][rows]
    for k, j in itertools.product(range(model.latent_dims), range(param.shape[1])):
        found = spearmanr(model.latents[:, k], param[:, j]).statistic
        print(f"Spearman(z{k + 1}, true coordinate {j + 1})  {found:+.4f}")
    explained = r_squared(model.latents, param)
    for j, share in enumerate(explained):
        print(f"true coordinate {j + 1}: R2 of a quadratic fit by the latents  {share:.4f}")
    for k, inside in enumerate(share_within(model.latents, model.latent_sd, state)):
        print(f"true states within 2 sd of z{k + 1}  {inside:.1%}")
    mean = [model.latents[state == s].mean(0) for s in range(len(true))]
    moved = np.stack([model.move(reference, z) for z in mean])
    error, motion = displacement_error(moved, true, truth["ca_moving"].astype(bool))
    print(f"displacement error of the moving atoms  {error:.3f} of {motion:.3f} Å = {error / motion:.1%}")
    about = (x - x.mean(1, keepdims=True) for x in (moved, true))  # a common shift belongs to the pose
    error, motion = displacement_error(*about, np.ones(true.shape[1], dtype=bool))
    print(f"that of all atoms about their mean  {error:.3f} of {motion:.3f} Å = {error / motion:.1%}")


def maps(truth: dict[str, np.ndarray], folder: Path, job: Path) -> None:
    reference = truth["ca_coords_A"][int(truth["ref"])]
    moving = truth["ca_moving"].astype(bool)
    volumes = {p.stem: read_map(p) for p in sorted(job.glob("*half?.mrc"))}
    pixel = next(iter(volumes.values())).pixel_size
    box = len(next(iter(volumes.values())).data)
    true = folder / f"map_state{int(truth['ref']):02d}.mrc"
    for part, atoms in (("moving", reference[moving]), ("fixed", reference[~moving])):
        mask = around(atoms, box, pixel)
        for kind in sorted({name.partition("_")[0] for name in volumes}):
            halves = [torch.from_numpy(volumes[f"{kind}_half{h}"].data) * mask for h in (1, 2)]
            curve = fsc(halves[0], halves[1])
            said = f"half-maps 0.143 at {resolution(curve, box, pixel, 0.143):.2f} Å, "
            said += f"0.5 at {resolution(curve, box, pixel, 0.5):.2f} Å"
            if true.is_file():
                against = fsc(halves[0] + halves[1], torch.from_numpy(read_map(true).data.copy()) * mask)
                said += f"; against the true map 0.5 at {resolution(against, box, pixel, 0.5):.2f} Å"
            print(f"{part:7s} {kind:6s} {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("reconstruct", type=Path, nargs="?")
    given = parser.parse_args()
    folder = given.set / "truth" if (given.set / "truth").is_dir() else given.set
    truth = dict(np.load(folder / "truth.npz"))
    latents_and_motion(truth, given.train)
    if given.reconstruct:
        maps(truth, folder, given.reconstruct)


if __name__ == "__main__":
    main()
