"""The stage as a person runs it: real and made particle sets in, a folder out, or a message that says what to do."""

import csv
import json
import re

import mrcfile
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.ops.fourier import resample3
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams, prep

FILES = {
    "particles.star",
    "particles.mrcs",
    "particles_train.mrcs",
    "map.mrc",
    "map_train.mrc",
    "mask.mrc",
    "mask_train.mrc",
    "noise.csv",
    "check.json",
    "check.png",
}
WRONG = {"sign flipped", "hand flipped", "pose transposed", "shift negated", "random poses"}


def run(out, **params):
    out.mkdir(exist_ok=True)
    reports = []
    generator = prep(PrepParams(**params), out)
    while True:
        try:
            reports.append(next(generator))
        except StopIteration as end:
            return end.value, reports


def refused(tmp_path, **params):
    with pytest.raises(InputError) as caught:
        run(tmp_path / "out", **params)
    return caught.value


@pytest.fixture
def inputs(sample):
    return {"particles": sample.write(), "map": sample.write_map()}


def outcomes(out):
    return {
        trial["name"]: trial["outcome"] for trial in json.loads((out / "check.json").read_text())["trials"]
    }


# What comes out


@pytest.mark.parametrize("file", ["particles.star", "particles.cs"])
@pytest.mark.parametrize("name", ["groel", "adk"])
def test_particles_simulated_by_other_programs_fit_as_read_and_no_other_way(
    particle_sets, tmp_path, name, file
):
    """cryoJAX made the images and RELION the map: no convention of ours is in them."""
    folder = particle_sets / name
    summary, _ = run(
        tmp_path / "out",
        particles=folder / file,
        map=folder / "map.mrc",
        mask=folder / "mask.mrc",
        max_particles=150,
        train_box=48,
    )
    found = outcomes(tmp_path / "out")
    assert found.pop("as read") == "wins"
    assert found == dict.fromkeys(WRONG, "loses")
    assert summary["sign"] == 1
    assert summary["particles"] == 150
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES


def test_real_tilt_images_and_a_map_of_half_of_them_are_accepted(fixtures, ribosomes, tmp_path):
    """An old one-table star file, a stack without MAP stamp, no shifts, no mask."""
    write_map(tmp_path / "map.mrc", ribosomes.density, pixel_size=14.56)
    with pytest.warns(InputWarning, match="no rlnOriginXAngst"):
        summary, _ = run(
            tmp_path / "out",
            particles=fixtures / "star" / "sta_testing_bin8.star",
            map=tmp_path / "map.mrc",
            project_dir=fixtures / "stack",
            pixel_size=14.56,
        )
    found = outcomes(tmp_path / "out")
    assert found["as read"] == "wins"
    assert found["shift negated"] == "cannot tell"
    assert {found[name] for name in ("sign flipped", "pose transposed", "random poses")} == {"loses"}
    assert (summary["particles"], summary["sign"], summary["half_sets"]) == (219, 1, [39, 180])
    assert len(Particles.open(tmp_path / "out")) == 219


