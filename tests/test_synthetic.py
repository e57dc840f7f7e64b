"""Made particle sets: the images are what the conventions say, the truth is what the files hold."""

import gemmi
import mrcfile
import numpy as np
import pytest
import torch

from napari_flex3d import synthetic
from napari_flex3d.io.models import coordinates, read_model
from napari_flex3d.ops import fourier, rotations


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return synthetic.write_sample(
        tmp_path_factory.mktemp("sample"), particles=150, box=32, pixel_size=6.0, seed=3
    )


def test_an_atom_lands_where_relion_puts_it():
    # worked example of the conventions: n 256, 2 Å, angles (10, 20, 30), origin (3, -4), atom (10, 20, 30)
    a = rotations.from_euler(np.deg2rad([[10.0, 20.0, 30.0]]))
    wave = synthetic.project_atoms(np.array([[[10.0, 20.0, 30.0]]]), a, 256, 2.0)
    wave = wave * fourier.shift_phase(fourier.frequencies(256), torch.tensor([[1.5, -2.0]]))
    image = fourier.irfft2(wave)[0].double()
    grid = torch.arange(256.0, dtype=torch.float64)
    assert float((image.sum(0) * grid).sum() / image.sum()) == pytest.approx(131.967, abs=2e-3)
    assert float((image.sum(1) * grid).sum() / image.sum()) == pytest.approx(137.212, abs=2e-3)


def test_the_map_is_the_sum_of_its_atoms_and_projects_to_the_images():
    atoms = np.random.default_rng(0).uniform(-40, 40, (300, 3))
    volume = synthetic.atoms_to_map(atoms, 32, 6.0)
    assert float(volume.sum()) == pytest.approx(300, rel=1e-5)
    view = synthetic.project_atoms(atoms[None], np.eye(3)[None], 32, 6.0)[0]
    inside = fourier.radii(32) < 0.49
    assert torch.allclose(fourier.rfft3(volume)[0][inside], view[inside], atol=1e-3)


def test_the_star_file_holds_the_true_poses(sample):
    block = gemmi.cif.read(str(sample.particles)).find_block("particles")
    truth = np.load(sample.truth)
    table = block.find(
        ["_rlnAngleRot", "_rlnAngleTilt", "_rlnAnglePsi", "_rlnOriginXAngst", "_rlnOriginYAngst"]
    )
    values = np.array([[float(v) for v in row] for row in table])
    assert np.allclose(rotations.from_euler(np.deg2rad(values[:, :3])), truth["rotation"], atol=1e-6)
    assert np.allclose(values[:, 3:], truth["shift"], atol=1e-6)
    halves = [int(v) - 1 for v in block.find_values("_rlnRandomSubset")]
    assert halves == truth["half"].tolist()
    assert sum(halves) == 75
    assert len(set(block.find_values("_rlnMicrographName"))) == 2
    assert list(block.find_values("_rlnImageName"))[149] == "000150@particles.mrcs"


def test_noise_has_unit_variance_and_the_signal_the_stated_share(sample):
    images = mrcfile.read(sample.particles.with_name("particles.mrcs"))
    assert images.dtype == np.float16
    assert images.astype(np.float64).var(axis=(1, 2)).mean() == pytest.approx(1.1, abs=0.01)


def test_clean_images_agree_with_the_noisy_ones(sample):
    images = mrcfile.read(sample.particles.with_name("particles.mrcs")).astype(np.float64)
    truth = np.load(sample.truth)
    seen = {k: truth[k] for k in ("rotation", "shift", "contrast", "defocus_u", "defocus_v", "defocus_angle")}
    clean = synthetic.form_images(truth["ca_coords_A"][truth["state"]], seen, 32, 6.0).double().numpy()
    factor = (clean * images).sum() / (clean**2).sum()
    assert factor == pytest.approx(float(truth["map_scale"]), rel=0.03)
    assert (images - factor * clean).var() == pytest.approx(1, abs=0.01)


