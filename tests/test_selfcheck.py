"""The check at import: right input passes, every wrong convention is named."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from napari_flex3d.io.errors import Question
from napari_flex3d.io.relion import read_particles
from napari_flex3d.selfcheck import Views, self_check

ALTERNATIVES = ["sign flipped", "hand flipped", "pose transposed", "shift negated", "random poses"]


def views_of(sample, *, density=None, images=None):
    table = read_particles(sample.write())
    images = sample.images if images is None else images
    density = sample.density if density is None else density
    kept = np.where(density > 0.1, density, 0).astype(np.float32)
    noise = torch.full((17,), float(32**2))
    return Views(torch.from_numpy(images.astype(np.float32)), table, sample.pixel_size, kept, noise)


def outcomes(check):
    return {trial.name: trial.outcome for trial in check.trials}


def mirrored(density):
    """The map of the other hand, about the centre voxel."""
    return np.roll(density[::-1], 1, axis=0)


def test_images_made_by_the_fields_formulas_fit_as_read(sample):
    check = self_check(views_of(sample))
    assert outcomes(check) == {"as read": "wins"} | dict.fromkeys(ALTERNATIVES, "loses")
    assert check.sign == 1
    assert check.verdict == "As read fits best; particles are bright in the file."


def test_dark_particles_are_recognised(sample):
    check = self_check(views_of(sample, images=-sample.images))
    assert check.sign == -1
    assert outcomes(check)["as read"] == "wins"
    assert check.scale > 0
    assert "dark in the file" in check.verdict


def test_a_wrong_word_about_the_contrast_is_contradicted(sample):
    with pytest.raises(Question, match="other contrast: give --sign bright"):
        self_check(views_of(sample), "dark").demand("particles.star")


def test_a_map_of_the_other_hand_is_named(sample):
    with pytest.raises(Question, match="mirror image") as caught:
        self_check(views_of(sample, density=mirrored(sample.density))).demand("particles.star")
    assert "hand flipped" in str(caught.value)  # the table is part of the message
    assert "wins" in str(caught.value)


def test_inverse_poses_are_named(sample):
    angles = np.radians([sample.particles[f"rlnAngle{a}"] for a in ("Rot", "Tilt", "Psi")])
    rot, tilt, psi = np.degrees([-angles[2], -angles[1], -angles[0]])
    sample.particles |= {
        "rlnAngleRot": rot.tolist(),
        "rlnAngleTilt": tilt.tolist(),
        "rlnAnglePsi": psi.tolist(),
    }
    with pytest.raises(Question, match="inverse of RELION's"):
        self_check(views_of(sample)).demand("particles.star")


def test_shifts_of_the_other_sign_are_named(sample):
    for axis in "XY":
        sample.particles[f"rlnOrigin{axis}Angst"] = [-v for v in sample.particles[f"rlnOrigin{axis}Angst"]]
    with pytest.raises(Question, match="shifts have the other sign"):
        self_check(views_of(sample)).demand("particles.star")


def test_particles_of_another_protein_are_refused(sample):
    noise = np.random.default_rng(0).normal(size=sample.images.shape)
    with pytest.raises(Question, match="map and particles do not belong together"):
        self_check(views_of(sample, images=noise)).demand("particles.star")


def test_shifts_of_zero_leave_their_sign_open_and_do_not_stop_the_run(sample):
    shift = np.array([sample.particles[f"rlnOrigin{axis}Angst"] for axis in "XY"]).T
    ky, kx = np.meshgrid(np.fft.fftfreq(32, 5.0), np.fft.fftfreq(32, 5.0), indexing="ij")
    phase = np.exp(-2j * np.pi * (kx * shift[:, :1, None] + ky * shift[:, 1:, None]))
    centred = np.fft.ifft2(np.fft.fft2(sample.images) * phase).real
    for axis in "XY":
        sample.particles[f"rlnOrigin{axis}Angst"] = [0.0] * 60
    check = self_check(views_of(sample, images=centred))
    assert outcomes(check)["shift negated"] == "cannot tell"
    assert outcomes(check)["as read"] == "wins"
    assert "Cannot tell from these particles: shift negated." in check.verdict


def test_a_map_that_is_its_own_mirror_image_leaves_the_hand_open(sample):
    both = sample.density + mirrored(sample.density)
    check = self_check(views_of(sample, density=both))
    assert outcomes(check)["hand flipped"] == "cannot tell"


def test_the_scale_is_the_least_squares_one(sample):
    single = self_check(views_of(sample)).scale
    assert_allclose(self_check(views_of(sample, images=3 * sample.images)).scale, 3 * single, rtol=1e-4)
    assert_allclose(self_check(views_of(sample, density=2 * sample.density)).scale, single / 2, rtol=0.1)


# Real images: tilt images of ribosomes, and a map of them (see conftest).


def test_real_images_that_are_not_in_the_map_fit_it_as_read(ribosomes):
    table, images, density = ribosomes.table, ribosomes.images, ribosomes.inside
    others = np.arange(len(table)) % 2 == 1
    noise = torch.full((33,), 4096.0)
    views = Views(torch.from_numpy(images[others].astype("f4")), table.take(others), 14.56, density, noise)
    found = outcomes(self_check(views))
    assert found["as read"] == "wins"
    assert {found[name] for name in ("sign flipped", "pose transposed", "random poses")} == {"loses"}
    assert found["shift negated"] == "cannot tell"  # Warp centred them


def test_real_images_contradict_inverse_poses(ribosomes):
    table, images, density = ribosomes.table, ribosomes.images, ribosomes.inside
    inverse = Rotation.from_matrix(table.rotation).inv().as_matrix()
    views = Views(
        torch.from_numpy(images.astype("f4")),
        replace(table, rotation=inverse),
        14.56,
        density,
        torch.full((33,), 4096.0),
    )
    with pytest.raises(Question, match="inverse of RELION's"):
        self_check(views).demand("particles.star")
