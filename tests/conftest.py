"""Real files of other programs, and a small made particle set that owes nothing to the code under test."""

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.table import Answers, ParticleTable

_REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def fixtures() -> Path:
    folder = Path(os.environ.get("FLEX3D_FIXTURES", _REPOSITORY / ".." / "shared" / "fixtures")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real files of other programs at {folder} (FLEX3D_FIXTURES)")
    return folder


@pytest.fixture(scope="session")
def particle_sets(fixtures: Path) -> Path:
    folder = fixtures.parent / "data"
    if not folder.is_dir():
        pytest.skip(f"no particle sets with known truth at {folder}")
    return folder


@dataclass
class Sample:
    """Blobs seen from many sides, images formed by the formulas of the field in numpy.

    ``optics`` and ``particles`` are the columns of a RELION 5 star file; a test changes them and writes.
    """

    folder: Path
    images: np.ndarray
    density: np.ndarray
    pixel_size: float
    optics: dict[str, list] = field(default_factory=dict)
    particles: dict[str, list] = field(default_factory=dict)

    def write(self, name: str = "particles.star", images: np.ndarray | None = None) -> Path:
        images = self.images if images is None else images
        if not (self.folder / "stack.mrcs").exists():
            stack = images.astype(np.float32)
            write_mrc(self.folder / "stack.mrcs", stack, self.pixel_size, stack=True)
        tables = {"optics": self.optics, "particles": self.particles}
        (self.folder / name).write_text(star_text({k: v for k, v in tables.items() if v}))
        return self.folder / name

    def write_map(self, density: np.ndarray | None = None, pixel_size: float | None = None) -> Path:
        path = self.folder / "map.mrc"
        density = self.density if density is None else density
        write_mrc(path, density.astype(np.float32), pixel_size or self.pixel_size)
        return path

    def cs_columns(self) -> dict[str, np.ndarray]:
        """The same particles as CryoSPARC tells them; uids are 1000 times the row, from 1."""
        p, n = self.particles, len(self.images)
        angles = np.stack([p[f"rlnAngle{a}"] for a in ("Rot", "Tilt", "Psi")], axis=-1)
        shift = np.stack([p["rlnOriginXAngst"], p["rlnOriginYAngst"]], axis=-1) / self.pixel_size
        return {
            "uid": 1000 * np.arange(1, n + 1).astype("u8"),
            "blob/path": np.array([b"stack.mrcs"] * n),
            "blob/idx": np.arange(n, dtype="u4"),
            "blob/shape": np.full((n, 2), self.images.shape[-1], "u4"),
            "blob/psize_A": np.full(n, self.pixel_size, "f4"),
            "blob/sign": np.ones(n, "f4"),
            "ctf/exp_group_id": np.full(n, 4, "u4"),
            "ctf/accel_kv": np.full(n, KV, "f4"),
            "ctf/cs_mm": np.full(n, CS, "f4"),
            "ctf/amp_contrast": np.full(n, Q, "f4"),
            "ctf/df1_A": np.array(p["rlnDefocusU"], "f4"),
            "ctf/df2_A": np.array(p["rlnDefocusV"], "f4"),
            "ctf/df_angle_rad": np.radians(p["rlnDefocusAngle"]).astype("f4"),
            "alignments3D/split": np.array(p["rlnRandomSubset"], "u4") - 1,
            "alignments3D/shift": shift.astype("f4"),
            "alignments3D/pose": Rotation.from_euler("ZYZ", angles, degrees=True).as_rotvec().astype("f4"),
            "alignments3D/psize_A": np.full(n, self.pixel_size, "f4"),
            "alignments3D/alpha": np.linspace(0.8, 1.2, n).astype("f4"),
        }

    def write_cs(self, columns: dict[str, np.ndarray], name: str = "J3_particles.cs") -> Path:
        self.write()
        rows = np.zeros(
            len(next(iter(columns.values()))), [(k, v.dtype, v.shape[1:]) for k, v in columns.items()]
        )
        for label, values in columns.items():
            rows[label] = values
        with warnings.catch_warnings(), (self.folder / name).open("wb") as file:
            warnings.simplefilter("ignore")  # long headers need a newer version of the format
            np.save(file, rows)
        return self.folder / name


def star_text(tables: dict[str, dict[str, list]]) -> str:
    parts = []
    for name, columns in tables.items():
        labels = "".join(f"_{label} #{i}\n" for i, label in enumerate(columns, 1))
        rows = "".join("  ".join(map(str, row)) + "\n" for row in zip(*columns.values(), strict=True))
        parts.append(f"\n# version 50001\n\ndata_{name}\n\nloop_\n{labels}{rows}\n")
    return "".join(parts)


def write_mrc(path: Path, data: np.ndarray, pixel_size: float, *, stack: bool = False) -> None:
    with warnings.catch_warnings(), mrcfile.new(path, overwrite=True) as file:
        warnings.simplefilter("ignore")  # some tests write values that are not finite
        file.set_data(data)
        file.voxel_size = pixel_size
        if stack:
            file.set_image_stack()


BOX, PIXEL, COUNT = 32, 5.0, 60
KV, CS, Q = 300.0, 2.7, 0.1
BLOBS = np.array(  # x, y, z in Å: a hand
    [
        [0, 0, 0],
        [25, 0, 0],
        [40, 5, 5],
        [0, 30, 0],
        [0, 25, 20],
        [-10, -5, 35],
        [-30, -10, -10],
        [-20, 10, -25.0],
    ]
)
WIDTH = 7.0


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    random = np.random.default_rng(3)
    angles = np.stack(
        [
            random.uniform(-180, 180, COUNT),
            np.degrees(np.arccos(random.uniform(-1, 1, COUNT))),
            random.uniform(-180, 180, COUNT),
        ],
        axis=-1,
    )
    shift = random.normal(0, 8, (COUNT, 2))
    defocus = random.uniform(8000, 20000, COUNT)
    images = np.stack([_image(*row) for row in zip(angles, shift, defocus, strict=True)])
    images /= images.std()
    images += random.normal(0, 1.0, images.shape)
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    density = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * WIDTH**2)) for a, b, c in BLOBS)
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["one"],
        "rlnVoltage": [KV],
        "rlnSphericalAberration": [CS],
        "rlnAmplitudeContrast": [Q],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [BOX],
        "rlnImageDimensionality": [2],
    }
    particles = {
        "rlnImageName": [f"{i:06d}@stack.mrcs" for i in range(1, COUNT + 1)],
        "rlnMicrographName": [f"mic{i % 12}.mrc" for i in range(COUNT)],
        "rlnOpticsGroup": [1] * COUNT,
        "rlnAngleRot": angles[:, 0].tolist(),
        "rlnAngleTilt": angles[:, 1].tolist(),
        "rlnAnglePsi": angles[:, 2].tolist(),
        "rlnOriginXAngst": shift[:, 0].tolist(),
        "rlnOriginYAngst": shift[:, 1].tolist(),
        "rlnDefocusU": (defocus + 200).tolist(),
        "rlnDefocusV": (defocus - 200).tolist(),
        "rlnDefocusAngle": [20.0] * COUNT,
        "rlnRandomSubset": [1 + i % 2 for i in range(COUNT)],
    }
    return Sample(tmp_path, images, density, PIXEL, optics, particles)


