"""RECOVAR 0.4.5 (Gilles & Singer 2025), in an environment of its own: covariance of the density, kernel regression."""

import pickle
from pathlib import Path

import numpy as np

from napari_flex3d.io.mrc import read_map, write_map

from .cryodrgn import prepare
from .running import Cost, Found, run
from .sets import ParticleSet, resampled

MEMORY_GB = "6"
"""What the program takes for the memory of a GPU, where it has none; it chooses its batches by it."""

START = """
from recovar import command_line, output
save = output.save_covar_output_volumes
save.__defaults__ = (30, *save.__defaults__[1:])
output.standard_pipeline_plots = lambda *given: None
command_line.main_commands()
"""
"""Starts the program, which else saves and plots 50 components where that option finds 30, and so ends."""


def found(
    particles: ParticleSet,
    out: Path,
    *,
    python: list[str | Path],
    cryodrgn: list[str | Path],
    box: int,
    zdims: list[int],
    turn: str,
) -> list[Found]:
    """Latents of the pipeline, and maps of the states, for each of some numbers of dimensions.

    Defaults but for the very-low-memory option (25 columns of the covariance, 30 components): on a CPU the others need
    over 100 GB, a matrix of components^4 numbers for each image of a batch. Images are those that cryoDRGN crops to
    ``box``. The cost has no maps: each is a regression of its own from the images, and what those of all states took
    is in OUT/states_*.cost.json. They are scored filtered by local resolution, as the program gives them, and not.
    """
    inputs = out.parent / f"cryodrgn_inputs_{box}"
    before = run(prepare(particles, inputs, cryodrgn, box), inputs, turn)
    mask = inputs / "mask.mrc"
    if not mask.exists():
        soft = resampled(read_map(particles.folder / "mask.mrc").data, box).clip(0, 1)
        write_map(mask, soft.numpy(), pixel_size=particles.field / box)
    result = out / "result"
    start: list[str | Path] = ["env", "JAX_PLATFORMS=cpu", "TF_CPP_MIN_LOG_LEVEL=3", *python, "-c", START]
    data = [inputs / "particles.mrcs", "--poses", inputs / "pose.pkl", "--ctf", inputs / "ctf.pkl"]
    pipeline = [*start, "pipeline", *data, "--mask", mask, "-o", result]
    pipeline += ["--accept-cpu", "--gpu-gb", MEMORY_GB, "--very-low-memory-option"]
    costs = before | run({"pipeline": pipeline}, out, turn)
    with (result / "model" / "embeddings.pkl").open("rb") as file:
        embeddings = pickle.load(file)["zs"]  # our own run wrote it
    results = []
    for zdim in zdims:
        latents, states = np.asarray(embeddings[zdim]), out / f"states_{zdim}"
        table = out / f"means_{zdim}.txt"
        np.savetxt(table, particles.means(latents, particles.mapped))
        maps = [*start, "compute_state", result, "-o", states, "--latent-points", table]
        run({states.name: maps + ["--zdim1"] * (zdim == 1)}, out, turn)
        for which, files in {"": "all_volumes/vol*.mrc", ", not filtered": "vol*/unfil.mrc"}.items():
            volumes = [read_map(path).data for path in sorted(states.glob(files))]
            name = f"RECOVAR, latent dimensions: {zdim}{which}"
            results.append(Found(name, sum(costs.values(), Cost()), latents, volumes))
    return results