def test_all_results_are_there_and_other_programs_can_read_them(inputs, tmp_path):
    _, reports = run(tmp_path / "out", **inputs, train_box=24, crop_box=28)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    for name, box in (("particles.mrcs", 28), ("particles_train.mrcs", 24)):
        with mrcfile.open(out / name) as file:
            assert file.data.shape == (60, box, box)
            assert file.data.dtype == np.float16
    for name, box in (("map", 28), ("map_train", 24), ("mask", 28), ("mask_train", 24)):
        assert read_map(out / f"{name}.mrc").data.shape == (box,) * 3
    with (out / "noise.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [sum(row["stack"] == name for row in rows) for name in ("full", "train")] == [15, 13]
    assert reports[-1].step == reports[-1].total == 60


def test_maps_lie_where_the_input_map_lies(inputs, tmp_path):
    with mrcfile.open(inputs["map"], mode="r+") as file:
        file.header.origin = (-80.0, 10.0, 33.0)
    run(tmp_path / "out", **inputs, train_box=24, crop_box=28)
    before = read_map(inputs["map"])
    centre = np.array(before.origin) + 16 * 5.0
    for name in ("map", "map_train", "mask", "mask_train"):
        volume = read_map(tmp_path / "out" / f"{name}.mrc")
        assert_allclose(
            np.array(volume.origin) + len(volume.data) // 2 * volume.pixel_size, centre, atol=1e-4
        )
    cut = read_map(tmp_path / "out" / "map.mrc").data
    assert_allclose(cut, before.data[2:30, 2:30, 2:30], atol=1e-5)


def test_images_have_unit_noise_and_bright_particles(sample, tmp_path):
    sample.images = 40 - 7 * sample.images  # dark, off zero, on another scale
    summary, _ = run(tmp_path / "out", particles=sample.write(), map=sample.write_map())
    assert summary["sign"] == -1
    particles = Particles.open(tmp_path / "out", "full")
    images = np.asarray(particles.images, dtype=np.float32)
    y, x = np.indices((32, 32)) - 16
    outside = images[:, np.hypot(x, y) > 14]
    assert_allclose([outside.mean(), outside.std()], [0, 1], atol=0.06)
    assert_allclose(np.sqrt(particles.noise[1:].mean()) / 32, 1, atol=0.1)
    assert images[:, 14:19, 14:19].mean() > 0.2


def test_a_part_of_the_particles_keeps_its_rows_and_columns(sample, tmp_path):
    sample.particles["rlnAutopickFigureOfMerit"] = list(range(60))
    run(tmp_path / "out", particles=sample.write(), map=sample.write_map(), max_particles=40, seed=3)
    particles = Particles.open(tmp_path / "out", "full")
    rows = particles.source_row
    assert len(rows) == 40
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert particles.table.columns["rlnAutopickFigureOfMerit"] == [str(row) for row in rows]
    assert_allclose(particles.shift[:, 0], np.array(sample.particles["rlnOriginXAngst"])[rows], atol=1e-5)
    raw, stored = sample.images[rows], np.asarray(particles.images, dtype=float)
    for one, other in zip(raw[:5], stored[:5], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999


def test_the_same_seed_draws_the_same_particles(inputs, tmp_path):
    rows = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, **inputs, max_particles=45, seed=seed)
        rows.append(Particles.open(tmp_path / name, "full").source_row.tolist())
    assert rows[0] == rows[1] != rows[2]


def test_new_half_sets_are_stored(sample, tmp_path):
    del sample.particles["rlnRandomSubset"]
    with pytest.warns(InputWarning, match="No half sets"):
        run(tmp_path / "out", particles=sample.write(), map=sample.write_map())
    particles = Particles.open(tmp_path / "out")
    assert np.bincount(particles.half).tolist() == [30, 30]
    assert json.loads((tmp_path / "out" / "check.json").read_text())["new_half_sets"]


def test_the_number_of_particles_does_not_set_the_memory(inputs, tmp_path, monkeypatch):
    from napari_flex3d import images

    monkeypatch.setattr(images, "_CHUNK_PIXELS", 7 * 32 * 32)
    run(tmp_path / "few", **inputs)
    monkeypatch.undo()
    run(tmp_path / "all", **inputs)
    same = [Particles.open(tmp_path / name, "full").images for name in ("few", "all")]
    assert_allclose(same[0], same[1], atol=1e-3)


def test_a_dataset_of_cryosparc_gives_the_same_as_a_star_file(sample, tmp_path):
    columns = sample.cs_columns()
    columns["alignments3D/alpha"][:] = 1
    first = {k: v for k, v in columns.items() if k.startswith(("uid", "alignments3D"))}
    second = {k: v for k, v in columns.items() if not k.startswith("alignments3D")}
    dataset, passthrough = sample.write_cs(first, "a.cs"), sample.write_cs(second, "b.cs")
    run(
        tmp_path / "cs",
        particles=dataset,
        passthrough=[passthrough],
        map=sample.write_map(),
        max_particles=40,
    )
    run(tmp_path / "star", particles=sample.write(), map=sample.write_map(), max_particles=40)
    ours, theirs = (Particles.open(tmp_path / name, "full") for name in ("cs", "star"))
    assert (ours.source_row == theirs.source_row).all()
    assert_allclose(ours.images, theirs.images, atol=2e-3)
    one, other = (p.batch([0, 7, 39]) for p in (ours, theirs))
    assert_allclose(one.rotation, other.rotation, atol=1e-6)
    assert_allclose(one.transfer, other.transfer, atol=1e-4)
    assert ours.table.columns["flexUid"] == [str(1000 * (row + 1)) for row in ours.source_row]


# What is refused, by the numbers of the table of bad inputs


def test_star_files_that_hold_no_single_particles(fixtures, tmp_path, sample):
    text = str(refused(tmp_path, particles=fixtures / "star" / "one_loop.star", map=sample.write_map()))
    assert 'has no "index@stack"; subtomograms are not supported.' in text
    text = str(
        refused(tmp_path, particles=fixtures / "star" / "rln3.1_data_style.star", map=sample.write_map())
    )
    assert "none with rlnImageName" in text


def test_37_the_file_says_another_contrast(sample, tmp_path):
    columns = sample.cs_columns()
    columns["blob/sign"][:] = -1
    inputs = {"particles": sample.write_cs(columns), "map": sample.write_map()}
    error = refused(tmp_path, **inputs)
    assert isinstance(error, Question)
    assert error.flag == "--sign"
    assert re.match(r"blob/sign says dark, the images look bright \(z = \d+\.\d\)\.", str(error))
    assert not (tmp_path / "out" / "particles.mrcs").exists()
    summary, _ = run(tmp_path / "out", **inputs, sign="bright")
    assert summary["sign"] == 1


def test_41_a_stack_cut_short(inputs, sample, tmp_path):
    stack = sample.folder / "stack.mrcs"
    size = stack.stat().st_size
    stack.write_bytes(stack.read_bytes()[: size // 2])
    expected = f"{stack.resolve()}: header wants {size} bytes, the file has {size // 2}. Copy it again."
    assert str(refused(tmp_path, **inputs)) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_42_images_without_content(sample, tmp_path, value):
    sample.images[[8, 20]] = value
    stack = (sample.folder / "stack.mrcs").resolve()
    text = str(refused(tmp_path, particles=sample.write(), map=sample.write_map()))
    assert text == f"2 images are constant or not finite, first 9@{stack}."
    assert not (tmp_path / "out" / "particles.mrcs").exists()


def test_43_half_precision_overflow(sample, tmp_path):
    sample.images[5, 3, 3] = 1e6
    path = sample.write()
    with np.errstate(over="ignore"):
        half = sample.images.astype(np.float16)
    header = np.zeros(256, "<i4")
    header[:4] = 32, 32, 60, 12
    (sample.folder / "stack.mrcs").write_bytes(header.tobytes() + half.tobytes())
    text = str(refused(tmp_path, particles=path, map=sample.write_map()))
    assert text == f"{(sample.folder / 'stack.mrcs').resolve()}: 1 values overflow float16; write float32."


def test_44_46_maps_that_are_no_cube(inputs, sample, tmp_path):
    error = refused(tmp_path, **inputs | {"map": sample.write_map(sample.density[:10])})
    assert isinstance(error, Question)
    assert str(error).startswith(f"{inputs['map']} has 10 sections of 32 x 32; is this a stack?")
    error = refused(tmp_path, **inputs | {"map": sample.write_map(sample.density[:10, :20])})
    assert str(error) == f"{inputs['map']}: 32 x 20 x 10, voxel 5 Å; a cubic map is needed."


def test_45_a_map_on_another_grid_is_resampled_when_asked(inputs, sample, tmp_path):
    finer = resample3(torch.from_numpy(sample.density.astype(np.float32)), 48).numpy()
    other = {**inputs, "map": sample.write_map(np.pad(finer, 4), pixel_size=5.0 * 32 / 48)}
    error = refused(tmp_path, **other)
    assert isinstance(error, Question)
    assert error.flag == "--resample-map"
    assert str(error).startswith("Map 56 px at 3.33333 Å, particles 32 px at 5 Å. Resample?")
    run(tmp_path / "out", **other, resample_map=True)
    back = read_map(tmp_path / "out" / "map.mrc").data
    assert_allclose(back, sample.density, atol=0.05)


def test_45_a_pixel_size_in_the_maps_header_that_is_a_lie(inputs, sample, tmp_path):
    wrong = {**inputs, "map": sample.write_map(pixel_size=1.0)}
    error = refused(tmp_path, **wrong)
    assert isinstance(error, Question)
    assert error.flag == "--map-pixel-size"
    assert str(error).startswith("Map 32 px at 1 Å, particles 32 px at 5 Å.")
    run(tmp_path / "out", **wrong, map_pixel_size=5.0)


def test_47_an_inverted_map(inputs, sample, tmp_path):
    text = str(refused(tmp_path, **inputs | {"map": sample.write_map(-sample.density)}))
    assert "the map looks inverted" in text


def test_47_a_mirrored_map_stops_the_run_with_the_table(inputs, sample, tmp_path):
    mirrored = np.roll(sample.density[::-1], 1, axis=0)
    text = str(refused(tmp_path, **inputs | {"map": sample.write_map(mirrored)}))
    assert text.startswith(f"{inputs['particles']}: The map is the mirror image")
    assert all(name in text for name in WRONG)
    assert not (tmp_path / "out" / "particles.mrcs").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda mask: mask * 2, r"range 0\.\.2, "),
        (lambda mask: mask * 0, r"range 0\.\.0, 0\.0 % of the box"),
        (lambda mask: mask * 0 + 1, r"range 1\.\.1, 100\.0 % of the box"),
        (lambda mask: -mask, r"range -1\.\.-?0, 0\.0 % of the box"),
    ],
)
def test_48_masks_that_are_none(inputs, sample, tmp_path, change, text):
    path = tmp_path / "mask.mrc"
    with mrcfile.new(path) as file:
        file.set_data(change((sample.density > 0.1).astype(np.float32)))
        file.voxel_size = 5.0
    with pytest.raises(InputError, match=text):
        run(tmp_path / "out", **inputs, mask=path)


@pytest.mark.parametrize(("name", "value"), [("crop_box", 34), ("crop_box", 31), ("train_box", 30)])
def test_boxes_that_cannot_be_cut(inputs, tmp_path, name, value):
    boxes = {"crop_box": 28} | {name: value}
    text = str(refused(tmp_path, **inputs, **boxes))
    assert text.startswith(f"{name} = {value}: must be even and at most")


def test_a_mask_that_is_asked_for_too_high(inputs, tmp_path):
    text = str(refused(tmp_path, **inputs, mask_threshold=50.0))
    assert "the automatic mask fills 0.0 % of the box. Give a mask (--mask)" in text