def test_model_and_mask_overlay_the_map(sample):
    volume, mask = mrcfile.read(sample.map), mrcfile.read(sample.mask)
    model = coordinates(read_model(sample.model))
    assert np.allclose(model - 16 * 6.0, sample.coordinates[sample.reference], atol=1e-3)
    x, y, z = np.rint(model / 6.0).astype(int).T
    assert volume[z, y, x].mean() > 5 * volume.mean()
    x, y, z = np.rint(sample.coordinates.reshape(-1, 3) / 6.0).astype(int).T + 16
    assert mask[z, y, x].min() == 1
    assert 0.02 < mask.mean() < 0.3


def test_the_moving_domain_turns_rigidly_and_the_other_stays(sample):
    c, moving = sample.coordinates, sample.moving
    assert np.array_equal(c[0, ~moving], c[-1, ~moving])
    inner = np.linalg.norm(c[:, moving][:, :50, None] - c[:, moving][:, None, :50], axis=-1)
    assert np.allclose(inner, inner[0], atol=1e-9)
    _, motion = synthetic.displacement_error(0 * c, c, moving)
    assert 2.5 < motion < 4.5


def _small(folder, kind, **given):
    return synthetic.write_sample(folder, particles=200, box=32, pixel_size=6.0, kind=kind, **given)


def test_rigid_control_is_the_protein_of_the_hinge_without_motion(tmp_path, sample):
    control = _small(tmp_path, "rigid")
    assert np.ptp(control.coordinates, axis=0).max() == 0
    assert np.allclose(control.coordinates[0], sample.coordinates[sample.reference])


def test_two_motions_are_independent_and_each_moves_an_arm_of_its_own(tmp_path):
    made = _small(tmp_path, "two motions")
    truth = np.load(made.truth)
    params, atoms, domain = truth["state_params"], truth["ca_coords_A"], truth["ca_domain"]
    assert truth["param"].shape == (200, 2)
    assert np.array_equal(truth["param"], params[truth["state"]])
    assert abs(np.corrcoef(truth["param"].T)[0, 1]) < 0.2
    for arm in (1, 2):
        rest = params[:, arm - 1] == 0.5
        assert rest.sum() == 5
        assert np.ptp(atoms[rest][:, domain == arm], axis=0).max() < 1e-9  # where only the other arm turns
        assert np.ptp(atoms[:, domain == arm], axis=0).max() > 5
    assert np.ptp(atoms[:, domain == 0], axis=0).max() == 0
    _, motion = synthetic.displacement_error(0 * atoms, atoms, made.moving)
    assert 3.5 < motion < 4.5


def test_a_small_domain_turns_rigidly_on_the_protein_of_the_hinge(tmp_path, sample):
    made = _small(tmp_path, "small domain")
    c, moving = made.coordinates, made.moving
    assert 0.05 < moving.mean() < 0.12
    assert np.allclose(c[:, ~moving], sample.coordinates[sample.reference], atol=1e-9)
    inner = np.linalg.norm(c[:, moving][:, :50, None] - c[:, moving][:, None, :50], axis=-1)
    assert np.allclose(inner, inner[0], atol=1e-9)
    _, motion = synthetic.displacement_error(0 * c, c, moving)
    assert 2.5 < motion < 4.5


