"""Series and moved models: what a known flow must give, in the frame of the user's map."""

import csv
import json

import gemmi
import mrcfile
import numpy as np
import pytest
import torch

from napari_flex3d.generate import GenerateParams, generate, morph
from napari_flex3d.generate.picture import PANEL, draw_frame
from napari_flex3d.generate.series import along_axis, make_series, particles_near, read_latents
from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.models import coordinates, read_model, write_calpha
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.mesh import regular_mesh
from napari_flex3d.model import FlexModel, FlowGenerator, save_model

BOX, PIXEL, ORIGIN = 24, 4.0, (-30.0, 12.0, 5.0)
PUSH = 8.0  # Å of shift along x per unit of displayed z1: two voxels


def blob():
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.exp(-((x + 1) ** 2 + y**2 + (z - 2) ** 2) / (2 * 2.0**2)).astype(np.float32)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """A training whose z1 shifts everything along x, and whose z2 does nothing."""
    root = tmp_path_factory.mktemp("jobs")
    density = blob()
    mask = density > 0.01
    mesh, _ = regular_mesh(mask, PIXEL, 8)
    shift = np.tile([1.0, 0.0, 0.0], (len(mesh.vertices), 1)).ravel()
    generator = FlowGenerator(2, torch.tensor(shift[None]), torch.ones(len(mesh.vertices)), 1, 2)
    scale = np.array([0.5, 0.4], dtype=np.float32)
    with torch.no_grad():
        generator.weight.zero_()
        generator.weight[0, 0] = PUSH * float(scale[0])
    rng = np.random.default_rng(0)
    standard = rng.standard_normal((400, 2)).astype(np.float32)
    standard[:, 0] += np.where(np.arange(400) % 2, 1.9, -1.9)  # two states with a gap between
    model = FlexModel(
        mesh=mesh,
        generator=generator,
        canonical=density,
        mask=mask,
        pixel_size=PIXEL,
        standard=np.clip(standard, -2.9, 2.9),
        covariance=np.tile(0.01 * np.eye(2, dtype=np.float32), (400, 1, 1)),
        held_out=np.zeros(400, dtype=bool),
        half=np.zeros(400, dtype=np.uint8),
        latent_scale=scale,
    )
    for name, inputs in (("prep", {}), ("mesh", {"prep": "../prep"}), ("train", {"mesh": "../mesh"})):
        (root / name).mkdir()
        (root / name / "job.json").write_text(json.dumps({"stage": name, "state": "done", "inputs": inputs}))
    fine = np.zeros(
        (2 * BOX,) * 3, dtype=np.float32
    )  # prep keeps the map at the crop box, finer than the training
    write_map(root / "prep" / "map.mrc", fine, pixel_size=PIXEL / 2, origin=ORIGIN)
    save_model(root / "train" / "checkpoint-001", model)
    (root / "train" / "latest").write_text("checkpoint-001")
    return root / "train"


def run(params, out):
    steps = generate(params, out)
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def centre_of_mass(path):
    volume = read_map(path)
    index = np.indices(volume.data.shape)[::-1].reshape(3, -1)
    mass = volume.data.ravel().astype(np.float64)
    return np.array(volume.origin) + (index * mass).sum(1) / mass.sum() * volume.pixel_size


BLOB = np.array(ORIGIN) + BOX // 2 * PIXEL + np.array([-1, 0, 2]) * PIXEL
"""Where the blob lies in the frame of the map given to prep."""


def test_a_series_goes_from_the_first_to_the_last_percentile_and_overlays_the_map(train, tmp_path):
    events, summary = run(GenerateParams(train=train, axis=(1,), frames=3), tmp_path)
    assert sorted(p.name for p in (tmp_path / "axis_1").iterdir()) == [
        *(f"frame_{n:03d}.mrc" for n in range(3)),
        "latents.csv",
        "movie.mp4",
        "series.cxc",
    ]
    with (tmp_path / "axis_1" / "latents.csv").open() as file:
        rows = list(csv.DictReader(file))
    z = [float(row["z1"]) for row in rows]
    assert z == pytest.approx(np.linspace(z[0], z[-1], 3), abs=1e-5)
    assert len({row["z2"] for row in rows}) == 1
    for number, latent in enumerate(z):
        found = centre_of_mass(tmp_path / "axis_1" / f"frame_{number:03d}.mrc")
        assert found == pytest.approx(np.add(BLOB, [PUSH * latent, 0, 0]), abs=0.1)
    assert (events[-1].step, events[-1].total) == (3, 3)
    facts = summary["series"]["axis_1"]
    assert facts["motion_rms_A"] == pytest.approx(PUSH * (z[-1] - z[0]), rel=1e-4)
    assert summary["box"] == BOX
    json.dumps(summary)


