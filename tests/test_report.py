import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from napari_flex3d import report as report_module
from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import Job
from napari_flex3d.params import Params, param
from napari_flex3d.progress import Progress
from napari_flex3d.report import report
from napari_flex3d.stages import Stage


@dataclass(frozen=True, kw_only=True)
class ToyParams(Params):
    prep: Path | None = param(None, "Prep job.", path="job")
    mesh: Path | None = param(None, "Mesh job.", path="job")
    train: Path | None = param(None, "Train job.", path="job")
    cells: int = param(20, "Cells across <the box>.", unit="cells")


@dataclass(frozen=True)
class Toy(Stage):
    params: type[Params] = ToyParams


@pytest.fixture(autouse=True)
def toy_stages(monkeypatch):
    names = ("prep", "mesh", "train", "generate", "reconstruct")
    monkeypatch.setattr(report_module, "STAGES", tuple(Toy(n, "Toy.") for n in names))


def make(folder, stage, rows=(), summary=None, warnings=(), **params):
    job = Job.create(folder, stage, ToyParams(**params))

    def steps():
        for i, row in enumerate(rows):
            yield Progress(i, len(rows), metrics=row)
        return summary or {}

    job.record["warnings"] = list(warnings)
    for _ in job.drive(steps()):
        pass
    return folder


@pytest.fixture
def chain(tmp_path):
    """The whole way, made up: four jobs with all that a report can show."""
    rng = np.random.default_rng(0)
    prep = make(
        tmp_path / "prep", "prep", summary={"particles": 12_000, "pixel_size_A": 1.05}, warnings=["Odd <b>."]
    )
    trial = {"correlation": 0.1, "error": 0.002}
    check = [
        trial | {"name": "as read", "margin": 0.0, "outcome": "wins"},
        trial | {"name": "hand flipped", "margin": 8.0, "outcome": "loses"},
        trial | {"name": "shift negated", "margin": 1.0, "outcome": "cannot tell"},
    ]
    (prep / "check.json").write_text(json.dumps({"trials": check, "verdict": "As read is right."}))
    mesh = make(tmp_path / "mesh", "mesh", summary={"vertices": 1_210}, prep=prep, cells=24)
    picture = Figure(figsize=(4, 3))
    picture.subplots().imshow(rng.random((20, 20)))
    picture.savefig(mesh / "mesh.png")
    epochs = [
        {
            "epoch": e, "loss": 0.97 + 0.02 / e, "loss_held_out": 0.975 + 0.02 / e,
            "rigid_loss": 0.99, "rigid_loss_held_out": 0.992, "rigidity_energy": 0.4 * e / (e + 2),
            "displacement_rms": 3 * e / (e + 3), "displacement_max": 11 * e / (e + 3),
            "latent_spread": 0.9, "border_share": 0.01, "gain_error": 0.002, "gain_by_chance": 0.001,
            "inverted_cells": 0,
        }
        for e in range(1, 17)
    ]  # fmt: skip
    train = make(tmp_path / "train", "train", epochs, {"held_out": 600}, mesh=mesh)
    z = np.concatenate([rng.normal([-0.6, 0], 0.25, (4000, 2)), rng.normal([0.5, 0.3], 0.3, (3000, 2))])
    table = np.column_stack([np.arange(len(z)), z])
    np.savetxt(train / "latents.csv", table, delimiter=",", header="particle,z1,z2", comments="", fmt="%.4f")
    iterations = [
        {"half": h, "rigid": r, "iteration": i, "objective": (1 + r) / i}
        for r in (0, 1) for h in (0, 1) for i in range(1, 11)
    ]  # fmt: skip
    parts = {"moving": {"fsc143_A": 4.75, "fsc05_A": 6.0}, "still": {"fsc143_A": 3.0, "fsc05_A": 3.8}}
    worse = {"moving": {"fsc143_A": 8.25, "fsc05_A": 9.5}, "still": {"fsc143_A": 3.1, "fsc05_A": 3.9}}
    resolutions = {
        "flex": {"fsc143_A": 3.1, "fsc05_A": 3.9, "bfactor_A2": -81.5, "parts": parts},
        "rigid": {"fsc143_A": 4.2, "fsc05_A": 5.0, "bfactor_A2": -99.5, "parts": worse},
    }
    summary = resolutions | {"training_limit_A": 6.3}
    final = make(tmp_path / "reconstruct", "reconstruct", iterations, summary, train=train)
    shells = np.arange(65)
    frequency = shells / (128 * 1.05)
    flex, rigid = (1 / (1 + np.exp((frequency - c) * 40)) for c in (0.27, 0.2))
    table = np.column_stack([shells, frequency, *[flex] * 4, *[rigid] * 4])
    ends = ("masked", "corrected", "part_moving", "part_still")
    header = ",".join(
        ["shell", "frequency", *(f"{kind}_{end}" for kind in ("flex", "rigid") for end in ends)]
    )
    np.savetxt(final / "fsc.csv", table, delimiter=",", header=header, comments="", fmt="%.5f")
    return final


