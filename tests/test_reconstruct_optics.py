"""The half-map's problem against images formed by direct sums: aberrations, magnification, scale, premultiplied CTF.

The formulas are written out here from RELION's source as `docs/conventions.md` tells them, in double precision, and
share no code with the program.
"""

import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_flex3d.io.errors import InputWarning
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.ops.projection import rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.solvers import method_named, solve
from tests.conftest import star_text, write_mrc

BOX, PIXEL, COUNT = 24, 1.5, 80
VOLTAGE, CS, Q = 300.0, 2.7, 0.1
GROUP = {
    "magnification": {"rlnMagMat00": 1.03, "rlnMagMat01": 0.02, "rlnMagMat10": -0.01, "rlnMagMat11": 0.97},
    "beam tilt": {"rlnBeamTiltX": 2.0, "rlnBeamTiltY": -1.5},
    "odd aberrations": {"rlnOddZernike": "[0.9,-0.6,20,-15,25,8]"},
    "even aberrations": {"rlnEvenZernike": "[0.3,6,-5,7,20,30,-40,35,15]"},
    "premultiplied": {"rlnCtfDataAreCtfPremultiplied": 1},
}
GROUP["all"] = {label: value for values in GROUP.values() for label, value in values.items()}
DEFOCUS = (3000.0, 9000.0)


def made(name):
    """Columns of a star file: views and shifts all over, phase plate, envelope and scale of each particle."""
    random = np.random.default_rng(4)
    mean, apart = random.uniform(*DEFOCUS, COUNT), random.uniform(-800, 800, COUNT)
    optics = {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "one", "rlnVoltage": VOLTAGE}
    optics |= {"rlnSphericalAberration": CS, "rlnAmplitudeContrast": Q, "rlnImagePixelSize": PIXEL}
    optics |= {"rlnImageSize": BOX, "rlnImageDimensionality": 2} | GROUP.get(name, {})
    particles = {
        "rlnImageName": [f"{i:06d}@particles.mrcs" for i in range(1, COUNT + 1)],
        "rlnMicrographName": ["mic.mrc"] * COUNT,
        "rlnOpticsGroup": [1] * COUNT,
        "rlnAngleRot": random.uniform(-180, 180, COUNT),
        "rlnAngleTilt": np.degrees(np.arccos(random.uniform(-1, 1, COUNT))),
        "rlnAnglePsi": random.uniform(-180, 180, COUNT),
        "rlnOriginXAngst": random.normal(0, 2, COUNT),
        "rlnOriginYAngst": random.normal(0, 2, COUNT),
        "rlnDefocusU": mean + apart,
        "rlnDefocusV": mean - apart,
        "rlnDefocusAngle": random.uniform(0, 180, COUNT),
        "rlnPhaseShift": random.uniform(0, 60, COUNT),
        "rlnCtfBfactor": random.uniform(0, 20, COUNT),
        "rlnCtfScalefactor": random.uniform(0.8, 1.2, COUNT),
        "rlnRandomSubset": [1 + i % 2 for i in range(COUNT)],
        "flexScale": random.uniform(0.7, 1.3, COUNT),
    }
    return {
        "optics": {k: [v] for k, v in optics.items()},
        "particles": {k: list(v) for k, v in particles.items()},
    }


def zernike(order, upper, k):
    """Z of RELION: radial polynomial times cosine, or sine for a negative order."""
    radius, angle, m = np.hypot(*k), np.arctan2(k[1], k[0]), abs(order)
    radial = {
        (0, 0): 1.0, (1, 1): radius, (2, 2): radius**2, (3, 3): radius**3, (4, 4): radius**4,
        (0, 2): 2 * radius**2 - 1, (1, 3): 3 * radius**3 - 2 * radius, (2, 4): 4 * radius**4 - 3 * radius**2,
        (0, 4): 6 * radius**4 - 6 * radius**2 + 1,
    }[m, upper]  # fmt: skip
    return radial * (np.cos(m * angle) if order >= 0 else np.sin(m * angle))


def transfer(o, p, i, k):
    """Transfer function at the true frequencies ``k`` (2, ...), without the shift."""
    volts = VOLTAGE * 1e3
    wave = 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))
    s2, cs = (k**2).sum(0), CS * 1e7
    u, v, at = p["rlnDefocusU"][i], p["rlnDefocusV"][i], np.radians(p["rlnDefocusAngle"][i])
    defocus = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (np.arctan2(k[1], k[0]) - at))
    gamma = -np.pi * wave * defocus * s2 + np.pi / 2 * cs * wave**3 * s2**2
    gamma -= np.radians(p["rlnPhaseShift"][i]) + np.arcsin(Q)
    even = [(0, 0), (-2, 2), (0, 2), (2, 2), (-4, 4), (-2, 4), (0, 4), (2, 4), (4, 4)]
    odd = [(-1, 1), (1, 1), (-3, 3), (-1, 3), (1, 3), (3, 3)]
    for c, nm in zip(terms(o, "rlnEvenZernike"), even, strict=False):
        gamma = gamma + c * zernike(*nm, k)
    phase = sum(c * zernike(*nm, k) for c, nm in zip(terms(o, "rlnOddZernike"), odd, strict=False))
    tilt = [o.get(f"rlnBeamTilt{axis}", [0.0])[0] * 1e-3 for axis in "XY"]
    phase = phase - 2 * np.pi * cs * wave**2 * s2 * (tilt[0] * k[0] + tilt[1] * k[1])
    value = -np.sin(gamma) * np.exp(-p["rlnCtfBfactor"][i] * s2 / 4) * p["rlnCtfScalefactor"][i]
    if "rlnCtfDataAreCtfPremultiplied" in o:
        value = value**2
    return p["flexScale"][i] * value * np.exp(1j * phase)


