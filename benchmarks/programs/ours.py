"""napari-flex3d, by its command line, with its defaults."""

import csv
import sys
from pathlib import Path

import numpy as np

from napari_flex3d.io.mrc import read_map
from napari_flex3d.model import FlexModel, load_model

from .running import Cost, Found, Steps, run
from .sets import ParticleSet


def found(particles: ParticleSet, out: Path, *, box: int, reconstruct: bool, turn: str) -> list[Found]:
    """Train at ``box``; the maps of the states are the training's, then, if wanted, the reconstruction's."""
    costs = run(_steps(particles, out, box, reconstruct), out, turn)
    train = out / "job_train"
    model = load_model(train)
    latents, sd = (_in_order(train, model, len(particles.truth["state"]), letter) for letter in ("z", "sd"))
    means = particles.means(latents)
    reference = particles.truth["ca_coords_A"][int(particles.truth["ref"])]
    moved = np.stack([model.move(reference, z) for z in means])
    cost = sum((costs[name] for name in ("prep", "mesh", "train")), Cost())
    trained = [model.volume(z) for z in means]
    results = [Found(f"ours, trained at box {box}", cost, latents, trained, sd, moved)]
    if reconstruct:
        flex = read_map(out / "job_reconstruct" / "flex.mrc")
        maps = [model.volume(z, map=flex.data, apix=flex.pixel_size) for z in means]
        results.append(Found("and reconstructed", cost + costs["reconstruct"], latents, maps, sd, moved))
    return results


def _steps(particles: ParticleSet, out: Path, box: int, reconstruct: bool) -> Steps:
    program: list[str | Path] = [sys.executable, "-m", "napari_flex3d"]
    star, density, mask = (particles.folder / name for name in ("particles.star", "map.mrc", "mask.mrc"))
    data = [star, "--map", density, "--mask", mask, "--train-box", str(box)]
    steps: Steps = {"prep": [*program, "prep", *data, "-o", out / "job_prep"]}
    later = [("prep", "mesh"), ("mesh", "train")] + [("train", "reconstruct")] * reconstruct
    for before, name in later:
        steps[name] = [*program, name, out / f"job_{before}", "-o", out / f"job_{name}"]
    return steps


def _in_order(train: Path, model: FlexModel, count: int, letter: str) -> np.ndarray:
    """Latents, or their deviations, in the order of the star file."""
    values = np.full((count, model.latent_dims), np.nan)
    with (train / "latents.csv").open() as file:
        for row in csv.DictReader(file):
            values[int(row["particle"])] = [float(row[f"{letter}{k + 1}"]) for k in range(model.latent_dims)]
    return values
