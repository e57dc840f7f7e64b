"""Particles recorded with several pixel sizes and boxes: after prep they are as if recorded with one."""

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_flex3d.io.errors import InputWarning
from napari_flex3d.io.mrc import read_map
from napari_flex3d.ops.fourier import irfft2
from napari_flex3d.ops.images import regrid
from napari_flex3d.ops.projection import place, project, rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams, prep

GRIDS = {1: (32, 5.0), 2: (44, 4.0), 3: (32, 5.04), 4: (26, 6.4)}
"""Most images are of group 1; the others are finer, nearly the same, and coarser with a smaller field."""
NOISE = 0.01


@pytest.fixture
def recorded(sample, form_image):
    """The sample's particles, recorded on four grids with little noise; each group has a stack of its own."""
    p, random = sample.particles, np.random.default_rng(0)
    group = np.array([1, 1, 2, 1, 3, 4] * 10)
    rows = [
        (
            [p[f"rlnAngle{a}"][i] for a in ("Rot", "Tilt", "Psi")],
            np.array([p["rlnOriginXAngst"][i], p["rlnOriginYAngst"][i]]),
            p["rlnDefocusU"][i] - 200,
        )
        for i in range(60)
    ]
    names, number = [""] * 60, np.zeros(60, dtype=int)
    from mrcfile import new

    for g, (box, pixel_size) in GRIDS.items():
        mine = np.flatnonzero(group == g)
        images = np.stack([form_image(*rows[i], box, pixel_size) for i in mine])
        spread = NOISE * form_image(*rows[0]).std() * pixel_size / 5.0  # the same dose on every area
        images += random.normal(0, spread, images.shape)
        with new(sample.folder / f"group{g}.mrcs") as file:
            file.set_data(images.astype(np.float32))
        for place_, i in enumerate(mine):
            names[i], number[i] = f"group{g}.mrcs", place_
    p["rlnImageName"] = [f"{n + 1}@{name}" for n, name in zip(number, names, strict=True)]
    p["rlnOpticsGroup"] = group.tolist()
    sample.optics = {label: values * 4 for label, values in sample.optics.items()}
    sample.optics["rlnOpticsGroup"] = list(GRIDS)
    sample.optics["rlnImageSize"] = [box for box, _ in GRIDS.values()]
    sample.optics["rlnImagePixelSize"] = [size for _, size in GRIDS.values()]
    return sample, group, names, number


def run(out, **params):
    out.mkdir()
    with pytest.warns(InputWarning, match="Optics groups differ: group 1: 5 Å, 32 px; group 2: 4 Å, 44 px; "):
        for _ in prep(PrepParams(**params), out):
            pass


def correlations(one, other):
    one, other = (np.asarray(v, dtype=float).reshape(len(v), -1) for v in (one, other))
    return (one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1))


def predicted(particles, density):
    """Images of the model: its projection of the map, its transfer function."""
    n = particles.box_size
    z, y, x = np.indices(density.shape).reshape(3, -1) - n // 2
    points = torch.from_numpy((np.stack([x, y, z], axis=-1) * particles.pixel_size).astype("f4"))
    body = rigid_body(points)
    batch = particles.batch(np.arange(len(particles)))
    vertices = place(batch.rotation, body.vertices[None], particles.pixel_size)
    values = torch.from_numpy(density.ravel())[body.order]
    return (
        irfft2(batch.transfer * project(values, vertices, body, n, oversampling=3.0)).numpy()
        * particles.map_scale
    )


