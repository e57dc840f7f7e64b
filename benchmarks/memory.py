"""Memory of prep against the number of particles.

Run: python benchmarks/memory.py [--counts 1000 10000 ...] [--box 64]

Makes sets of particles with known poses, one stack each, runs ``flex3d prep`` on each in a process of its own, and
prints the largest sizes of that process, sampled a hundred times a second: anonymous memory (what it allocated), and
pages of mapped files, which the kernel takes back when others need them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from napari_flex3d.io.mrc import write_map
from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.star import write_star
from napari_flex3d.ops.fourier import irfft2
from napari_flex3d.ops.projection import place, project, rigid_body
from napari_flex3d.particles import Optics

PIXEL = 4.0
DISTINCT = 250
NOISE = 3.0


def blobs(box: int) -> np.ndarray:
    """Forty blobs within a third of the box."""
    random = np.random.default_rng(1)
    axis = (np.arange(box) - box // 2) / box
    total = np.zeros((box,) * 3, np.float32)
    for centre in random.uniform(-0.17, 0.17, (40, 3)):
        along = (np.exp(-((axis - c) ** 2) / (2 * 0.025**2)) for c in centre)
        total += np.einsum("i,j,k->ijk", *along).astype(np.float32)
    return total


def columns(count: int) -> dict[str, list[object]]:
    """Poses and defocus of particles; every `DISTINCT`-th is the same again."""
    random = np.random.default_rng(2)
    angles = random.uniform(0, 180, (DISTINCT, 3)).tolist()
    defocus = random.uniform(10_000, 25_000, DISTINCT).tolist()
    of = [i % DISTINCT for i in range(count)]
    return {
        "rlnImageName": [f"{i:07d}@stack.mrcs" for i in range(1, count + 1)],
        "rlnMicrographName": [f"mic{i // 100}.mrc" for i in range(count)],
        "rlnOpticsGroup": [1] * count,
        **{f"rlnAngle{a}": [angles[i][k] for i in of] for k, a in enumerate(("Rot", "Tilt", "Psi"))},
        **{f"rlnOrigin{a}Angst": [0.0] * count for a in "XY"},
        **{f"rlnDefocus{a}": [defocus[i] for i in of] for a in "UV"},
        "rlnDefocusAngle": [0.0] * count,
    }


def write_set(folder: Path, count: int, box: int) -> None:
    """Write particles.star, stack.mrcs (float32) and map.mrc."""
    optics = {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "a", "rlnImagePixelSize": PIXEL, "rlnImageSize": box}
    optics |= {"rlnVoltage": 300, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1}
    tables = {"optics": {label: [value] for label, value in optics.items()}, "particles": columns(count)}
    write_star(folder / "particles.star", tables)
    density = blobs(box)
    write_map(folder / "map.mrc", density, pixel_size=PIXEL)
    write_map(folder / "stack.mrcs", np.zeros((1, box, box), np.float32), pixel_size=PIXEL)
    header = np.fromfile(folder / "stack.mrcs", "<i4", 256)
    header[2] = count
    images = distinct_images(folder, density, box)
    with (folder / "stack.mrcs").open("wb") as file:
        file.write(header.tobytes())
        for start in range(0, count, DISTINCT):
            file.write(images[: count - start].tobytes())


def distinct_images(folder: Path, density: np.ndarray, box: int) -> np.ndarray:
    """CTF times projection, plus noise, of the first particles (DISTINCT, box, box)."""
    table = read_particles(folder / "particles.star", check=False).take(np.arange(DISTINCT))
    optics, rows = Optics(table, box, PIXEL), np.arange(DISTINCT)
    z, y, x = np.nonzero(density > 1e-3 * density.max())
    body = rigid_body(torch.from_numpy((np.stack([x, y, z], axis=-1) - box // 2) * PIXEL).float())
    values = torch.from_numpy(density[z, y, x])[body.order]
    seen = project(values, place(optics.rotation(rows), body.vertices[None], PIXEL), body, box)
    clean = irfft2(optics.transfer(rows) * seen).numpy()
    noise = np.random.default_rng(3).normal(0, NOISE * clean.std(), clean.shape)
    return (clean + noise).astype("<f4")


def sizes(process: subprocess.Popen[str]) -> Iterator[dict[str, int]]:
    """RssAnon and RssFile, bytes, until the process ends."""
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            return
        yield {k: int(v.split()[0]) * 1024 for k, v in (line.split(":") for line in lines) if k in KINDS}
        time.sleep(0.01)


KINDS = ("RssAnon", "RssFile")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--box", type=int, default=64)
    arguments = parser.parse_args()
    print(f"{'particles':>10s} {'stack':>9s} {'allocated':>10s} {'mapped':>9s} {'time':>7s}")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_set(folder, count, arguments.box)
            command = [sys.executable, "-m", "napari_flex3d", "prep", "--quiet", folder / "particles.star"]
            start = time.monotonic()
            process = subprocess.Popen(
                [*command, "--map", folder / "map.mrc", "-o", folder / "job"],
                stderr=subprocess.PIPE,
                text=True,
            )
            peak = dict.fromkeys(KINDS, 0)
            for now in sizes(process):
                peak = {kind: max(peak[kind], now.get(kind, 0)) for kind in KINDS}
            took = time.monotonic() - start
            if process.wait():
                raise SystemExit(process.stderr.read() if process.stderr else "prep failed")
            stack = (folder / "stack.mrcs").stat().st_size
        allocated, mapped = (peak[kind] / 2**20 for kind in KINDS)
        print(
            f"{count:10d} {stack / 2**20:6.0f} MB {allocated:7.0f} MB {mapped:6.0f} MB {took:5.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
