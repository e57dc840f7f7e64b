"""Series of latents: along one coordinate or from a table; and how many particles stand behind each frame."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.errors import InputError
from napari_flex3d.ops.planes import count_near

Floats = NDArray[np.float32]

ENDS = (1.0, 99.0)
"""Percentiles of the fitted latents between which a series goes."""

NEAR = 0.35
"""A particle is near a frame when its latent differs by less than this many standard deviations, rms."""

FEW = 0.002
"""A frame is supported when at least this share of the particles is near it, and no fewer than `FEWEST`."""

FEWEST = 5


@dataclass(frozen=True)
class Series:
    """Frames to write.

    Parameters
    ----------
    name
        Folder of the series, such as ``axis_1``.
    latents
        One latent (F, K) per frame, displayed scale.
    particles
        How many particles are near each frame (F).
    supported
        Whether these are enough to take the frame for data and not for interpolation (F).
    """

    name: str
    latents: Floats
    particles: NDArray[np.int64]
    supported: NDArray[np.bool_]


def make_series(name: str, latents: Floats, fitted: Floats) -> Series:
    """Series through given latents (F, K), with its support by the fitted ones (N, K)."""
    count = particles_near(latents, fitted)
    return Series(name, latents, count, count >= max(FEWEST, FEW * len(fitted)))


def along_axis(fitted: Floats, axis: int, frames: int) -> Floats:
    """Latents (F, K) along one coordinate, first to 99th percentile; the others stay at their median.

    Parameters
    ----------
    fitted
        Latents of the particles (N, K).
    axis
        0-based coordinate.
    frames
        Number of frames.
    """
    path = np.tile(np.median(fitted, axis=0), (frames, 1))
    first, last = np.percentile(fitted[:, axis], ENDS)
    path[:, axis] = np.linspace(float(first), float(last), frames)
    return path.astype(np.float32)


def particles_near(latents: Floats, fitted: Floats) -> NDArray[np.int64]:
    """Count the particles (N, K) near each latent (F, K): rms difference below `NEAR` standard deviations."""
    spread = np.maximum(fitted.std(axis=0), np.finfo(np.float32).tiny)
    return np.array([count_near(fitted, latent, spread, NEAR) for latent in latents], np.int64)


def read_latents(path: Path, dims: int) -> Floats:
    """Latents (F, K) of a table with columns z1 .. zK; other columns are left alone.

    Raises
    ------
    InputError
        If the file, a column or a number is missing; the message names file and row.
    """
    names = [f"z{k + 1}" for k in range(dims)]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            found = [name.strip() for name in reader.fieldnames or []]
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file. Give a table (.csv) with the columns {', '.join(names)}."
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from None
    if twice := [name for name in names if found.count(name) > 1]:
        raise InputError(f"{path} has the column {twice[0]} twice. Keep one.")
    if missing := [name for name in names if name not in found]:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(found)[:200] or 'none'}. "
            f"This model has {dims} latent coordinates."
        )
    if not rows:
        raise InputError(f"{path} has no rows; give at least one latent.")
    return np.array(
        [[_number(path, n, row, name) for name in names] for n, row in enumerate(rows)], np.float32
    )


_LARGEST = 1e6
"""No latent is anywhere near it."""


def _number(path: Path, number: int, row: dict[str, str], name: str) -> float:
    text = next((value for key, value in row.items() if key and key.strip() == name), None)
    try:
        value = float(text or "")
    except ValueError:
        value = np.nan
    if not abs(value) < _LARGEST:
        shown = (text or "")[:40]
        raise InputError(f'{path} row {number + 1}: {name} = "{shown}" is no number below {_LARGEST:g}.')
    return value


def series_table(series: Series) -> str:
    """Write the series as a CSV table: frame, latents, particles near it, supported (1 or 0)."""
    names = [f"z{k + 1}" for k in range(series.latents.shape[1])]
    lines = [",".join(["frame", *names, "particles", "supported"])]
    for frame, latent in enumerate(series.latents):
        numbers = [f"{value:.6g}" for value in latent]
        lines.append(
            ",".join([str(frame), *numbers, str(series.particles[frame]), str(int(series.supported[frame]))])
        )
    return "\n".join(lines) + "\n"


def chimerax_script(level: float, oscillate: bool) -> str:
    """ChimeraX commands that open the frames beside the script as one series and play it."""
    direction = "oscillate" if oscillate else "forward"
    return (
        "# ChimeraX: open this file. The level is a first guess; move it in the Volume Viewer.\n"
        "open frame_*.mrc vseries true\n"
        f"volume #1 level {level:.5g} step 1 color #6f9fd8\n"
        "lighting soft\n"
        "view\n"
        f"vseries play #1 direction {direction} loop true maxFrameRate 15\n"
    )