def test_frames_between_two_states_are_marked():
    fitted = np.random.default_rng(0).normal(0, 0.1, (1000, 2)).astype(np.float32)
    fitted[:, 0] += np.where(np.arange(1000) % 2, 1.0, -1.0)
    series = make_series("axis_1", along_axis(fitted, 0, 9), fitted)
    assert series.supported.tolist() == [True, True, True, False, False, False, True, True, True]
    assert series.particles[0] > 100
    assert particles_near(np.array([[0.9, -1.4]], np.float32), fitted)[0] == 0


def test_all_axes_unless_told(train, tmp_path):
    _, summary = run(GenerateParams(train=train, frames=2), tmp_path)
    assert list(summary["series"]) == ["axis_1", "axis_2"]
    assert summary["series"]["axis_2"]["motion_rms_A"] == pytest.approx(0, abs=1e-5)


def test_given_latents_give_one_volume_per_row(train, tmp_path):
    (tmp_path / "at.csv").write_text("\ufeffname, z2 ,z1\na,0,0.5\nb,0.1,-0.5\nc,1.4,1.45\n")
    _, summary = run(GenerateParams(train=train, at=tmp_path / "at.csv"), tmp_path)
    assert list(summary["series"]) == ["at"]
    ends = [centre_of_mass(tmp_path / "at" / f"frame_{n:03d}.mrc")[0] for n in (0, 1)]
    assert ends == pytest.approx([BLOB[0] + PUSH * 0.5, BLOB[0] - PUSH * 0.5], abs=0.1)
    assert summary["series"]["at"]["unsupported_frames"] == [2]


def test_another_map_is_moved_on_its_own_grid_and_keeps_its_origin(train, tmp_path):
    fine = np.repeat(np.repeat(np.repeat(blob()[2:-2, 2:-2, 2:-2], 2, 0), 2, 1), 2, 2)
    write_map(tmp_path / "fine.mrc", fine, pixel_size=PIXEL / 2, origin=(1.0, 2.0, 3.0))
    before = centre_of_mass(tmp_path / "fine.mrc")
    (tmp_path / "at.csv").write_text("z1,z2\n0.5,0\n")
    run(GenerateParams(train=train, map=tmp_path / "fine.mrc", at=tmp_path / "at.csv"), tmp_path)
    moved = read_map(tmp_path / "at" / "frame_000.mrc")
    assert (moved.data.shape, moved.pixel_size, moved.origin) == ((40,) * 3, PIXEL / 2, (1.0, 2.0, 3.0))
    assert centre_of_mass(tmp_path / "at" / "frame_000.mrc") == pytest.approx(
        np.add(before, [4.0, 0, 0]), abs=0.15
    )


