import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.jobs import Job, JobStopped, input_of, plain, read_job, read_metrics
from napari_flex3d.jobs.metrics import Metrics
from napari_flex3d.params import REQUIRED, Params, param
from napari_flex3d.progress import Progress


@dataclass(frozen=True, kw_only=True)
class ToyParams(Params):
    particles: Path = param(REQUIRED, "Input.", positional=True, path="file")
    prep: Path | None = param(None, "Job.", path="job")
    epochs: int = param(3, "Epochs.", low=0)
    seed: int = param(7, "Seed.")


def steps(first=1, last=3, **summary):
    for epoch in range(first, last + 1):
        yield Progress(epoch, last, f"Epoch {epoch}", {"epoch": epoch, "loss": 1 / epoch})
    return summary


def run(job, generator):
    events = list(job.drive(generator))
    return events


@pytest.fixture
def params(tmp_path):
    (tmp_path / "in.star").write_text("data_\n")
    return ToyParams(particles=tmp_path / "in.star")


@pytest.fixture
def job(tmp_path, params):
    return Job.create(tmp_path / "job", "train", params)


def record(job):
    return json.loads((job.folder / "job.json").read_text())


def test_a_finished_job_says_all_it_was_given_and_made(job, params):
    events = run(job, steps(resolution_A=np.float32(3.5), halves=np.arange(2), bad=float("nan")))
    assert [e.step for e in events] == [1, 2, 3]
    found = record(job)
    assert found["state"] == "done"
    assert found["params"] == params.to_record()
    assert found["inputs"] == {"particles": "../in.star"}
    assert len(found["sha256"]["../in.star"]) == 64
    assert found["seed"] == 7
    assert found["summary"] == {"resolution_A": 3.5, "halves": [0, 1], "bad": None}
    assert (job.folder / "metrics.csv").read_text().splitlines()[:2] == ["epoch,loss", "1,1.0"]
    assert "Epoch 2" in (job.folder / "log.txt").read_text()
    assert read_job(job.folder, "train").summary["halves"] == [0, 1]


def test_the_record_is_there_while_the_job_runs(job):
    generator = job.drive(steps())
    next(generator)
    assert record(job)["state"] == "running"
    assert read_job(job.folder).state == "running"
    generator.close()


def test_closing_stops_the_job_after_the_stage_has_cleaned_up(job):
    states = []

    def stage():
        try:
            yield Progress(1, 2)
        finally:
            states.append(record(job)["state"])

    generator = job.drive(stage())
    next(generator)
    generator.close()
    assert states == ["running"]
    assert record(job)["state"] == "stopped"


def test_a_file_named_stop_stops_the_job(job):
    generator = job.drive(steps())
    next(generator)
    (job.folder / "stop").touch()
    with pytest.raises(JobStopped):
        next(generator)
    assert record(job)["state"] == "stopped"
    assert [e.step for e in run(Job.create(job.folder, "train", ToyParams.from_record(job.params)), steps())]


def test_an_error_is_stored_in_words_and_raised(job):
    def stage():
        yield Progress(0, 1)
        raise InputError("in.star line 7: short.")

    with pytest.raises(InputError, match="line 7"):
        run(job, stage())
    assert record(job)["state"] == "failed"
    assert record(job)["error"] == "in.star line 7: short."
    assert "Traceback" not in (job.folder / "log.txt").read_text()
    with pytest.raises(InputError, match="line 7: short"):
        read_job(job.folder, "train", wanted_by="generate")


def test_a_fault_of_the_program_leaves_its_traceback_in_the_log(job):
    def stage():
        yield Progress(0, 1)
        raise IndexError("oops")

    with pytest.raises(IndexError):
        run(job, stage())
    assert "Traceback" in (job.folder / "log.txt").read_text()


