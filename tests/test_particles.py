"""Batches of particles: images and transfer functions that make up RELION's image model."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map, write_stack
from napari_flex3d.io.relion import particle_columns, read_particles
from napari_flex3d.io.star import write_star
from napari_flex3d.ops.fourier import cropped, irfft2, multiplicity, rfft2
from napari_flex3d.ops.projection import place, project, rigid_body
from napari_flex3d.ops.rotations import from_euler
from napari_flex3d.particles import Optics, Particles
from napari_flex3d.prep import PrepParams, prep


def run(params, out):
    generator = prep(params, out)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@pytest.fixture
def job(sample, tmp_path):
    out = tmp_path / "prep"
    out.mkdir()
    run(PrepParams(particles=sample.write(), map=sample.write_map(), train_box=24), out)
    return out


def one_particle(sample, **columns):
    """Table of one particle whose columns are changed."""
    for label, value in columns.items():
        where = (
            sample.optics
            if label in sample.optics or label.startswith(("rlnMag", "rlnCtfData", "rlnEven"))
            else sample.particles
        )
        where[label] = [value] * (1 if where is sample.optics else 60)
    table = read_particles(sample.write())
    return table.take(np.array([0]))


def test_an_atom_lands_where_relion_puts_it(sample):
    """formats.md 1.3: n = 256, 2 Å, angles (10, 20, 30), origin (3, -4) Å, atom at (10, 20, 30) Å."""
    columns = {"rlnOriginXAngst": 3.0, "rlnOriginYAngst": -4.0, "rlnCtfDataAreCtfCorrected": 1}
    with pytest.warns(UserWarning, match="CTF-corrected"):
        table = one_particle(sample, **columns)
    optics = Optics(table, 256, 2.0)
    rotation = torch.from_numpy(from_euler(np.radians([[10.0, 20.0, 30.0]])).astype("f4"))
    body = rigid_body(torch.tensor([[10.0, 20.0, 30.0]]))
    blob = project(torch.ones(1), place(rotation, body.vertices[None], 2.0), body, 256)
    image = irfft2(blob * optics.transfer(np.array([0])))[0].double()
    y, x = np.unravel_index(int(image.argmax()), image.shape)
    assert (x, y) == (132, 137)  # 131.967, 137.212
    assert image[137, 132] > image[138, 132] > image[136, 132]
    assert image[137, 131] > image[137, 133]


def test_model_images_of_a_job_explain_its_images(job):
    """Independent numpy images, read, normalised, cropped: what the model cannot explain is the noise."""
    for stack in ("train", "full"):
        particles = Particles.open(job, stack)
        suffix = "_train" if stack == "train" else ""
        density, mask = (read_map(job / f"{name}{suffix}.mrc").data for name in ("map", "mask"))
        n = particles.box_size
        z, y, x = np.nonzero(mask > 0.01)
        points = (np.stack([x, y, z], axis=-1) - n // 2) * particles.pixel_size
        body = rigid_body(torch.from_numpy(points.astype("f4")))
        values = torch.from_numpy((density * mask)[z, y, x])[body.order] * particles.map_scale
        batch = particles.batch(np.arange(60))
        model = batch.transfer * project(
            values, place(batch.rotation, body.vertices[None], particles.pixel_size), body, n
        )
        counted = multiplicity(n)
        left = ((batch.transform - model).abs().square() * counted).sum() / (60 * n**4)
        before = (batch.transform.abs().square() * counted).sum() / (60 * n**4)
        assert before > 1.3
        assert_allclose(left, 1, atol=0.12)


def test_a_batch_holds_the_transform_of_the_stored_images(job):
    particles = Particles.open(job, "train")
    batch = particles.batch([4, 2])
    assert batch.transform.dtype == torch.complex64
    assert batch.transform.shape == batch.transfer.shape == (2, 24, 13)
    exact = rfft2(torch.from_numpy(particles.images[[4, 2]].astype("f8")))
    assert_allclose(batch.transform, exact, rtol=0, atol=2e-7 * float(exact.abs().max()))
    inner = particles.batch([4, 2], box=16).transform
    assert_allclose(inner, cropped(exact, 16), rtol=0, atol=2e-7 * float(exact.abs().max()))


def test_images_stay_on_disk(job):
    particles = Particles.open(job, "full")
    assert isinstance(particles.images, np.memmap)
    assert particles.images.dtype == np.float16
    assert len(particles) == len(particles.source_row) == 60


def test_the_smaller_box_sees_the_same_field(job):
    full, train = Particles.open(job, "full"), Particles.open(job, "train")
    assert (full.box_size, train.box_size) == (32, 24)
    assert_allclose(train.pixel_size * 24, full.pixel_size * 32)
    both = (slice(None), slice(0, 8), slice(0, 8))  # low frequencies, the same in both
    rows = np.arange(10)
    assert_allclose(train.batch(rows).transfer[both], full.batch(rows).transfer[both], atol=1e-4)
    assert_allclose(train.noise[2:9] / 24**2, full.noise[2:9] / 32**2, rtol=1e-4)


def test_scale_multiplies_the_model(sample, tmp_path):
    table = read_particles(sample.write())
    columns = particle_columns(table, [f"{i}@particles.mrcs" for i in range(1, 61)])
    columns["particles"]["flexScale"] = ["0.5"] + ["1.0"] * 59
    write_star(tmp_path / "particles.star", columns)
    with write_stack(tmp_path / "particles.mrcs", 32, 5.0) as writer:
        writer.append(sample.images)
    (tmp_path / "noise.csv").write_text("stack,shell,frequency,power\n" + "full,0,0,1024\n" * 17)
    (tmp_path / "check.json").write_text('{"map_scale": {"full": 1.0}}')
    particles = Particles.open(tmp_path, "full")
    expected = 0.5 * Optics(table, 32, 5.0).transfer(np.array([0]))
    assert_allclose(particles.batch([0]).transfer, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("label", "change"),
    [
        ("rlnCtfDataAreCtfPremultiplied", torch.square),
        ("rlnCtfDataArePhaseFlipped", torch.abs),
        ("rlnCtfDataAreCtfCorrected", torch.ones_like),
    ],
)
def test_the_model_follows_what_was_done_to_the_images(sample, label, change):
    still = {"rlnOriginXAngst": 0.0, "rlnOriginYAngst": 0.0}
    plain = Optics(one_particle(sample, **still), 32, 5.0).transfer(np.array([0]))
    with pytest.warns(UserWarning, match="Images are"):
        table = one_particle(sample, **still, **{label: 1})
    assert_allclose(Optics(table, 32, 5.0).transfer(np.array([0])).real, change(plain.real), atol=1e-6)


def test_a_phase_plate_and_a_constant_even_term_are_the_same(sample):
    still = {"rlnOriginXAngst": 0.0, "rlnOriginYAngst": 0.0}
    plate = one_particle(sample, **still, rlnPhaseShift=40.0)
    sample.particles["rlnPhaseShift"] = [0.0] * 60
    even = one_particle(sample, **still, rlnEvenZernike=f"[{-np.radians(40.0)}]")
    rows = np.array([0])
    assert_allclose(Optics(even, 32, 2.0).transfer(rows), Optics(plate, 32, 2.0).transfer(rows), atol=2e-5)


def test_magnification_moves_atoms_as_the_frequency_matrix_says(sample):
    """FT(k) = V(A^T M k): an image whose true pixel is 1 % larger has M = 0.99, and shows its atoms 1 % closer."""
    table = one_particle(sample, rlnMagMat00=0.99, rlnMagMat01=0.0, rlnMagMat10=0.0, rlnMagMat11=0.99)
    seen = Optics(table, 32, 5.0).rotation(np.array([0]))[0, :2]
    assert_allclose(seen, 0.99 * table.rotation[0, :2], atol=1e-6)


@pytest.mark.parametrize("name", ["particles.star", "particles_train.mrcs", "noise.csv", "check.json"])
def test_an_unfinished_job_is_refused(job, name):
    (job / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}: it is no finished prep job"):
        Particles.open(job)