@pytest.fixture
def form_image():
    """Image of the sample's blobs on any grid, by formulas."""
    return _image


def _image(
    angles: np.ndarray,
    shift: np.ndarray,
    defocus: float,
    box: int = BOX,
    pixel_size: float = PIXEL,
    blobs: np.ndarray = BLOBS,
) -> np.ndarray:
    """RELION's image model, written out from its formulas: matrix, Gaussian blobs, CTF."""
    a, b, c = np.radians(angles)
    (sa, ca), (sb, cb), (sg, cg) = ((np.sin(v), np.cos(v)) for v in (a, b, c))
    matrix = np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )
    frequency = np.fft.fftfreq(box, pixel_size)
    ky, kx = np.meshgrid(frequency, frequency, indexing="ij")
    s2 = kx**2 + ky**2
    transform = np.zeros((box, box), dtype=complex)
    for blob in blobs:
        x, y = (matrix @ blob)[:2] - shift
        transform += np.exp(-2j * np.pi * (kx * x + ky * y)) * np.exp(-2 * np.pi**2 * WIDTH**2 * s2)
    lam = 12.2643247 / np.sqrt(KV * 1e3 * (1 + 0.978466e-6 * KV * 1e3))
    df = defocus + 200 * np.cos(2 * (np.arctan2(ky, kx) - np.radians(20)))
    gamma = -np.pi * lam * df * s2 + np.pi / 2 * CS * 1e7 * lam**3 * s2**2 - np.arcsin(Q)
    return np.fft.fftshift(np.fft.ifft2(-np.sin(gamma) * transform).real)