def test_warnings_are_reported_once_and_kept(job):
    def stage():
        for i in range(3):
            warnings.warn("No half sets.", InputWarning, stacklevel=1)
            warnings.warn("for programmers", DeprecationWarning, stacklevel=1)
            yield Progress(i, 3)

    messages = [e.message for e in run(job, stage())]
    assert messages.count("Warning: No half sets.") == 1
    assert not any("programmers" in m for m in messages)
    assert record(job)["warnings"] == ["No half sets."]
    log = (job.folder / "log.txt").read_text()
    assert "Warning: No half sets." in log
    assert "programmers" in log


def test_the_last_warnings_before_an_error_are_kept(job):
    def stage():
        warnings.warn("Odd.", InputWarning, stacklevel=1)
        raise InputError("Broken.")
        yield

    with pytest.raises(InputError):
        run(job, stage())
    assert record(job)["warnings"] == ["Odd."]


def test_a_resumed_run_replaces_rows_after_the_point_of_restart(job, params):
    generator = job.drive(steps(1, 9))
    for _ in range(5):
        next(generator)
    generator.close()
    again = Job.create(job.folder, "train", params, resume=True)
    run(again, steps(4, 6))
    assert read_metrics(job.folder)["epoch"] == [1, 2, 3, 4, 5, 6]
    run(Job.create(job.folder, "train", params), steps(1, 2))
    assert read_metrics(job.folder)["epoch"] == [1, 2]


def test_rows_with_an_equal_first_column_are_all_kept_within_a_run(tmp_path):
    metrics = Metrics(tmp_path / "metrics.csv")
    for half in (0, 1):
        for iteration in (1, 2):
            metrics.add({"half": half, "iteration": iteration})
    assert read_metrics(tmp_path) == {"half": [0, 0, 1, 1], "iteration": [1, 2, 1, 2]}


def test_new_columns_widen_the_table_and_half_a_row_is_ignored(tmp_path):
    metrics = Metrics(tmp_path / "metrics.csv")
    metrics.add({"epoch": 1})
    metrics.add({"epoch": 2, "loss": 0.1})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3,0.")
    table = read_metrics(tmp_path)
    assert table["epoch"] == [1, 2]
    assert np.isnan(table["loss"][0])
    resumed = Metrics(tmp_path / "metrics.csv", keep=True)
    resumed.add({"epoch": 3, "loss": 0.5})
    assert read_metrics(tmp_path)["loss"][1:] == [0.1, 0.5]


def test_a_folder_with_something_else_is_refused(tmp_path, params):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty and is no job"):
        Job.create(tmp_path / "full", "train", params)
    run(Job.create(tmp_path / "job", "train", params), steps())
    with pytest.raises(InputError, match=r"holds a train job\. Give another folder for mesh"):
        Job.create(tmp_path / "job", "mesh", params)
    with pytest.raises(InputError, match=r"other parameters \(epochs\)"):
        Job.create(tmp_path / "job", "train", ToyParams(particles=params.particles, epochs=9))
    (tmp_path / "job" / "latest").write_text("checkpoint-003")
    with pytest.raises(InputError, match="Resume it"):
        Job.create(tmp_path / "job", "train", params)
    Job.create(tmp_path / "job", "train", ToyParams(particles=params.particles, epochs=9), resume=True)


def test_a_running_job_is_not_taken_up(job, params):
    generator = job.drive(steps())
    next(generator)
    with pytest.raises(InputError, match=f"process {os.getpid()}"):
        Job.create(job.folder, "train", params, resume=True)
    generator.close()


def test_a_killed_job_reads_as_stopped(job):
    run(job, steps())
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    (job.folder / "job.json").write_text(json.dumps(record(job) | {"state": "running", "pid": child.pid}))
    assert read_job(job.folder).state == "stopped"
    (job.folder / "job.json").write_text(json.dumps(record(job) | {"pid": os.getpid(), "pid_started": 1}))
    assert read_job(job.folder).state == ("stopped" if sys.platform == "linux" else "running")
    (job.folder / "job.json").write_text(json.dumps(record(job) | {"host": "elsewhere"}))
    assert read_job(job.folder).state == "running"


