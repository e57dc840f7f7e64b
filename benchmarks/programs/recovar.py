"""RECOVAR 0.4.5 (Gilles & Singer 2025), in an environment of its own: covariance of the density, kernel regression."""

import pickle
from pathlib import Path

import numpy as np

from napari_flex3d.io.mrc import read_map, write_map

from .cryodrgn import prepare
from .running import Cost, Found, run
from .sets import ParticleSet, resampled

IMAGES_AT_ONCE_GB = "6"
"""What the program takes for the memory of a GPU; it chooses its batches by it."""


def found(
    particles: ParticleSet,
    out: Path,
    *,
    program: list[str | Path],
    cryodrgn: list[str | Path],
    box: int,
    zdim: int,
    turn: str,
) -> list[Found]:
    """Latents and maps of the states by the pipeline with its defaults, on images cropped to ``box``."""
    inputs = out.parent / f"cryodrgn_inputs_{box}"
    before = run(prepare(particles, inputs, cryodrgn, box), inputs, turn)
    mask = inputs / "mask.mrc"
    if not mask.exists():
        soft = resampled(read_map(particles.folder / "mask.mrc").data, box).clip(0, 1)
        write_map(mask, soft.numpy(), pixel_size=particles.field / box)
    result = out / "result"
    start: list[str | Path] = ["env", "JAX_PLATFORMS=cpu", "TF_CPP_MIN_LOG_LEVEL=3", *program]
    data = [inputs / "particles.mrcs", "--poses", inputs / "pose.pkl", "--ctf", inputs / "ctf.pkl"]
    pipeline = [*start, "pipeline", *data, "--mask", mask, "--zdim", str(zdim), "-o", result]
    pipeline += ["--accept-cpu", "--gpu-gb", IMAGES_AT_ONCE_GB, "--uninvert-data", "true"]
    costs = run({"pipeline": pipeline}, out, turn)
    latents = _latents(result / "model" / "embeddings.pkl", zdim)
    table = out / "means.txt"
    np.savetxt(table, particles.means(latents))
    states = [*start, "compute_state", result, "-o", out / "states", "--latent-points", table]
    costs |= run({"states": states}, out, turn)
    maps = [read_map(path).data for path in sorted((out / "states").glob("**/*state*.mrc"))]
    cost = sum((before | costs).values(), Cost())
    return [Found(f"RECOVAR, {zdim} dimensions", cost, latents, maps)]


def _latents(path: Path, zdim: int) -> np.ndarray:
    with path.open("rb") as file:
        kept = pickle.load(file)  # our own run wrote it
    values = kept["zs"][zdim] if zdim in kept["zs"] else kept["zs"][str(zdim)]
    return np.asarray(values)
