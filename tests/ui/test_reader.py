import json
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.layers import Layer
from napari.utils.notifications import ErrorNotification, notification_manager

from napari_flex3d.io.mrc import write_map, write_stack
from napari_flex3d.jobs import input_of, read_job
from napari_flex3d.ui import sample
from napari_flex3d.ui.docks import DataDock
from napari_flex3d.ui.layers import ImageList
from napari_flex3d.ui.reader import get_reader
from napari_flex3d.ui.session import Session
from tests.io.test_seg import place, write_seg

STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnImagePixelSize #3
_rlnImageSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
1 opticsGroup1 2.5 16 300 2.7 0.1

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnDefocusU #8
_rlnDefocusV #9
_rlnDefocusAngle #10
"""


def layer(data) -> Layer:
    return Layer.create(*data)


def test_a_map_lies_where_its_header_says(tmp_path):
    volume = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    write_map(tmp_path / "a.mrc", volume, pixel_size=1.5, origin=(10, 20, 30))
    (data,) = get_reader(str(tmp_path / "a.mrc"))(str(tmp_path / "a.mrc"))
    shown = layer(data)
    np.testing.assert_allclose(shown.data_to_world((1, 2, 3)), (31.5, 23.0, 14.5), rtol=1e-5)  # z, y, x
    assert [str(unit) for unit in shown.units] == ["angstrom"] * 3
    assert shown.rendering != "iso"  # eight seconds a frame without a graphics card


def test_particles_of_a_star_file_come_in_its_order(tmp_path):
    images = np.random.default_rng(1).normal(size=(6, 16, 16)).astype(np.float16)
    with write_stack(tmp_path / "p.mrcs", 16, 2.5) as stack:
        stack.append(images)
    order = [4, 1, 5]
    rows = [f"{i + 1:06d}@p.mrcs 1 0 0 0 0 0 10000 10000 0" for i in order]
    (tmp_path / "p.star").write_text(STAR + "\n".join(rows) + "\n")
    (star,) = get_reader(str(tmp_path / "p.star"))(str(tmp_path / "p.star"))
    (stack_data,) = get_reader([str(tmp_path / "p.mrcs")])([str(tmp_path / "p.mrcs")])
    np.testing.assert_array_equal(np.asarray(star[0]), images[order].astype(np.float32))
    np.testing.assert_array_equal(layer(stack_data).data[5], images[5])
    np.testing.assert_allclose(layer(star).scale, (1, 2.5, 2.5))


def test_particles_of_cryosparc_come_in_their_order(tmp_path):
    images = np.random.default_rng(1).normal(size=(6, 16, 16)).astype(np.float16)
    with write_stack(tmp_path / "p.mrcs", 16, 2.5) as stack:
        stack.append(images)
    order = [4, 1, 5]
    path = write_cs(tmp_path / "J1_particles.cs", order)
    (data,) = get_reader(str(path))(str(path))
    np.testing.assert_array_equal(np.asarray(data[0]), images[order].astype(np.float32))
    np.testing.assert_allclose(layer(data).scale, (1, 2.5, 2.5))
    (tmp_path / "Program.cs").write_text("class Program {}")
    assert get_reader(str(tmp_path / "Program.cs")) is None


def write_cs(path, order):
    number = [(name, "f4") for name in ("accel_kv", "cs_mm", "amp_contrast", "df1_A")]
    fields = [("uid", "u8"), ("blob/path", "S6"), ("blob/idx", "u4"), ("blob/psize_A", "f4")]
    fields += [(f"ctf/{name}", kind) for name, kind in number]
    fields += [("alignments3D/pose", "f4", (3,)), ("alignments3D/shift", "f4", (2,))]
    rows = np.zeros(len(order), fields)
    rows["uid"], rows["blob/path"], rows["blob/idx"], rows["blob/psize_A"] = order, b"p.mrcs", order, 2.5
    rows["ctf/accel_kv"], rows["ctf/df1_A"] = 300, 10000
    with path.open("wb") as file:
        np.save(file, rows)
    return path


@pytest.mark.parametrize("name", ["p.star", "J1_particles.cs"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_particle_file_that_is_dropped_is_put_into_the_form(qtbot, viewer, tmp_path, name, earlier):
    """Also where the file was opened before the first dock."""
    with write_stack(tmp_path / "p.mrcs", 16, 2.5) as stack:
        stack.append(np.random.default_rng(1).normal(size=(3, 16, 16)))
    if name.endswith(".cs"):
        write_cs(tmp_path / name, [0, 1])
    else:
        rows = [f"{i:06d}@p.mrcs 1 0 0 0 0 0 10000 10000 0" for i in (1, 2)]
        (tmp_path / name).write_text(STAR + "\n".join(rows) + "\n")

    def drop():
        (data,) = get_reader(str(tmp_path / name))(str(tmp_path / name))
        viewer.add_layer(layer(data))

    if earlier:
        drop()
    session = Session(viewer, project=tmp_path / "project")
    dock = DataDock(session)
    qtbot.addWidget(dock)
    session.prepare()
    qtbot.waitUntil(lambda: dock.panel.form is not None, timeout=60000)
    if not earlier:
        drop()
    qtbot.waitUntil(lambda: dock.panel.form.value_of("particles") == tmp_path / name)
    session.end()


def test_images_of_several_boxes_are_shown_about_their_centres():
    stacks = [np.arange(36.0).reshape(1, 6, 6), np.arange(16.0).reshape(1, 4, 4)]
    small = ImageList(stacks[::-1], np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(small[1], stacks[0][0, 1:5, 1:5])
    large = ImageList(stacks, np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(large[1][1:5, 1:5], stacks[1][0])


def test_images_are_read_one_by_one_like_an_array():
    stacks = [np.arange(48.0).reshape(3, 4, 4), 100 + np.arange(32.0).reshape(2, 4, 4)]
    images = ImageList(stacks, np.array([1, 0, 0]), np.array([1, 2, 0]))
    whole = np.stack([stacks[1][1], stacks[0][2], stacks[0][0]])
    for key in (0, slice(1, 3), (2, slice(None), 1), (slice(None), 0), -1, ...):
        if key is not ...:
            np.testing.assert_array_equal(images[key], whole[key])
    np.testing.assert_array_equal(np.asarray(images), whole)


def test_what_is_not_ours_is_left_to_others(tmp_path):
    (tmp_path / "sky.star").write_text("just a text\n")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "sky.star", tmp_path / "folder", tmp_path / "a.tif"):
        assert get_reader(str(path)) is None


@pytest.mark.parametrize(("stage", "count"), [("prep", 2), ("mesh", 1), ("train", 1), ("reconstruct", 2)])
def test_a_job_folder_is_read_as_its_maps(toy_jobs, stage, count):
    layers = get_reader(str(toy_jobs[stage]))(str(toy_jobs[stage]))
    assert len(layers) == count
    assert all(look["metadata"]["flex3d_job"] == str(toy_jobs[stage]) for _, look, _ in layers)


def test_the_maps_of_a_reconstruction_are_read_at_one_contour(toy_jobs):
    (_, flex, _), (_, rigid, _) = get_reader(str(toy_jobs["reconstruct"]))(str(toy_jobs["reconstruct"]))
    assert flex["iso_threshold"] == rigid["iso_threshold"]
    assert flex["contrast_limits"] == rigid["contrast_limits"]
    assert flex.get("visible", True)
    assert not rigid["visible"]


def test_segments_come_in_their_colours_where_the_file_says(tmp_path):
    mask = np.zeros((8, 8, 8), np.uint32)
    mask[2:4, 1:7, 1:7], mask[4:6, 1:7, 1:7] = 1, 2
    path = write_seg(
        tmp_path / "a.seg", mask, ids=(1, 2, 9), parents=(0, 9, 0), to_xyz=place(2.5, (10, 20, 30))
    )
    (data,) = get_reader(str(path))(str(path))
    shown = layer(data)
    assert isinstance(shown, napari.layers.Labels)
    np.testing.assert_array_equal(shown.data, np.array([0, 1, 9])[mask])  # 2 is of group 9
    np.testing.assert_allclose(shown.get_color(9), np.linspace(0, 1, 12)[8:], atol=1e-6)
    np.testing.assert_allclose(shown.data_to_world((1, 2, 3)), (32.5, 25.0, 17.5))  # z, y, x
    (tmp_path / "mesh.seg").write_bytes(b"\x80\x04 a pickle")
    assert get_reader(str(tmp_path / "mesh.seg")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "cannot be read"), ('{"stage": "train"}', "no stage wrote"), (None, "has written no map")],
)
def test_a_broken_job_folder_that_is_dropped_is_told_without_a_traceback(viewer, tmp_path, text, words):
    record = {"stage": "train", "state": "failed", "params": {}, "inputs": {}}
    (tmp_path / "job.json").write_text(text or json.dumps(record))
    notification_manager.records.clear()
    viewer.open(str(tmp_path), plugin="napari-flex3d")
    (said,) = notification_manager.records
    assert words in said.message
    assert not isinstance(said, ErrorNotification)  # that kind has the traceback
    assert not viewer.layers


def test_a_training_that_runs_is_opened_before_its_first_map(qtbot, session, run_toys):
    """Its consensus map stands for it in the canvas, and the docks follow it."""
    jobs = run_toys(session.project, "train", epochs=1)
    (jobs["train"] / "canonical.mrc").unlink()
    record = json.loads((jobs["train"] / "job.json").read_text())
    (jobs["train"] / "job.json").write_text(json.dumps(record | {"state": "running", "host": "a-cluster"}))
    with qtbot.waitSignal(session.job_shown, timeout=60_000):
        session.viewer.open(str(jobs["train"]), plugin="napari-flex3d")
    assert session.is_running
    assert session.run.place == "elsewhere"
    qtbot.waitUntil(lambda: session.model is not None, timeout=60_000)


def test_the_trained_sample_opens_as_a_training(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(sample, "TRAINED", {"particles": 40, "box": 24, "pixel_size": 8.0, "seed": 0})
    monkeypatch.setattr(sample, "EPOCHS", 1)
    for _ in range(2):  # made, and found
        ((_, look, kind),) = sample.hinge_trained()
        assert kind == "image"
        job = read_job(Path(look["metadata"]["flex3d_job"]))
        assert (job.stage, job.state) == ("train", "done")
        assert input_of(job.folder, "mesh").is_dir()  # the jobs were moved together


def test_the_sample_is_made_once_and_opens(tmp_path, monkeypatch):
    made = []

    def write_sample(folder: Path, *, particles: int):
        made.append(particles)
        folder.mkdir(parents=True)
        write_map(folder / "map.mrc", np.ones((16, 16, 16), np.float32), pixel_size=2.5)
        with write_stack(folder / "p.mrcs", 16, 2.5) as stack:
            stack.append(np.random.default_rng(0).normal(size=(2, 16, 16)))
        rows = [f"{i:06d}@p.mrcs 1 0 0 0 0 0 10000 10000 0" for i in (1, 2)]
        (folder / "p.star").write_text(STAR + "\n".join(rows) + "\n")
        return type("Sample", (), {"particles": folder / "p.star", "map": folder / "map.mrc"})

    monkeypatch.setattr("napari_flex3d.synthetic.write_sample", write_sample, raising=False)
    monkeypatch.setattr(sample, "user_cache_path", lambda name: tmp_path / name)
    for _ in range(2):
        viewer = napari.components.ViewerModel()
        for data in sample.hinge():
            viewer.add_layer(layer(data))
    assert [one.name for one in viewer.layers] == ["Hinge, particles", "Hinge, map"]
    assert made == [sample.PARTICLES]
    stack, map_ = (one.extent.world.mean(0)[0] for one in viewer.layers)
    assert stack == pytest.approx(map_, abs=2.5)  # the middle of all is the map's, which napari shows first
    assert not [path for path in (tmp_path / "napari-flex3d").iterdir() if path.name.startswith(".")]