def test_inputs_are_found_from_the_job_also_after_moving_the_project(tmp_path, params):
    project = tmp_path / "project"
    project.mkdir()
    prep = Job.create(project / "prep", "prep", params)
    run(prep, steps())
    own = ToyParams(particles=params.particles, prep=prep.folder)
    run(Job.create(project / "train", "train", own), steps())
    project.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert input_of(moved / "train", "prep") == moved / "prep"
    assert read_job(moved / "train").params["prep"] == str(moved / "prep")
    with pytest.raises(InputError, match="has no input map; it has particles, prep"):
        input_of(moved / "train", "map")
    (moved / "prep").rename(tmp_path / "away")
    with pytest.raises(InputError, match="which is gone"):
        input_of(moved / "train", "prep")


def test_a_relative_path_means_the_same_from_anywhere(tmp_path, params, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(Job.create(Path("a/job"), "train", ToyParams(particles="in.star")), steps())
    monkeypatch.chdir(tmp_path / "a")
    assert input_of(Path("job"), "particles") == tmp_path / "in.star"


def test_the_same_job_is_recognised_until_an_input_changes(job, params, tmp_path):
    run(job, steps())
    done = read_job(job.folder)
    assert done.is_same_job("train", params)
    assert not done.is_same_job("train", ToyParams(particles=params.particles, epochs=4))
    assert not done.is_same_job("mesh", params)
    (tmp_path / "in.star").write_text("data_other\n")
    assert not done.is_same_job("train", params)


def test_the_wrong_job_is_refused_with_what_to_do(tmp_path, job):
    run(job, steps())
    with pytest.raises(InputError, match=r"is a train job; train needs a mesh job\. Run flex3d mesh first"):
        read_job(job.folder, "mesh", wanted_by="train")
    with pytest.raises(InputError, match="does not exist"):
        read_job(tmp_path / "none")
    with pytest.raises(InputError, match=r"no job\.json"):
        read_job(tmp_path)
    (job.folder / "job.json").write_text('{"stage": "tra')
    with pytest.raises(InputError, match="cannot be read"):
        read_job(job.folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "what no stage wrote"),
        ('{"stage": "train"}', "what no stage wrote"),
        ('{"stage": "train", "state": "done", "params": {}, "inputs": 3}', "a damaged inputs"),
        ("\x00\x01", "cannot be read"),
    ],
)
def test_a_record_that_is_damaged_is_told(tmp_path, text, words):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_job(tmp_path)


def test_a_stopped_training_is_good_enough_once_it_has_a_checkpoint(job):
    generator = job.drive(steps())
    next(generator)
    generator.close()
    with pytest.raises(InputError, match="stopped before its end"):
        read_job(job.folder, "train", wanted_by="generate")
    (job.folder / "latest").write_text("checkpoint-001")
    assert read_job(job.folder, "train", wanted_by="generate").state == "stopped"


def test_a_failing_disk_does_not_hide_the_error(job, monkeypatch):
    def stage():
        yield Progress(0, 1)
        monkeypatch.setattr(Job, "_write", no_space)
        raise InputError("The first fault.")

    def no_space(self):
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="first fault"):
        run(job, stage())


def test_plain_data():
    assert plain({"a": (np.float64(1.5), np.inf, Path("x")), 2: np.bool_(True)}) == {
        "a": [1.5, None, "x"],
        "2": True,
    }


def test_a_failed_job_may_be_tried_again_with_other_parameters(job, params, tmp_path):
    def failing():
        yield Progress(0, 1)
        raise InputError("in.star row 3: no number")

    with pytest.raises(InputError):
        run(job, failing())
    again = Job.create(job.folder, "train", ToyParams(particles=params.particles, epochs=5))
    run(again, steps())
    assert record(again)["state"] == "done"
    with pytest.raises(InputError, match="with other parameters"):
        Job.create(job.folder, "train", params)
