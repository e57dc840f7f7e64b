"""cryoDRGN 4 (Zhong et al. 2021), in an environment of its own: `train_vae` and `train_dec`."""

import pickle
from pathlib import Path
from typing import Literal

import numpy as np

from napari_flex3d.io.mrc import read_map

from .running import Cost, Found, Steps, run
from .sets import ParticleSet

EPOCHS_AT_ONCE = 5

WIDTH = {
    "train_vae": lambda units: ("--enc-dim", units, "--dec-dim", units),
    "train_dec": lambda units: ("--dim", units),
}
"""Flags that say how many units a layer has."""


def found(
    particles: ParticleSet,
    out: Path,
    *,
    program: list[str | Path],
    mode: Literal["train_vae", "train_dec"],
    box: int,
    zdim: int,
    width: int,
    epochs: int,
    turn: str,
    same: Cost,
) -> list[Found]:
    """Train on images cropped to ``box``; the result after all epochs, and after as much processor time as ours."""
    inputs = out.parent / f"cryodrgn_inputs_{box}"
    before = run(prepare(particles, inputs, program, box), inputs, turn)
    trained = run(_train(inputs, out, program, mode, zdim, width, epochs), out, turn)
    prepared, training = (sum(costs.values(), Cost()) for costs in (before, trained))
    chosen = {epochs: ""}
    if np.isfinite(same.processor):
        within = int(epochs * (same.processor - prepared.processor) / training.processor)
        chosen[min(max(within, 1), epochs)] = " (ours' time)"
    return [
        _at(
            particles,
            out,
            program,
            epoch,
            turn,
            prepared + training.share(epoch / epochs),
            f"{mode} of {width} units{which}",
        )
        for epoch, which in chosen.items()
    ]


def prepare(particles: ParticleSet, inputs: Path, program: list[str | Path], box: int) -> Steps:
    """Images cropped to ``box``, poses and CTF in the form that cryoDRGN takes."""
    star, images = particles.folder / "particles.star", inputs / "particles.mrcs"
    return {
        "downsample": [*program, "downsample", star, "-D", str(box), "-o", images, "--datadir", star.parent],
        "poses": [*program, "parse_pose_star", star, "-o", inputs / "pose.pkl"],
        "ctf": [*program, "parse_ctf_star", star, "-o", inputs / "ctf.pkl"],
    }


def _train(
    inputs: Path, out: Path, program: list[str | Path], mode: str, zdim: int, width: int, epochs: int
) -> Steps:
    """The training, a few epochs at a time; by default it takes particles to be bright, as those of the sets are."""
    data = [inputs / "particles.mrcs", "--poses", inputs / "pose.pkl", "--ctf", inputs / "ctf.pkl"]
    steps: Steps = {}
    for first in range(0, epochs, EPOCHS_AT_ONCE):
        last = min(first + EPOCHS_AT_ONCE, epochs)
        steps[f"epoch_{last:03d}"] = [
            *(*program, mode, *data, "-o", out / "model", "--zdim", str(zdim), "-n", str(last)),
            *WIDTH[mode](str(width)),
            *("--no-amp", "--no-analysis", "--seed", "0"),
            *(("--load", "latest") if first else ()),
        ]
    return steps


def _at(
    particles: ParticleSet, out: Path, program: list[str | Path], epoch: int, turn: str, cost: Cost, name: str
) -> Found:
    """Latents and maps of the states after an epoch."""
    model = out / "model"
    with (model / f"z.{epoch}.pkl").open("rb") as file:
        latents = np.asarray(pickle.load(file))  # our own run wrote it
    maps, table = out / f"maps_{epoch}", out / f"means_{epoch}.txt"
    np.savetxt(table, particles.means(latents, particles.mapped))
    command = [*program, "eval_vol", model / f"weights.{epoch}.pkl", "-c", model / "config.yaml"]
    run({f"maps_{epoch}": [*command, "--zfile", table, "-o", maps]}, out, turn)
    volumes = [read_map(path).data for path in sorted(maps.glob("vol_*.mrc"))]
    return Found(f"cryoDRGN {name}, {epoch} epochs", cost, latents, volumes)
