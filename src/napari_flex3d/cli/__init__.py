"""``flex3d``: one sub-command per stage, made from its parameters, and a few small ones.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped by the user.
"""

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_flex3d import __version__
from napari_flex3d.cli.arguments import add_params, metavar, params_from
from napari_flex3d.cli.screen import Screen, duration
from napari_flex3d.io.errors import InputError, InputWarning, sentence_of
from napari_flex3d.jobs import JobStopped, plain, read_job
from napari_flex3d.stages import STAGES, Stage, run

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``flex3d`` with these arguments and return the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = argparse.Namespace()
    with _signals(), _plain_warnings():
        try:
            _parser(chosen=next((a for a in argv if not a.startswith("-")), "")).parse_args(argv, arguments)
            command: Callable[[argparse.Namespace], int] = arguments.command
            return command(arguments)
        except SystemExit as end:  # argparse has said why
            return int(end.code or 0)
        except (KeyboardInterrupt, JobStopped):
            print(_stopped(arguments), file=sys.stderr)
            return STOPPED
        except Exception as error:
            if os.environ.get("FLEX3D_DEBUG") == "1":
                raise
            out = getattr(arguments, "out", None)
            where = f"{out / 'log.txt'} has the details" if out else "FLEX3D_DEBUG=1 shows the details"
            print(f"Error: {sentence_of(error, where)}", file=sys.stderr)
            return FAILED


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Parser of all commands; only the chosen stage is imported, so that help comes at once."""
    parser = argparse.ArgumentParser(
        prog="flex3d",
        description="Find how a protein moves from cryo-EM particles.",
        epilog="Every stage writes a job folder, which the next one takes: prep, mesh, train, then generate "
        "or reconstruct. flex3d COMMAND --help explains every parameter.",
    )
    parser.add_argument("--version", action="version", version=f"napari-flex3d {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for stage in STAGES:
        command = commands.add_parser(stage.name, help=stage.title, description=stage.title)
        if stage.name == chosen:
            _add_stage(command, stage)
    morph = commands.add_parser(
        "morph", help="Move an atomic model along the latents: one model per row of a table of latents."
    )
    _add_job(morph, "TRAIN_JOB", "A training job.")
    morph.add_argument("--model", type=Path, required=True, metavar="FILE", help="PDB or mmCIF file.")
    morph.add_argument("--at", type=Path, required=True, metavar="LATENTS.csv", help="Columns z1, z2, ...")
    morph.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="PDB or mmCIF file.")
    morph.set_defaults(command=_morph)
    select = commands.add_parser(
        "select", help="Choose particles of a training by a condition; all columns of the input are kept."
    )
    _add_job(select, "TRAIN_JOB", "A finished training job.")
    select.add_argument(
        "--where",
        required=True,
        metavar="CONDITION",
        help='Condition on the columns of latents.csv and the number columns of latents.star, such as "z1 > 0.5 and '
        'held_out == 0".',
    )
    select.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".star or .cs file.")
    select.add_argument("--json", action="store_true", help="Print the result summary as JSON.")
    select.set_defaults(command=_select)
    report = commands.add_parser(
        "report", help="Write one page with parameters, curves, pictures and warnings of a job."
    )
    _add_job(report, "JOB", "Any job; those it was made from are included.")
    report.add_argument("-o", "--out", type=Path, default=Path("report.html"), metavar="FILE.html")
    report.set_defaults(command=_report)
    plan = commands.add_parser(
        "plan",
        help="Predict time, memory and disk of the next stages on this machine, before anything starts.",
    )
    _add_job(plan, "JOB", "A prep, mesh or training job.")
    plan.add_argument("--latent-dims", type=int, default=2, metavar="N", help="Of the training (default 2).")
    plan.add_argument("--epochs", type=int, default=16, metavar="N", help="Of the training (default 16).")
    plan.add_argument("--json", action="store_true", help="Print the plan as JSON.")
    plan.set_defaults(command=_plan)
    view = commands.add_parser("view", help="Open napari, with a job if one is given.")
    _add_job(view, "JOB", "Any job, also a running one.", nargs="?")
    view.set_defaults(command=_view)
    demo = commands.add_parser("demo", help="Go the whole way on the bundled sample, then open napari.")
    demo.add_argument("-o", "--out", type=Path, default=Path("demo"), metavar="FOLDER", help="(default demo)")
    demo.add_argument("--headless", action="store_true", help="Do not open napari at the end.")
    demo.add_argument("--quiet", action="store_true", help="Show warnings only.")
    demo.set_defaults(command=_demo)
    return parser


def _add_job(parser: argparse.ArgumentParser, metavar: str, text: str, **more: Any) -> None:
    parser.add_argument("job", type=Path, metavar=metavar, help=text, **more)


def _add_stage(parser: argparse.ArgumentParser, stage: Stage) -> None:
    inputs = " ".join(metavar(info) for info in stage.params.describe() if info.positional)
    parser.usage = f"%(prog)s {inputs} [--PARAMETER VALUE ...] -o JOB"
    add_params(parser, stage.params)
    job = parser.add_argument_group("job")
    job.add_argument("-o", "--out", type=Path, required=True, metavar="JOB", help="Folder for the results.")
    job.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="Parameters from a TOML file, or from a job.json, which repeats that job. "
        "What is given on the command line wins.",
    )
    if stage.resumable:
        job.add_argument("--resume", action="store_true", help="Go on from what a stopped run left.")
    job.add_argument("--quiet", action="store_true", help="Show warnings only.")
    job.add_argument("--json", action="store_true", help="Print the result summary as JSON.")
    parser.set_defaults(command=lambda arguments: _run_stage(parser, stage, arguments))


def _run_stage(parser: argparse.ArgumentParser, stage: Stage, arguments: argparse.Namespace) -> int:
    try:
        params = params_from(vars(arguments), stage.name, stage.params)
    except InputError:
        raise
    except ValueError as error:
        parser.print_usage(sys.stderr)
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return USAGE
    resume = getattr(arguments, "resume", False)
    screen = Screen(quiet=arguments.quiet or arguments.json)
    summary = screen.follow(run(stage, params, arguments.out, resume=resume))
    if arguments.json:
        print(json.dumps(plain(summary), indent=1, ensure_ascii=False))
    elif not arguments.quiet:
        took = duration(read_job(arguments.out).record["seconds"])
        print(f"{stage.name} done in {took}: {arguments.out}")
        for name, value in plain(summary).items():
            if isinstance(value, int | float | str) and value != "":
                unit = " Å" if name.endswith("_A") else ""
                shown = f"{value:.4g}" if isinstance(value, float) else value
                print(f"  {name.removesuffix('_A').replace('_', ' ')}: {shown}{unit}")
    return DONE


def _morph(arguments: argparse.Namespace) -> int:
    from napari_flex3d.generate import morph

    morph(arguments.job, arguments.model, arguments.at, arguments.out)
    print(arguments.out)
    return DONE


def _select(arguments: argparse.Namespace) -> int:
    from napari_flex3d.select import select

    said = select(arguments.job, arguments.where, arguments.out)
    if arguments.json:
        print(json.dumps(said, indent=1, ensure_ascii=False))
    else:
        print(f"{said['kept']} of {said['of']} particles kept: {said['out']}")
        if "note" in said:
            print(said["note"])
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    from napari_flex3d.report import report

    report(arguments.job, arguments.out)
    print(arguments.out)
    return DONE


def _plan(arguments: argparse.Namespace) -> int:
    from napari_flex3d.planning import plan
    from napari_flex3d.room import in_words

    planned = plan(arguments.job, latent_dims=arguments.latent_dims, epochs=arguments.epochs)
    if arguments.json:
        print(json.dumps(plain(planned.to_record()), indent=1, ensure_ascii=False))
        return DONE
    print(f"{'stage':12s} {'time':>10s} {'memory':>10s} {'disk':>10s} {'GPU memory':>11s}")
    for stage in planned.stages:
        took = "-" if stage.seconds != stage.seconds else duration(stage.seconds)
        sizes = (
            f"{in_words(stage.memory):>10s} {in_words(stage.disk):>10s} {in_words(stage.device_memory):>11s}"
        )
        print(f"{stage.stage:12s} {took:>10s} {sizes}")
    for stage in planned.stages:
        if stage.refusal:
            print(f"{stage.stage} does not fit: it {stage.refusal}")
    print(f"Free here: {in_words(planned.memory)} of memory, {in_words(planned.disk)} of disk.")
    return DONE


def _view(arguments: argparse.Namespace) -> int:
    if arguments.job is not None:
        read_job(arguments.job)
    if not _napari_is_there():
        print('Error: napari is not installed: pip install "napari-flex3d[all]"', file=sys.stderr)
        return FAILED
    if not _has_display():
        print("Error: there is no display. flex3d report JOB writes a page instead.", file=sys.stderr)
        return FAILED
    from napari_flex3d.ui.view import view

    view(arguments.job)
    return DONE


def _demo(arguments: argparse.Namespace) -> int:
    from napari_flex3d.demo import demo

    page = Screen(quiet=arguments.quiet).follow(demo(arguments.out))
    print(f"Demo done. Its report: {page}")
    if arguments.headless or not (_has_display() and _napari_is_there()):
        return DONE
    from napari_flex3d.ui.view import view

    view(arguments.out / "train")
    return DONE


def _has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _napari_is_there() -> bool:
    bindings = ("PyQt6", "PySide6", "PyQt5")
    return bool(find_spec("napari")) and any(find_spec(name) for name in bindings)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C, so that a job killed by a scheduler is left resumable."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, InputWarning):
            print(f"Warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _stopped(arguments: argparse.Namespace) -> str:
    out = getattr(arguments, "out", None)
    if hasattr(arguments, "resume"):
        return f"Stopped. What was finished is in {out}; go on with the same command and --resume."
    return "Stopped."