def _inserted(images, rotations, transfers):
    """Map by back-projection: coefficients put at ``A^T k`` with trilinear weights, divided by the CTF² weight."""
    n = images.shape[-1]
    centre = n // 2
    total, weight = np.zeros(n**3, complex), np.zeros(n**3)
    index = np.arange(n) - centre
    ky, kx = np.meshgrid(index, index, indexing="ij")
    inside = np.hypot(kx, ky) < centre - 1
    plane = np.stack([kx[inside], ky[inside], np.zeros(inside.sum())], axis=-1)
    for image, rotation, transfer in zip(images, rotations, transfers, strict=True):
        coefficients = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))[inside]
        ctf = np.fft.fftshift(transfer)[inside]
        place = plane @ rotation + centre  # row vectors: A^T k
        low = np.floor(place).astype(int)
        part = place - low
        for corner in np.ndindex(2, 2, 2):
            share = np.prod(np.where(corner, part, 1 - part), axis=1)
            x, y, z = (low + corner).T
            voxel = (z * n + y) * n + x
            total += np.bincount(voxel, share * ctf * coefficients.real, n**3)
            total += 1j * np.bincount(voxel, share * ctf * coefficients.imag, n**3)
            weight += np.bincount(voxel, share * ctf**2, n**3)
    volume = (total / (weight + 0.1 * weight[weight > 0].mean())).reshape(n, n, n)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(volume)).real)


def _relion_ctf(table, n, pixel_size):
    """CTF images (N, n, n) from the formula, in numpy."""
    ky, kx = np.meshgrid(np.fft.fftfreq(n, pixel_size), np.fft.fftfreq(n, pixel_size), indexing="ij")
    s2 = kx**2 + ky**2
    volts = table.voltage[0] * 1e3
    lam = 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))
    u, v, angle, b, factor = (
        getattr(table, name)[:, None, None]
        for name in ("defocus_u", "defocus_v", "defocus_angle", "bfactor", "ctf_scale")
    )
    df = (u + v + (u - v) * np.cos(2 * (np.arctan2(ky, kx) - angle))) / 2
    gamma = (
        -np.pi * lam * df * s2 + np.pi / 2 * 2.7e7 * lam**3 * s2**2 - np.arcsin(table.amplitude_contrast[0])
    )
    return -np.sin(gamma) * np.exp(-b * s2 / 4) * factor


@dataclass
class Ribosomes:
    """Real tilt images: table, normalised images, the map of every second image, and that map's middle."""

    table: ParticleTable
    images: np.ndarray
    density: np.ndarray
    inside: np.ndarray


@pytest.fixture(scope="session")
def ribosomes(fixtures: Path) -> Ribosomes:
    """219 tilt images of six ribosomes; the map is made by Fourier insertion here, without our projector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = Answers(project_dir=fixtures / "stack", pixel_size=14.56)
        table = read_particles(fixtures / "star" / "sta_testing_bin8.star", answers)
    raw = np.fromfile(table.stacks[0], "<f4", offset=1024).reshape(-1, 64, 64)
    images = raw[table.image].astype(np.float64)
    y, x = np.indices((64, 64)) - 32
    around = np.hypot(x, y) > 24
    images = (images - images[:, around].mean(1)[:, None, None]) / images[:, around].std(1)[:, None, None]
    used = np.arange(len(table)) % 2 == 0
    density = _inserted(images[used], table.rotation[used], _relion_ctf(table, 64, 14.56)[used])
    z, y, x = np.indices((64,) * 3) - 32
    ball = np.sqrt(x**2 + y**2 + z**2) < 16
    return Ribosomes(table, images, density, np.where(ball, density, 0).astype(np.float32))