def test_wrong_poses_are_off_by_the_stated_angle_and_the_truth_keeps_the_right_ones(tmp_path):
    wrong, right = (
        _small(tmp_path / kind.replace(" ", "_"), kind, seed=5) for kind in ("wrong poses", "hinge")
    )
    assert wrong.particles.with_name("particles.mrcs").read_bytes() == (
        right.particles.with_name("particles.mrcs").read_bytes()
    )
    truth = np.load(wrong.truth)
    assert np.array_equal(truth["rotation"], np.load(right.truth)["rotation"])
    block = gemmi.cif.read(str(wrong.particles)).find_block("particles")
    columns = ["AngleRot", "AngleTilt", "AnglePsi", "OriginXAngst", "OriginYAngst"]
    given = np.array([[float(v) for v in row] for row in block.find([f"_rln{name}" for name in columns])])
    turn = rotations.from_euler(np.deg2rad(given[:, :3])) @ truth["rotation"].transpose(0, 2, 1)
    angle = np.rad2deg(np.arccos((np.trace(turn, axis1=1, axis2=2) - 1) / 2))
    assert np.sqrt((angle**2).mean()) == pytest.approx(3, rel=0.15)
    assert (given[:, 3:] - truth["shift"]).std() == pytest.approx(1.5, rel=0.15)


def test_same_seed_same_files_other_seed_other_files(tmp_path):
    kinds = [
        synthetic.write_sample(tmp_path / str(i), particles=6, box=32, pixel_size=6.0, seed=s)
        for i, s in enumerate((1, 1, 2))
    ]
    stacks = [(s.particles.with_name("particles.mrcs").read_bytes(), s.particles.read_bytes()) for s in kinds]
    assert stacks[0] == stacks[1]
    assert stacks[0][0] != stacks[2][0]


def test_displacement_error_ignores_what_all_states_share():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(5, 40, 3))
    moving = np.arange(40) < 20
    error, motion = synthetic.displacement_error(true + rng.normal(size=(40, 3)), true, moving)
    assert error == pytest.approx(0, abs=1e-12)
    assert synthetic.displacement_error(np.zeros_like(true), true, moving) == pytest.approx((motion, motion))
    half, _ = synthetic.displacement_error(0.5 * true, true, moving)
    assert half == pytest.approx(motion / 2)


def test_true_coordinates_are_explained_by_any_quadratic_map_of_the_latents():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(500, 2))
    turned = latents @ np.array([[0.6, 0.8], [-0.8, 0.6]]) * 7 + 3
    true = np.stack(
        [latents[:, 0] + 0.3 * latents[:, 0] ** 2, latents[:, 1] - 0.2 * latents.prod(1)], axis=-1
    )
    assert synthetic.r_squared(turned, true) == pytest.approx([1, 1])
    noisy = true + true.std(0) * rng.normal(size=true.shape)
    assert synthetic.r_squared(turned, noisy) == pytest.approx([0.5, 0.5], abs=0.06)
    assert np.all(synthetic.r_squared(rng.normal(size=(500, 2)), true) < 0.05)


def test_share_within_two_deviations_is_95_percent_for_a_calibrated_posterior():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(200, 2))
    state = rng.integers(200, size=40000)
    noise = np.array([0.3, 0.8])
    measured = states[state] + noise * rng.normal(size=(40000, 2))
    sd = np.broadcast_to(np.sqrt(noise**2 / (1 + noise**2)), measured.shape)  # prior of variance 1
    mean = measured / (1 + noise**2)
    assert synthetic.share_within(mean, sd, state) == pytest.approx([0.954, 0.954], abs=0.01)
    assert synthetic.share_within(5 * mean - 2, 5 * sd, state) == pytest.approx([0.954, 0.954], abs=0.01)
    assert np.all(synthetic.share_within(mean, sd / 2, state) < 0.82)


def test_share_within_asks_for_no_scale_of_the_latents():
    """A coordinate that is bent in any way, with deviations that follow its slope."""
    rng = np.random.default_rng(2)
    state = rng.integers(50, size=20000)
    true = state / 25 - 1
    slope = 1.2 + np.cos(6 * true)
    latents = 1.2 * true + np.sin(6 * true) / 6 + 0.05 * slope * rng.normal(size=20000)
    share = synthetic.share_within(latents[:, None], 0.05 * slope[:, None], state)
    assert share == pytest.approx([0.954], abs=0.01)
