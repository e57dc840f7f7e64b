"""napari-flex3d, by its command line, with its defaults."""

import csv
import json
import sys
from pathlib import Path

import numpy as np

from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.model import FlexModel, load_model

from .running import Cost, Found, Steps, run
from .sets import ParticleSet


def found(particles: ParticleSet, out: Path, *, box: int, reconstruct: bool, turn: str) -> list[Found]:
    """Train at ``box``; the maps of the states are the training's, then, if wanted, the reconstruction's."""
    costs = run(_steps(particles, out, box, reconstruct), out, turn)
    cost = sum((costs[name] for name in ("prep", "mesh", "train")), Cost())
    results = [trained(particles, out / "job_train", cost)]
    if reconstruct:
        flex = read_map(out / "job_reconstruct" / "flex.mrc")
        results.append(trained(particles, out / "job_train", cost + costs["reconstruct"], flex))
    return results


def trained(
    particles: ParticleSet, train: Path, cost: Cost | None = None, flex: Volume | None = None
) -> Found:
    """What a training found; ``flex`` is the map of its reconstruction, in place of its own."""
    model = load_model(train)
    latents, sd = (_in_order(train, model, len(particles.truth["state"]), letter) for letter in ("z", "sd"))
    reference = particles.truth["ca_coords_A"][int(particles.truth["ref"])]
    moved = np.stack([model.move(reference, z) for z in particles.means(latents, particles.states)])
    means = particles.means(latents, particles.mapped)
    given = {} if flex is None else {"map": flex.data, "apix": flex.pixel_size}
    maps = [model.volume(z, **given) for z in means]
    name = f"ours, trained at box {model.box_size}{' and reconstructed' if flex else ''}"
    if cost is None:
        told = train / "job.json"
        seconds = json.loads(told.read_text())["seconds"] if told.exists() else np.nan
        cost = Cost(seconds, np.nan, np.nan)
    return Found(name, cost, latents, maps, sd, moved)


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
    """Latents, or their deviations, in the order of the star file; a checkpoint without a table has all particles."""
    if not (train / "latents.csv").exists():
        return model.latents if letter == "z" else model.latent_sd
    values = np.full((count, model.latent_dims), np.nan)
    with (train / "latents.csv").open() as file:
        for row in csv.DictReader(file):
            values[int(row["particle"])] = [float(row[f"{letter}{k + 1}"]) for k in range(model.latent_dims)]
    return values
