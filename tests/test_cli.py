import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from napari_flex3d import cli
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.jobs import read_job
from napari_flex3d.params import REQUIRED, AutoFloat, Params, param
from napari_flex3d.progress import Progress
from napari_flex3d.stages import STAGES, Stage


@dataclass(frozen=True, kw_only=True)
class ToyParams(Params):
    particles: Path = param(REQUIRED, "Particles, 100% of them.", positional=True, path="file")
    cells: int = param(20, "Cells.", low=2, high=80, unit="cells", cryosparc="tetra_num_cells")
    rigidity: AutoFloat = param(2.0, "Strength.", low=0)
    sign: Literal["auto", "bright"] = param("auto", "Sign.")
    passthrough: tuple[Path, ...] = param((), "Files.", path="file")
    rigid_twin: bool = param(True, "Twin.", advanced=True)
    fault: str = param("", "How to fail.")


FAULTS = {
    "input": InputError("in.star line 3: short."),
    "question": Question("No voltage.", "--voltage"),
    "bug": ZeroDivisionError("division"),
    "disk": OSError(28, "No space left on device", "map.mrc"),
    "memory": MemoryError(),
    "interrupt": KeyboardInterrupt(),
}


def toy(params, out):
    yield Progress(0, 2, "Reading")
    warnings.warn("No half sets.", InputWarning, stacklevel=1)
    if params.fault == "stop":
        (out / "stop").touch()
    elif params.fault:
        raise FAULTS[params.fault]
    yield Progress(2, 2, "Writing", {"epoch": 1})
    return {"resolution_A": 3.25, "particles": 10}


@dataclass(frozen=True)
class Toy(Stage):
    params: type[Params] = ToyParams
    function: object = toy


@pytest.fixture(autouse=True)
def toy_stage(monkeypatch):
    monkeypatch.setattr(cli, "STAGES", (Toy("toy", "A toy.", resumable=True), *STAGES))
    monkeypatch.delenv("FLEX3D_DEBUG", raising=False)