def test_the_canonical_map_on_a_finer_grid_lies_where_it_did(train, tmp_path):
    (tmp_path / "at.csv").write_text("z1,z2\n0,0\n")
    run(GenerateParams(train=train, at=tmp_path / "at.csv", pixel_size=3.0), tmp_path)
    volume = read_map(tmp_path / "at" / "frame_000.mrc")
    assert (volume.data.shape, volume.pixel_size) == ((32,) * 3, 3.0)
    assert centre_of_mass(tmp_path / "at" / "frame_000.mrc") == pytest.approx(BLOB, abs=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z1\n0.5\n", r"at\.csv has no column z2; it has z1"),
        ("", r"at\.csv has no column z1, z2; it has none"),
        ("z1,z2,z1\n1,2,3\n", r"at\.csv has the column z1 twice\. Keep one\."),
        ("z1,z2\n", r"at\.csv has no rows"),
        ("z1,z2\n0,0\n0,abc\n", r'at\.csv row 2: z2 = "abc" is no number'),
        ("z1,z2\n0,0\n0\n", r'at\.csv row 2: z2 = "" is no number'),
        ("z1,z2\n0,nan\n", r'at\.csv row 1: z2 = "nan" is no number'),
    ],
)
def test_tables_of_latents_are_refused_in_words(tmp_path, text, message):
    (tmp_path / "at.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_latents(tmp_path / "at.csv", 2)
    with pytest.raises(InputError, match=r"gone\.csv: no such file"):
        read_latents(tmp_path / "gone.csv", 2)


def test_wrong_requests_are_refused_before_any_work(train, tmp_path):
    with pytest.raises(InputError, match=r"axis = 3: .* has 2 latent coordinates"):
        run(GenerateParams(train=train, axis=(3,)), tmp_path)
    write_map(tmp_path / "small.mrc", blob(), pixel_size=0.5)
    with pytest.raises(InputError, match=r"small\.mrc: its field of 12 Å"):
        run(GenerateParams(train=train, map=tmp_path / "small.mrc"), tmp_path)
    with mrcfile.new(tmp_path / "none.mrc", blob()):
        pass
    with pytest.raises(InputError, match=r"none\.mrc: the header has no voxel size"):
        run(GenerateParams(train=train, map=tmp_path / "none.mrc"), tmp_path)
    assert not list(tmp_path.glob("*/frame_*"))


def test_other_coordinates_stay_at_their_median():
    fitted = np.random.default_rng(0).normal(size=(1001, 3)).astype(np.float32)
    path = along_axis(fitted, 1, 41)
    assert path.shape == (41, 3)
    assert (path[:, 0] == np.median(fitted[:, 0])).all()
    assert (path[0, 1], path[-1, 1]) == pytest.approx(tuple(np.percentile(fitted[:, 1], (1, 99))), abs=1e-6)


def test_morph_moves_atoms_in_the_frame_of_the_map(train, tmp_path):
    atoms = BLOB + np.array([[0.0, 0, 0], [5, -5, 3], [-6, 0, 8]])
    write_calpha(tmp_path / "model.pdb", atoms, "AAB")
    (tmp_path / "at.csv").write_text("z1,z2\n0,0\n1,0\n-0.5,0.3\n")
    facts = morph(train, tmp_path / "model.pdb", tmp_path / "at.csv", tmp_path / "moved.cif")
    assert (facts["models"], facts["atoms"], facts["inside_mask"]) == (3, 3, 1.0)
    assert facts["largest_displacement_A"] == pytest.approx(PUSH, abs=1e-3)
    models = gemmi.read_structure(str(tmp_path / "moved.cif"))
    for model, z1 in zip(models, (0, 1, -0.5), strict=True):
        found = np.array([site.atom.pos.tolist() for site in model.all()])
        assert found == pytest.approx(np.add(atoms, [PUSH * z1, 0, 0]), abs=2e-3)


def test_atoms_outside_all_cells_follow_the_nearest_one(train, tmp_path):
    write_calpha(tmp_path / "model.pdb", BLOB + np.array([[0.0, 0, 0], [0, 0, 2], [90, 0, 0]]), "AAA")
    (tmp_path / "at.csv").write_text("z1,z2\n1,0\n")
    morph(train, tmp_path / "model.pdb", tmp_path / "at.csv", tmp_path / "moved.pdb")
    moved = coordinates(read_model(tmp_path / "moved.pdb"))
    assert moved[2] == pytest.approx(np.add(BLOB, [90 + PUSH, 0, 0]), abs=2e-3)


def test_a_model_in_another_frame_is_pointed_out(train, tmp_path):
    write_calpha(tmp_path / "model.pdb", BLOB + 500 + np.zeros((4, 3)), "AAAA")
    (tmp_path / "at.csv").write_text("z1,z2\n0,0\n")
    with pytest.warns(InputWarning, match=r"only 0 % of the atoms lie in the mask"):
        morph(train, tmp_path / "model.pdb", tmp_path / "at.csv", tmp_path / "moved.pdb")


def test_pictures_are_no_mirror_images():
    volume = np.zeros((24,) * 3, dtype=np.float32)
    z, y, x = np.indices(volume.shape)
    volume[((x - 18) ** 2 + (y - 18) ** 2 + (z - 5) ** 2) < 9] = 1  # +x, +y, -z of the centre
    picture = draw_frame(volume, 0.5, "").astype(int).sum(-1)[20:PANEL]  # below the names of the views
    middle = []
    for view in range(3):
        panel = picture[:, view * PANEL : (view + 1) * PANEL] > 150
        rows, columns = np.nonzero(panel)
        middle.append(
            (columns.mean() > PANEL / 2, rows.mean() + 20 < PANEL / 2)
        )  # right of, above the centre
    # along z from +z: x right, y up; along y from -y: x right, z up; along x from +x: y right, z up
    assert middle == [(True, True), (True, False), (True, False)]


def test_nearer_parts_hide_what_lies_behind():
    volume = np.zeros((24,) * 3, dtype=np.float32)
    volume[4:8, 4:20, 4:20] = 1
    flat = draw_frame(volume, 0.5, "")[60:200, 60:200].astype(int)
    volume[16:20, 4:20, 4:20] = 1  # nearer the viewer at +z
    front = draw_frame(volume, 0.5, "")[60:200, 60:200].astype(int)
    assert front.mean() > flat.mean() + 10