@pytest.mark.parametrize("stack", ["full", "train"])
def test_images_of_every_group_are_what_the_model_predicts(recorded, tmp_path, stack):
    sample, group, *_ = recorded
    run(tmp_path / "prep", particles=sample.write(), map=sample.write_map(), train_box=28)
    particles = Particles.open(tmp_path / "prep", stack)
    model = predicted(
        particles, read_map(tmp_path / "prep" / f"map{'' if stack == 'full' else '_train'}.mrc").data
    )
    agreement = correlations(particles.images, model)
    amplitude = (np.asarray(particles.images, float) * model).sum((1, 2)) / (model**2).sum((1, 2))
    first = np.median(amplitude[group == 1])
    for g in GRIDS:
        assert agreement[group == g].min() > 0.999
        assert_allclose(
            np.median(amplitude[group == g]) / first, 1, atol=0.05
        )  # one scale of the map fits all


def test_a_dataset_of_cryosparc_gives_the_same(recorded, tmp_path):
    sample, group, names, number = recorded
    columns = sample.cs_columns()
    size = np.array([GRIDS[g][1] for g in group])
    columns["alignments3D/shift"] *= (sample.pixel_size / size)[:, None].astype("f4")
    columns |= {
        "blob/path": np.array([name.encode() for name in names]),
        "blob/idx": number.astype("u4"),
        "blob/shape": np.repeat([[GRIDS[g][0]] for g in group], 2, axis=1).astype("u4"),
        "blob/psize_A": size.astype("f4"),
        "alignments3D/psize_A": size.astype("f4"),
        "ctf/exp_group_id": (group - 1).astype("u4"),
        "alignments3D/alpha": np.ones(60, "f4"),
    }
    run(tmp_path / "star", particles=sample.write(), map=sample.write_map())
    run(tmp_path / "cs", particles=sample.write_cs(columns), map=sample.write_map())
    one, other = (Particles.open(tmp_path / name, "full") for name in ("star", "cs"))
    assert_allclose(one.images, other.images, atol=2e-2, rtol=2e-3)
    assert_allclose(one.batch([0, 2, 4, 5]).transfer, other.batch([0, 2, 4, 5]).transfer, atol=1e-3)


def test_groups_that_are_chosen_are_as_they_were_recorded(recorded, tmp_path):
    sample, group, *_ = recorded
    (tmp_path / "prep").mkdir()
    inputs = {"particles": sample.write(), "map": sample.write_map(), "max_particles": 100}
    for _ in prep(PrepParams(**inputs, optics_groups="1"), tmp_path / "prep"):
        pass
    summary = json.loads((tmp_path / "prep" / "check.json").read_text())["summary"]
    assert (summary["particles"], summary["box"], summary["pixel_size_A"]) == (30, 32, 5.0)
    assert Particles.open(tmp_path / "prep").source_row.tolist() == np.flatnonzero(group == 1).tolist()


def test_the_noise_of_a_finer_or_coarser_grid_is_that_of_the_one_grid():
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 48, 48)).astype("f4"))
    finer, coarser = regrid(noise, 4.0, 32, 6.0), regrid(noise, 4.0, 64, 3.0)
    low = (slice(None), slice(1, 6), slice(1, 6))  # both fields are 192 Å
    for other, box in ((finer, 32), (coarser, 64)):
        power = torch.fft.rfft2(other).abs().square()[low].mean()
        assert_allclose(power / box**2, 1, atol=0.06)
    assert torch.fft.rfft2(coarser).abs()[:, 30, 5].max() < 1e-3  # what was not recorded is not invented


@pytest.mark.parametrize(
    ("n", "box", "ratio"), [(32, 40, 0.8), (32, 24, 1.25), (48, 32, 1.013), (30, 64, 1.0)]
)
def test_a_band_limited_image_on_another_grid_is_exact(n, box, ratio):
    """Gaussian, off centre: its values on the other grid are known."""

    def blob(size, pixel):
        axis = (np.arange(size) - size // 2) * pixel
        y, x = np.meshgrid(axis, axis, indexing="ij")
        return np.exp(-((x - 3.3) ** 2 + (y + 1.7) ** 2) / (2 * 2.0**2))

    other = regrid(torch.from_numpy(blob(n, 1.0))[None], 1.0, box, ratio)[0]
    assert_allclose(other, ratio * blob(box, ratio), atol=2e-6)
