"""Every question of prep names a flag of the command line, and with that flag prep goes through."""

import json
import shutil
import warnings
from collections import namedtuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_flex3d.cli import main
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import read_job
from napari_flex3d.particles import Particles


def command(out, particles, map_, *more):
    words = ["prep", particles, "--map", map_, "-o", out, "--quiet", "--train-box", 24, *more]
    return main([str(word) for word in words])


def asked(capsys, flag, *args):
    """Run, be asked, and give back what was said."""
    assert command(*args) == 1
    said = capsys.readouterr().err
    assert said.rstrip().endswith(f"Answer with {flag}.")
    return said


def without(label):
    def build(sample):
        del sample.optics[label]
        return sample.write(), sample.write_map()

    return build


def nanometres(sample):
    for axis in "UV":
        sample.particles[f"rlnDefocus{axis}"] = [v / 10 for v in sample.particles[f"rlnDefocus{axis}"]]
    return sample.write(), sample.write_map()


def dataset_without(*names):
    def build(sample):
        columns = {k: v for k, v in sample.cs_columns().items() if k not in names}
        return sample.write_cs(columns), sample.write_map()

    return build


def classes(sample):
    columns = sample.cs_columns()
    pose, shift = columns.pop("alignments3D/pose"), columns.pop("alignments3D/shift")
    for k in range(2):
        columns |= {f"alignments_class_{k}/pose": pose, f"alignments_class_{k}/shift": shift}
    return sample.write_cs(columns), sample.write_map()


def says_dark(sample):
    columns = sample.cs_columns()
    columns["blob/sign"][:] = -1
    return sample.write_cs(columns), sample.write_map()


def says_both_and_the_other_way_round(sample):
    sample.images[:20] *= -1
    columns = sample.cs_columns()
    columns["blob/sign"][20:] = -1
    return sample.write_cs(columns), sample.write_map()


def map_of_pixel(size):
    return lambda sample: (sample.write(), sample.write_map(pixel_size=size))


def map_without_pixel(sample):
    path = sample.write_map()
    raw = bytearray(path.read_bytes())
    raw[40:52] = bytes(12)
    path.write_bytes(raw)
    return sample.write(), path


def larger_map(sample):
    return sample.write(), sample.write_map(np.pad(sample.density, 4))


def flat_map(sample):
    return sample.write(), sample.write_map(sample.density[2:30])


def half_map(sample):
    path = sample.write_map()
    return sample.write(), path.rename(path.with_name("run_half1_class001_unfil.mrc"))


def noise(sample):
    sample.images = np.random.default_rng(5).normal(size=sample.images.shape)
    return sample.write(), sample.write_map()


@pytest.mark.parametrize(
    ("build", "flag", "value"),
    [
        (without("rlnImagePixelSize"), "--pixel-size", ["5"]),
        (without("rlnVoltage"), "--voltage", ["300"]),
        (without("rlnSphericalAberration"), "--spherical-aberration", ["2.7"]),
        (without("rlnAmplitudeContrast"), "--amplitude-contrast", ["0.1"]),
        (nanometres, "--defocus-unit", ["nanometre"]),
        (dataset_without("blob/psize_A", "alignments3D/psize_A"), "--pixel-size", ["5"]),
        (dataset_without("ctf/accel_kv"), "--voltage", ["300"]),
        (dataset_without("ctf/cs_mm"), "--spherical-aberration", ["2.7"]),
        (dataset_without("ctf/amp_contrast"), "--amplitude-contrast", ["0.1"]),
        (classes, "--use-class", ["1"]),
        (says_dark, "--sign", ["bright"]),
        (says_both_and_the_other_way_round, "--sign", ["dark"]),
        (map_of_pixel(1.0), "--map-pixel-size", ["5"]),
        (map_without_pixel, "--map-pixel-size", ["5"]),
        (larger_map, "--resample-map", []),
        (flat_map, "--accept-map", []),
        (half_map, "--accept-map", []),
        (noise, "--ignore-check", []),
    ],
)
@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
def test_a_question_and_its_answer(sample, tmp_path, capsys, build, flag, value):
    inputs = build(sample)
    asked(capsys, flag, tmp_path / "prep", *inputs)
    assert not (tmp_path / "prep" / "particles.mrcs").exists()
    assert command(tmp_path / "prep", *inputs, flag, *value) == 0
    assert len(Particles.open(tmp_path / "prep")) == 60


# The self-check: each fault is named, and its flag gives what the right files would have given.


def other_hand(sample):
    return sample.write("wrong.star"), sample.write_map(np.roll(sample.density[::-1], 1, axis=0))