def test_the_page_holds_the_whole_chain_and_needs_no_other_file(chain, tmp_path):
    page = tmp_path / "report.html"
    report(chain, page)
    text = page.read_text(encoding="utf-8")
    order = [
        text.index(f">{title}</h2>") for title in ("Particles and maps", "Mesh", "Training", "Reconstruction")
    ]
    assert order == sorted(order)
    assert not re.search(r'(src|href)="(?!data:|#)', text.replace('xmlns:xlink="', ""))
    assert "<script" not in text
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert text.count("data:image/png;base64,") >= 2
    assert text.count("<svg") == 12
    ids = re.findall(r' id="([^"]+)"', text)
    figures = [i for i in ids if re.fullmatch(r"[mp][0-9a-f]{10}", i)]
    assert len(figures) == len(set(figures))


def test_numbers_warnings_checks_and_parameters_are_told(chain, tmp_path):
    report(chain, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "3.1 Å" in text
    assert "12\u202f000" in text
    assert "Odd &lt;b&gt;." in text
    assert "hand flipped" in text
    assert "As read is right." in text
    assert "Cells across &lt;the box&gt;." in text
    assert text.count('<tr class="changed"><td>cells</td>') == 1


def test_each_part_has_its_resolutions_and_its_correlation(chain, tmp_path):
    report(chain, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = text[text.index("Resolution of the parts") :]
    table = table[: table.index("</table>")]
    numbers = '<td class="number">4.75</td><td class="number">8.25</td><td class="number">6</td>'
    assert f"<td>moving</td>{numbers}" in table
    assert table.index("<td>whole</td>") < table.index("<td>moving</td>") < table.index("<td>still</td>")
    assert "4.75 Å</b><span>resolution moving part, flexible</span>" in text  # a key figure
    assert "-81.5 Å²" in text
    assert "parts moving" not in text  # the table says it; no tiles


def test_a_reconstruction_without_parts_or_twin_has_no_table(chain, tmp_path):
    job = json.loads((chain / "job.json").read_text())
    job["summary"] = {"flex": {"fsc143_A": 3.1, "fsc05_A": 3.9}}
    (chain / "job.json").write_text(json.dumps(job))
    shells = np.arange(1, 33)
    table = np.column_stack([shells, shells / 128, np.exp(-shells / 9)])
    header = "shell,frequency,flex_corrected"
    np.savetxt(chain / "fsc.csv", table, delimiter=",", header=header, comments="")
    report(chain, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Resolution of the parts" not in text
    assert "3.1 Å" in text


def test_a_job_that_failed_or_still_runs_gets_its_page(tmp_path):
    job = Job.create(tmp_path / "train", "train", ToyParams())
    steps = job.drive(iter_then(Progress(1, 3, metrics={"epoch": 1, "loss": 1.0}), ValueError("Too soft.")))
    next(steps)
    report(tmp_path / "train", tmp_path / "a.html")
    assert "Training is running" in (tmp_path / "a.html").read_text()
    with pytest.raises(ValueError, match="Too soft"):
        next(steps)
    report(tmp_path / "train", tmp_path / "b.html")
    assert "Training failed.</b> Too soft." in (tmp_path / "b.html").read_text()


def iter_then(event, error):
    yield event
    raise error


def test_more_jobs_can_be_added(chain, tmp_path):
    series = make(tmp_path / "generate", "generate", train=tmp_path / "train")
    (series / "z1").mkdir()
    (series / "z1" / "movie.mp4").write_bytes(b"movie")
    report(chain, tmp_path / "report.html", also=[series])
    text = (tmp_path / "report.html").read_text()
    assert text.count(">Training</h2>") == 1
    assert text.index(">Series</h2>") < text.index(">Reconstruction</h2>")
    assert "data:video/mp4;base64," in text


def test_a_folder_that_is_no_job_is_refused(tmp_path):
    with pytest.raises(InputError, match="no job folder"):
        report(tmp_path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_training_that_goes_on_says_what_it_has_found_so_far(chain, tmp_path):
    job = json.loads((tmp_path / "train" / "job.json").read_text())
    (tmp_path / "train" / "warnings.txt").write_text("Nine mesh cells are <b>wrong</b>.\n")
    report(tmp_path / "train", tmp_path / "done.html")
    assert "Nine mesh cells" not in (tmp_path / "done.html").read_text()  # job.json has the last word
    (tmp_path / "train" / "job.json").write_text(json.dumps(job | {"state": "stopped"}))
    report(tmp_path / "train", tmp_path / "stopped.html")
    assert "Nine mesh cells are &lt;b&gt;wrong&lt;/b&gt;." in (tmp_path / "stopped.html").read_text()