@pytest.fixture
def flex3d(tmp_path, monkeypatch, capfd):
    """Run flex3d in a fresh folder; gives status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("in.star").touch()

    def call(line):
        status = cli.main(line.split())
        return status, *capfd.readouterr()

    return call


def test_a_stage_runs_with_the_parameters_given(flex3d):
    status, out, err = flex3d(
        "toy in.star --cells 30 --rigidity auto --sign bright --no-rigid-twin --passthrough a.cs b.cs -o job"
    )
    assert status == 0
    params = read_job(Path("job")).record["params"]
    assert params == {
        "particles": "in.star",
        "cells": 30,
        "rigidity": "auto",
        "sign": "bright",
        "passthrough": ["a.cs", "b.cs"],
        "rigid_twin": False,
        "fault": "",
    }
    assert "toy done" in out
    assert "resolution: 3.25 Å" in out
    assert err.splitlines() == ["Reading", "Warning: No half sets.", "Writing"]


def test_quiet_shows_warnings_only_and_json_the_summary_only(flex3d):
    assert flex3d("toy in.star -o a --quiet") == (0, "", "Warning: No half sets.\n")
    _status, out, _err = flex3d("toy in.star -o b --json")
    assert json.loads(out) == {"resolution_A": 3.25, "particles": 10}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("toy -o job", "missing: PARTICLES"),
        ("toy in.star", "-o/--out"),
        ("toy in.star --cells 1 -o job", "cells = 1: must be 2 to 80"),
        ("toy in.star --cells many -o job", 'cells = "many"'),
        ("toy in.star --sign dark -o job", "sign = dark: must be auto or bright"),
        ("toy in.star --colour red -o job", "--colour"),
        ("toi in.star -o job", "toi"),
        ("", "COMMAND"),
    ],
)
def test_wrong_usage_is_status_2_with_a_message(flex3d, line, message):
    status, _out, err = flex3d(line)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert not Path("job").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("input", "Error: in.star line 3: short.\n"),
        ("question", "Error: No voltage. Answer with --voltage.\n"),
        ("bug", "fault of the program"),
        ("disk", "Error: map.mrc: No space left on device\n"),
        ("memory", "Out of memory"),
    ],
)
def test_a_failure_is_status_1_with_one_message(flex3d, fault, message):
    status, _out, err = flex3d(f"toy in.star --fault {fault} -o job --quiet")
    assert status == 1
    assert message in err
    assert "Traceback" not in err
    assert read_job(Path("job")).state == "failed"


def test_debug_shows_the_traceback(flex3d, monkeypatch):
    monkeypatch.setenv("FLEX3D_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        flex3d("toy in.star --fault bug -o job")


@pytest.mark.parametrize("fault", ["interrupt", "stop"])
def test_a_stop_is_status_130_and_says_how_to_go_on(flex3d, fault):
    status, _out, err = flex3d(f"toy in.star --fault {fault} -o job")
    assert status == 130
    assert "--resume" in err
    assert read_job(Path("job")).state == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent in another way")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_job(tmp_path, number):
    script = """
        import signal, sys, time
        from dataclasses import dataclass
        from napari_flex3d import cli
        from napari_flex3d.params import Params
        from napari_flex3d.progress import Progress
        from napari_flex3d.stages import Stage

        # what a shell runs in the background, these tests perhaps, inherits an ignored SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def toy(params, out):
            for i in range(10_000):
                yield Progress(i, 10_000, "Ready")
                time.sleep(0.01)

        @dataclass(frozen=True)
        class Toy(Stage):
            params: type[Params] = Params
            function: object = toy

        cli.STAGES = (Toy("toy", "A toy."),)
        sys.exit(cli.main(["toy", "-o", sys.argv[1]]))
    """
    job = tmp_path / "job"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(job)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stderr.readline() == "Ready\n"
        os.kill(child.pid, number)
        _, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130
    assert err == "Stopped.\n"
    assert json.loads((job / "job.json").read_text())["state"] == "stopped"


def test_parameters_from_toml_with_the_command_line_winning(flex3d):
    Path("conf").mkdir()
    Path("conf/in.star").touch()
    Path("conf/all.toml").write_text(
        '[toy]\nparticles = "in.star"\ncells = 30\nrigid-twin = false\n[mesh]\ncells = 9\n'
    )
    assert flex3d("toy --config conf/all.toml --cells 40 -o job")[0] == 0
    params = read_job(Path("job")).record["params"]
    assert params["cells"] == 40
    assert params["rigid_twin"] is False
    assert Path(params["particles"]).resolve() == Path("conf/in.star").resolve()


def test_a_job_is_repeated_from_its_record(flex3d, monkeypatch):
    assert flex3d("toy in.star --cells 30 -o a")[0] == 0
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert flex3d("toy --config ../a/job.json -o b")[0] == 0
    assert read_job(Path("b")).params == read_job(Path("../a")).params
    status, _, err = flex3d("mesh --config ../a/job.json -o c")
    assert status == 1
    assert "is of a toy job; mesh needs" in err


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("cells = ", 1, "is no TOML file"),
        ("colour = 1", 2, "no parameter colour"),
        ("cells = 1", 2, "cells = 1: must be"),
        (None, 1, "does not exist"),
    ],
)
def test_a_bad_config_is_refused_in_words(flex3d, text, status, message):
    if text is not None:
        Path("c.toml").write_text(text)
    found, _, err = flex3d("toy in.star --config c.toml -o job")
    assert found == status
    assert message in err


def test_help_names_default_unit_range_and_cryosparc(flex3d, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = flex3d("toy --help")
    assert status == 0
    assert "Cells. (default 20 cells; 2 to 80 cells; CryoSPARC: tetra_num_cells)" in out
    assert "100% of them" in out
    assert "--rigid-twin, --no-rigid-twin" in out
    assert out.index("advanced parameters") < out.rindex("--no-rigid-twin")


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.name)
def test_every_stage_has_help(flex3d, stage):
    status, out, _ = flex3d(f"{stage.name} --help")
    assert status == 0
    for info in stage.params.describe():
        assert (info.name if info.positional else info.flag) in out.replace(
            "_JOB", ""
        ).lower() or info.positional


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from napari_flex3d.cli import main; main(['--help']);"
        "print([m for m in sys.modules if m in ('torch', 'numpy', 'scipy', 'qtpy')], file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.strip() == "[]"
    for stage in STAGES:
        assert stage.name in run.stdout


def test_resume_reaches_the_job(flex3d):
    flex3d("toy in.star -o job")
    Path("job/latest").write_text("checkpoint-001")
    status, _, err = flex3d("toy in.star -o job")
    assert status == 1
    assert "--resume" in err
    assert flex3d("toy in.star --cells 40 -o job --resume")[0] == 0


def test_view_without_napari_says_what_to_install(flex3d, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    status, _, err = flex3d("view")
    assert status == 1
    assert err == 'Error: napari is not installed: pip install "napari-flex3d[all]"\n'


@pytest.mark.skipif(sys.platform != "linux", reason="there is always a display")
def test_view_without_a_display_says_so(flex3d, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cli, "find_spec", lambda name: True)
    status, _, err = flex3d("view")
    assert status == 1
    assert err == "Error: there is no display. flex3d report JOB writes a page instead.\n"


def test_commands_that_need_a_job_say_when_there_is_none(flex3d):
    for line in ("view nowhere", "report nowhere"):
        status, _, err = flex3d(line)
        assert status == 1
        assert "nowhere does not exist" in err
