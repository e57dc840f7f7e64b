"""RELION's programs, and a made particle that it and we look at. Skipped where RELION is not installed."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import star_text, write_mrc

BOX, PIXEL = 64, 2.0
WIDTH = 3.0
"""Of the blobs, Å: at the Nyquist frequency their transform is 1e-5, so no way of interpolating matters."""


@pytest.fixture(scope="session")
def relion() -> Callable[..., None]:
    """Call one of RELION's programs; a failure shows what it printed."""
    if shutil.which("relion_project") is None:
        pytest.skip("RELION is not installed (make relion)")

    def call(program: str, folder: Path, *arguments: str) -> None:
        done = subprocess.run(
            [program, *arguments],
            cwd=folder,
            env=os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{program}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    return call


@pytest.fixture(scope="session")
def density() -> np.ndarray:
    """Forty blobs of different weight within 30 Å of the centre, without any symmetry, [z, y, x]."""
    random = np.random.default_rng(5)
    places = random.normal(0, 1, (40, 3))
    places *= 30 * random.uniform(0.1, 1, (40, 1)) / np.linalg.norm(places, axis=1, keepdims=True)
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    total = np.zeros((BOX,) * 3)
    for (x, y, z), weight in zip(places, random.uniform(0.5, 2, 40), strict=True):
        along = (np.exp(-((axis - c) ** 2) / (2 * WIDTH**2)) for c in (z, y, x))
        total += weight * np.einsum("i,j,k->ijk", *along)
    return total.astype(np.float32)


def tables(count: int, seed: int = 0) -> dict[str, dict[str, list]]:
    """Columns of a RELION 3.1 file: poses and shifts all over, astigmatic defocus, also with U smaller than V."""
    random = np.random.default_rng(seed)
    mean, apart = random.uniform(4000, 25000, count), random.uniform(-2500, 2500, count)
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["one"],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [BOX],
        "rlnImageDimensionality": [2],
    }
    particles = {
        "rlnImageName": [f"{i:06d}@stack.mrcs" for i in range(1, count + 1)],
        "rlnMicrographName": [f"mic{i % 20}.mrc" for i in range(count)],
        "rlnOpticsGroup": [1] * count,
        "rlnAngleRot": random.uniform(-180, 180, count).tolist(),
        "rlnAngleTilt": np.degrees(np.arccos(random.uniform(-1, 1, count))).tolist(),
        "rlnAnglePsi": random.uniform(-180, 180, count).tolist(),
        "rlnOriginXAngst": random.normal(0, 5, count).tolist(),
        "rlnOriginYAngst": random.normal(0, 5, count).tolist(),
        "rlnDefocusU": (mean + apart).tolist(),
        "rlnDefocusV": (mean - apart).tolist(),
        "rlnDefocusAngle": random.uniform(0, 180, count).tolist(),
        "rlnRandomSubset": [1 + i % 2 for i in range(count)],
    }
    return {"optics": optics, "particles": particles}


def write(folder: Path, density: np.ndarray, star: dict[str, dict[str, list]]) -> Path:
    write_mrc(folder / "map.mrc", density, PIXEL)
    (folder / "particles.star").write_text(star_text(star))
    return folder / "particles.star"
