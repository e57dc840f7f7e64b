"""Time and memory that a very large star file takes.

The file is made in a temporary folder (RELION 3.1 style, 26 columns, about 250 bytes a row). Every task runs in a
process of its own, which tells its peak.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

RELION_LABELS = """
ImageName MicrographName OpticsGroup CoordinateX CoordinateY AngleRot AngleTilt AnglePsi OriginXAngst OriginYAngst
DefocusU DefocusV DefocusAngle CtfBfactor CtfScalefactor PhaseShift CtfMaxResolution CtfFigureOfMerit ClassNumber
RandomSubset NormCorrection LogLikeliContribution MaxValueProbDistribution NrOfSignificantSamples GroupNumber
AutopickFigureOfMerit
"""
LABELS = RELION_LABELS.split()
WHOLE = {"OpticsGroup", "ClassNumber", "RandomSubset", "NrOfSignificantSamples", "GroupNumber"}
A_STACK = 150
"""Particles of a micrograph."""

OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
_rlnImageDimensionality #8
1 opticsGroup1 300.000000 2.700000 0.100000 1.060000 256 2


# version 30001

data_particles

loop_
"""


def make(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(OPTICS + "".join(f"_rln{label} #{n}\n" for n, label in enumerate(LABELS, 1)))
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            columns = [_texts(label, start, count, random) for label in LABELS]
            file.writelines(" ".join(row) + " \n" for row in zip(*columns, strict=True))


def _texts(label: str, start: int, count: int, random: np.random.Generator) -> list[str]:
    rows = range(start, start + count)
    if label == "ImageName":
        return [f"{r % A_STACK + 1:06d}@Extract/job012/mic{r // A_STACK:05d}.mrcs" for r in rows]
    if label == "MicrographName":
        return [f"MotionCorr/job003/mic{r // A_STACK:05d}.mrc" for r in rows]
    if label in WHOLE:
        return [str(1 + (label == "RandomSubset") * (r % 2)) for r in rows]
    low, high = (8000, 25000) if label in ("DefocusU", "DefocusV") else (0, 10)
    return [f"{value:.6f}" for value in random.uniform(low, high, count).tolist()]


def table(path: Path) -> None:
    from napari_flex3d.io.relion import read_particles

    read_particles(path, check=False)


def halved(path: Path) -> None:
    from napari_flex3d.io.halves import split_halves
    from napari_flex3d.io.relion import read_particles

    particles = read_particles(path, check=False)
    some = particles.take(np.random.default_rng(0).permutation(len(particles))[: len(particles) // 2])
    split_halves(replace(some, half=np.full(len(some), -1, np.int8)), 0)


def written(path: Path) -> None:
    from napari_flex3d.io.columns import Texts
    from napari_flex3d.io.relion import particle_columns, read_particles
    from napari_flex3d.io.star import write_star

    particles = read_particles(path, check=False)
    names = Texts(lambda rows: [f"{row + 1:06d}@particles.mrcs" for row in rows], np.arange(len(particles)))
    write_star(path.with_name("particles.star"), particle_columns(particles, names))


def chosen(path: Path) -> None:
    from napari_flex3d.io.columns import formatted
    from napari_flex3d.io.star_copy import copy_rows

    count = sum(1 for line in path.open("rb") if b"@" in line)
    some = np.arange(0, count, 2)
    added = {"flex3dLatent1": formatted(np.linspace(-1, 1, len(some)), ".5f")}
    copy_rows(path, path.with_name("latents.star"), some, added)


def gemmi_whole(path: Path) -> None:
    import gemmi

    loop = gemmi.cif.read(str(path)).find_block("particles")[0].loop
    values = list(loop.values)
    columns = {tag: values[n :: len(loop.tags)] for n, tag in enumerate(loop.tags)}
    for tag, column in columns.items():
        if not tag.endswith("Name"):
            columns[tag] = np.array([float(value) for value in column])


TASKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "gemmi": ("plain gemmi, the whole file, numbers as floats", gemmi_whole),
    "table": ("particle table", table),
    "halved": ("particle table, half of it taken, new half sets", halved),
    "written": ("particle table, and particles.star written", written),
    "chosen": ("every second row copied, a latent added", chosen),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            TASKS[arguments.task][1](arguments.file)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.star"
        make(path, arguments.rows)
        size = path.stat().st_size
        print(
            f"{arguments.rows} rows, {len(LABELS)} columns, {size / arguments.rows:.0f} bytes a row",
            flush=True,
        )
        print(f"{'':50} {'time (s)':>9} {'processor (s)':>14} {'peak (GB)':>10}")
        for task, (title, _) in TASKS.items():
            command = [sys.executable, __file__, "--task", task, "--file", str(path)]
            seconds, processor, peak = map(float, subprocess.check_output(command, text=True).split())
            print(f"{title:50} {seconds:9.1f} {processor:14.1f} {peak:10.2f}", flush=True)


if __name__ == "__main__":
    main()