def terms(optics, label):
    return [float(c) for c in optics[label][0].strip("[]").split(",")] if label in optics else []


def image(star, i, places, values):
    """Image of points (N, 3), Å, by a sum over them at every frequency."""
    o, p = star["optics"], star["particles"]
    axis = np.fft.fftfreq(BOX, PIXEL)
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    k = np.stack([kx, ky])
    corners = [[o.get(f"rlnMagMat{r}{c}", [float(r == c)])[0] for c in (0, 1)] for r in (0, 1)]
    true = np.einsum("ij,jyx->iyx", np.array(corners), k)
    angles = [p[f"rlnAngle{a}"][i] for a in ("Rot", "Tilt", "Psi")]
    seen = places @ Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()[:2].T
    wave = np.exp(-2j * np.pi * np.einsum("iyx,ni->nyx", true, seen))
    shift = np.exp(2j * np.pi * (kx * p["rlnOriginXAngst"][i] + ky * p["rlnOriginYAngst"][i]))
    transform = np.einsum("n,nyx->yx", values, wave) * transfer(o, p, i, true) * shift
    transform[BOX // 2] = transform[:, BOX // 2] = 0  # the Nyquist frequency has no sign
    pixels = np.fft.ifft2(transform)
    assert abs(pixels.imag).max() < 1e-9 * abs(pixels).max()  # every formula is that of a real image
    return np.fft.fftshift(pixels.real)


@pytest.fixture(params=["plain", *GROUP])
def job(request, tmp_path):
    """A prep job as it would be on the disk, the points' places and values."""
    random = np.random.default_rng(1)
    index = np.argwhere(np.square(np.indices((BOX,) * 3) - BOX // 2).sum(0) < 4.2**2)
    values = random.uniform(0, 1, len(index))
    places = (index[:, ::-1] - BOX // 2) * PIXEL
    star = made(request.param)
    images = np.stack([image(star, i, places, values) for i in range(COUNT)]).astype(np.float32)
    write_mrc(tmp_path / "particles.mrcs", images / images.std(), PIXEL, stack=True)
    (tmp_path / "particles.star").write_text(star_text(star))
    rows = "".join(f"full,{shell},0,{float(BOX**2)}\n" for shell in range(BOX // 2 + 1))
    (tmp_path / "noise.csv").write_text("stack,shell,frequency,power\n" + rows)
    (tmp_path / "check.json").write_text('{"map_scale": {"full": 1.0}}')
    return tmp_path, places, values / images.std()


def problem_of(folder, places):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it says that images are premultiplied
        particles = Particles.open(folder, "full")
    body = rigid_body(torch.from_numpy(places).float())
    return Problem(particles, np.arange(COUNT), body, None, noise_weight(particles))


def ended(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def test_the_true_map_explains_the_images(job):
    """What is left of the images at the true map is the projection's own error, a thousandth of their power."""
    folder, places, values = job
    problem = problem_of(folder, places)
    at = torch.from_numpy(values).float()[problem.body.order]
    _, left = ended(problem.gradient(at, against_images=True))
    _, all_ = ended(problem.gradient(None, against_images=True))
    assert left < 1e-3 * all_


@pytest.mark.parametrize("job", ["all"], indirect=True)
def test_the_solver_finds_the_true_map(job):
    """FSC with the truth, up to where the images' weights fall off."""
    folder, places, values = job
    problem = problem_of(folder, places)
    found = torch.zeros(len(places))
    found[problem.body.order] = ended(solve(problem, method_named("cg", problem, 0.5), 10, enough=0))
    x, y, z = torch.from_numpy(places / PIXEL + BOX // 2).round().long().T
    maps = torch.zeros(2, BOX, BOX, BOX)
    maps[0, z, y, x], maps[1, z, y, x] = found, torch.from_numpy(values).float()
    assert float(fsc(maps[0], maps[1])[1 : BOX // 2 - 2].min()) > 0.99


@pytest.mark.parametrize("job", GROUP, indirect=True)
def test_each_case_changes_the_images(job):
    """Read as if it were plain, no case is explained as well; so the agreement above is about it."""
    folder, places, values = job
    star = made("plain")
    (folder / "particles.star").write_text(star_text(star))
    problem = problem_of(folder, places)
    at = torch.from_numpy(values).float()[problem.body.order]
    _, left = ended(problem.gradient(at, against_images=True))
    _, all_ = ended(problem.gradient(None, against_images=True))
    assert left > 5e-3 * all_