def inverse_rotations(sample):
    angles = [sample.particles[f"rlnAngle{axis}"] for axis in ("Rot", "Tilt", "Psi")]
    for axis, values in zip(("Psi", "Tilt", "Rot"), angles, strict=True):
        sample.particles[f"rlnAngle{axis}"] = [-v for v in values]
    return sample.write("wrong.star"), sample.write_map()


def other_shifts(sample):
    for axis in "XY":
        sample.particles[f"rlnOrigin{axis}Angst"] = [-v for v in sample.particles[f"rlnOrigin{axis}Angst"]]
    return sample.write("wrong.star"), sample.write_map()


@pytest.mark.parametrize(
    ("spoil", "cause", "flag"),
    [
        (other_hand, "mirror image", "--flip-hand"),
        (inverse_rotations, "The poses are the inverse", "--invert-rotations"),
        (other_shifts, "The shifts have the other sign", "--negate-shifts"),
    ],
)
def test_a_fault_is_named_and_its_flag_mends_it(sample, tmp_path, capsys, spoil, cause, flag):
    assert command(tmp_path / "right", sample.write(), sample.write_map()) == 0
    inputs = spoil(sample)
    said = asked(capsys, flag, tmp_path / "mended", *inputs)
    assert cause in said
    assert "as read            " in said  # the table is part of the message
    assert "To use particles and map as read nevertheless: --ignore-check." in said
    assert (tmp_path / "mended" / "check.png").exists()
    assert command(tmp_path / "mended", *inputs, flag) == 0
    right, mended = (Particles.open(tmp_path / name, "full") for name in ("right", "mended"))
    assert (right.images == mended.images).all()
    assert_allclose(right.batch([0, 7]).transfer, mended.batch([0, 7]).transfer, atol=1e-5)
    assert_allclose(right.rotation, mended.rotation, atol=1e-5)
    for name in ("map.mrc", "mask_train.mrc"):
        one, other = (read_map(tmp_path / folder / name) for folder in ("right", "mended"))
        assert_allclose(one.data, other.data, atol=1e-5)
        assert one.origin == other.origin


def test_a_wrong_word_about_the_contrast_is_contradicted(sample, tmp_path, capsys):
    inputs = sample.write(), sample.write_map()
    said = asked(capsys, "--sign", tmp_path / "prep", *inputs, "--sign", "dark")
    assert "The images have the other contrast: give --sign bright." in said
    assert command(tmp_path / "prep", *inputs, "--sign", "bright") == 0


def test_what_was_ignored_is_on_record(sample, tmp_path):
    inputs = other_hand(sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert command(tmp_path / "prep", *inputs, "--ignore-check") == 0
    check = json.loads((tmp_path / "prep" / "check.json").read_text())
    assert check["ignored"]
    assert "mirror image" in check["verdict"]
    job = read_job(tmp_path / "prep")
    assert job.params["ignore_check"] is True
    assert job.warnings == [f"The self-check is ignored: {check['verdict']}"]


def test_images_of_both_contrasts_are_turned_by_their_own_sign(sample, tmp_path):
    assert command(tmp_path / "right", sample.write(), sample.write_map()) == 0
    columns = sample.cs_columns()
    columns["alignments3D/alpha"][:] = 1
    columns["blob/sign"][::3] = -1
    columns["blob/sign"][1] = 0  # unsaid: as it is
    (sample.folder / "stack.mrcs").unlink()
    sample.images[::3] *= -1
    assert command(tmp_path / "both", sample.write_cs(columns), sample.write_map()) == 0
    right, both = (Particles.open(tmp_path / name, "full") for name in ("right", "both"))
    assert_allclose(right.images, both.images, atol=2e-3)


def test_58_a_disk_without_room(sample, tmp_path, capsys, monkeypatch):
    inputs = sample.write(), sample.write_map()
    usage = namedtuple("usage", "total used free")
    need = 60 * 2 * 1.02 * (32**2 + 24**2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1e9, 0, need / 2))
    said = asked(capsys, "--max-particles", tmp_path / "prep", *inputs)
    free = f"{need / 2 / 1e9:.3g}"
    assert f"60 images need {need / 1e9:.3g} GB, {free} GB are free in {tmp_path / 'prep'}: use 30 of" in said
    assert not (tmp_path / "prep" / "particles.mrcs").exists()
    assert command(tmp_path / "prep", *inputs, "--max-particles", 30) == 0


@pytest.mark.parametrize("flag", ["--flip-hand", "--invert-rotations", "--negate-shifts"])
def test_a_flag_that_makes_it_worse_is_to_be_left_out(sample, tmp_path, capsys, flag):
    assert command(tmp_path / "prep", sample.write(), sample.write_map(), flag) == 1
    assert capsys.readouterr().err.rstrip().endswith(f"This comes of {flag}: leave it out.")
