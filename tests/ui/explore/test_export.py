"""What leaves the window: particles, movie, figure, moved model, volumes."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from napari_flex3d.io.cs.container import read_fields
from napari_flex3d.io.cs.rows import write_fields
from napari_flex3d.io.star import read_star
from napari_flex3d.ui.explore import ExploreDock, export_panel, selection
from tests.io.test_movies import read


def answer(monkeypatch, module, path):
    monkeypatch.setattr(module.QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))


def give_latents(job, model):
    """The files that a finished training leaves."""
    names = [f"{k + 1:06d}@stack.mrcs" for k in range(len(model.latents))]
    lines = ["data_particles", "", "loop_", "_rlnImageName #1", "_rlnUserColumn #2"]
    lines += [f"{name} {3 * k}" for k, name in enumerate(names)]
    (job / "latents.star").write_text("\n".join(lines) + "\n")
    rows = [f"{k},{z[0]:.5f},{z[1]:.5f},0,{k % 2}" for k, z in enumerate(model.latents)]
    (job / "latents.csv").write_text("particle,z1,z2,held_out,half\n" + "\n".join(rows) + "\n")
    write_fields(job / "latents.cs", {"uid": np.arange(len(names), dtype=np.uint64)})


def test_the_chosen_particles_go_into_a_file_with_all_their_columns(
    qtbot, monkeypatch, session, run_toys, tmp_path
):
    jobs = run_toys(tmp_path / "toys", "train", epochs=1)
    dock = ExploreDock(session)
    session.viewer.window.add_dock_widget(dock, name="Explore")
    with qtbot.waitSignal(session.explorer.model_taken, timeout=30_000):
        session.open(jobs["train"])
    outline = np.array([[0.2, -3.0], [3.0, -3.0], [3.0, 3.0], [0.2, 3.0]])
    dock.scatter.box.outlined.emit(outline)
    panel, out = dock.selection_panel, tmp_path / "right.star"
    answer(monkeypatch, selection, out)
    panel.save_button.click()  # before the training's tables are there
    qtbot.waitUntil(lambda: "has no latents.csv" in dock.state.text(), timeout=30_000)
    qtbot.waitUntil(panel.save_button.isEnabled, timeout=10_000)
    give_latents(jobs["train"], session.model)
    with qtbot.waitSignal(panel.saved, timeout=30_000):
        panel.save_button.click()
    chosen = np.flatnonzero(session.model.latents[:, 0] > 0.2)
    table = read_star(out)["particles"]
    assert list(table["rlnImageName"]) == [f"{k + 1:06d}@stack.mrcs" for k in chosen]
    assert [int(float(value)) for value in table["rlnUserColumn"]] == [3 * k for k in chosen]
    assert f"{len(chosen):,} of 400 particles are in {out}" in dock.state.text()
    panel.mean_button.click()
    np.testing.assert_allclose(session.explorer.latent, session.model.latents[chosen].mean(0), atol=1e-5)
    # and their columns can colour the scatter
    colors = dock.scatter_panel.color_box
    colors.setCurrentText("columns of the file…")
    qtbot.waitUntil(lambda: colors.findText("rlnUserColumn") >= 0, timeout=30_000)
    colors.hidePopup()
    colors.setCurrentText("rlnUserColumn")
    qtbot.waitUntil(lambda: dock.scatter_panel.color_box.scale.isVisibleTo(dock), timeout=30_000)


def test_the_chosen_particles_go_into_a_cs_file_where_they_came_from_one(
    qtbot, monkeypatch, session, run_toys, tmp_path
):
    jobs = run_toys(tmp_path / "toys", "train", epochs=1)
    write_fields(jobs["prep"].parent / "particles.cs", {"uid": np.arange(24, dtype=np.uint64)})
    record = jobs["prep"] / "job.json"
    record.write_text(record.read_text().replace("particles.star", "particles.cs"))
    dock = ExploreDock(session)
    session.viewer.window.add_dock_widget(dock, name="Explore")
    with qtbot.waitSignal(session.explorer.model_taken, timeout=30_000):
        session.open(jobs["train"])
    give_latents(jobs["train"], session.model)
    dock.scatter.box.outlined.emit(np.array([[0.2, -3.0], [3.0, -3.0], [3.0, 3.0], [0.2, 3.0]]))
    panel, out = dock.selection_panel, tmp_path / "right.cs"
    answer(monkeypatch, selection, out)
    with qtbot.waitSignal(panel.saved, timeout=30_000):
        panel.save_button.click()
    np.testing.assert_array_equal(read_fields(out)["uid"], np.flatnonzero(session.model.latents[:, 0] > 0.2))
    assert "joined by uid" in dock.state.text()


@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_movie_shows_the_motion_and_leaves_everything_as_it_was(
    qtbot, monkeypatch, dock, session, on_screen, tmp_path, suffix
):
    out, panel = tmp_path / f"movie.{suffix}", dock.export_panel
    answer(monkeypatch, export_panel, out)
    session.explorer.go_to(np.array([0.2, 0.1]))
    on_screen()
    angles, zoom = (
        getattr(session.viewer, "scene", session.viewer).camera.angles,
        getattr(session.viewer, "scene", session.viewer).camera.zoom,
    )
    panel.frames_box.setValue(6)
    panel.camera_box.setCurrentText("one turn")
    with qtbot.waitSignal(panel.movie.ended, timeout=120_000):
        panel.movie_button.click()
        assert panel.movie_button.text() == "Stop"
    assert panel.movie_button.text() == "Save…"
    assert session.explorer.latent == pytest.approx([0.2, 0.1])
    np.testing.assert_allclose(
        getattr(session.viewer, "scene", session.viewer).camera.angles, angles, atol=1e-3
    )
    assert getattr(session.viewer, "scene", session.viewer).camera.zoom == pytest.approx(zoom)
    frames = read_movie(out, session.viewer.screenshot(flash=False).shape)
    assert len(frames) == 6
    differences = [np.abs(a - b).mean() for a, b in pairwise(frames)]
    assert min(differences) > 0.5
    assert "6 pictures are in" in dock.state.text()


def read_movie(path, shape):
    if path.suffix == ".gif":
        with Image.open(path) as movie:
            frames = []
            for k in range(movie.n_frames):
                movie.seek(k)
                frames.append(np.asarray(movie.convert("RGB"), float))
        return frames
    even = [side + side % 2 for side in shape[:2]]
    return read(path, even).astype(float)


def test_a_movie_can_be_stopped(qtbot, monkeypatch, dock, session, tmp_path):
    out, panel = tmp_path / "movie.mp4", dock.export_panel
    answer(monkeypatch, export_panel, out)
    panel.frames_box.setValue(500)
    panel.movie_button.click()
    qtbot.waitUntil(lambda: "picture 2 of 500" in dock.state.text(), timeout=60_000)
    panel.movie_button.click()
    assert dock.state.text() == "The movie was stopped."
    assert not out.exists()
    assert panel.movie_button.text() == "Save…"


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_a_figure_has_scatter_and_correlation(monkeypatch, dock, session, toy_jobs, tmp_path, suffix):
    out = tmp_path / f"figure.{suffix}"
    answer(monkeypatch, export_panel, out)
    session.open(toy_jobs["reconstruct"])
    session.explorer.path.set(np.array([[0.0, 0.0], [0.5, 0.5]]))
    dock.export_panel.figure_button.click()
    data = out.read_bytes()
    if suffix == "pdf":
        assert data.startswith(b"%PDF")
    else:
        text = data.decode()
        assert text.count('<g id="axes_') == 2
        assert "<image" in text  # the density is no million shapes
    assert str(out) in dock.state.text()


def test_volumes_along_the_path_go_to_the_form_of_generate(qtbot, dock, session):
    qtbot.waitUntil(lambda: dock.panel.form is not None, timeout=30_000)
    assert not dock.export_panel.volumes_button.isEnabled()
    session.explorer.path.set(np.array([[0.0, 0.0], [0.5, 0.5]]))
    given = []
    dock.export_panel.series_wanted.connect(given.append)
    dock.export_panel.volumes_button.click()
    assert dock.pages.shown == "Export"
    assert (session.project / "path-1.csv").read_text().startswith("frame,z1,z2,particles,supported")
    assert given == [{"at": session.project / "path-1.csv"}]
