"""The stages in the order of the work, each a generator that drives its stage inside a job.

Importing this loads no stage: that happens when one is used.
"""

import importlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_flex3d.jobs import Job, read_job
from napari_flex3d.params import Params
from napari_flex3d.progress import Progress

Run = Generator[Progress, None, dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A stage: the module of its name holds its parameters and the generator function of its name.

    Parameters
    ----------
    name
        Its name: sub-command, module and generator function.
    title
        What it does, in a few words.
    resumable
        Whether a run that was stopped can go on from what it left.
    """

    name: str
    title: str
    resumable: bool = False

    @property
    def params(self) -> type[Params]:
        """Class of its parameters."""
        return getattr(self._module, f"{self.name.capitalize()}Params")

    @property
    def function(self) -> Callable[[Any, Path], Run]:
        """The generator function: parameters and the folder for the results."""
        return getattr(self._module, self.name)

    @property
    def _module(self) -> Any:
        return importlib.import_module(f"napari_flex3d.{self.name}")


STAGES = (
    Stage("prep", "Read particles, map and mask; check signs and hand; crop and down-sample."),
    Stage("mesh", "Build the tetrahedral mesh that carries the motion."),
    Stage("motions", "Look for motions in one pass before any training; train does it, too."),
    Stage("train", "Learn latents, motion and canonical map from the particles.", resumable=True),
    Stage("generate", "Write series of volumes and movies along the latents."),
    Stage("reconstruct", "Reconstruct half-maps at full resolution with the motion undone.", resumable=True),
)


def stage_named(name: str) -> Stage:
    """Stage with a name."""
    return {stage.name: stage for stage in STAGES}[name]


def run(stage: Stage, params: Params, out: Path, *, resume: bool = False) -> Run:
    """Drive a stage inside a job, step by step.

    Parameters
    ----------
    stage
        The stage.
    params
        Its parameters.
    out
        Folder of the job.
    resume
        Whether to go on from what a stopped run of the same job left.

    Raises
    ------
    InputError
        If the job cannot be made there, or an input is not what the stage needs.
    JobStopped
        If it is stopped by a file named ``stop`` in the folder.
    """
    for info in params.describe():
        if info.path == "job" and getattr(params, info.name) is not None:
            read_job(getattr(params, info.name), info.name, wanted_by=stage.name)
    params = params.completed()
    job = Job.create(Path(out), stage.name, params, resume=resume)
    return (yield from job.drive(stage.function(params, job.folder)))


def run_to_end(stage: Stage, params: Params, out: Path, *, resume: bool = False) -> Job:
    """Run a stage inside a job to its end and return the finished job."""
    for _ in run(stage, params, out, resume=resume):
        pass
    return read_job(Path(out))


def prep(params: Params, out: Path) -> Run:
    """Drive "prep" inside a job, step by step."""
    return run(stage_named("prep"), params, out)


def mesh(params: Params, out: Path) -> Run:
    """Drive "mesh" inside a job, step by step."""
    return run(stage_named("mesh"), params, out)


def motions(params: Params, out: Path) -> Run:
    """Drive "motions" inside a job, step by step."""
    return run(stage_named("motions"), params, out)


def train(params: Params, out: Path, *, resume: bool = False) -> Run:
    """Drive "train" inside a job, step by step."""
    return run(stage_named("train"), params, out, resume=resume)


def generate(params: Params, out: Path) -> Run:
    """Drive "generate" inside a job, step by step."""
    return run(stage_named("generate"), params, out)


def reconstruct(params: Params, out: Path, *, resume: bool = False) -> Run:
    """Drive "reconstruct" inside a job, step by step."""
    return run(stage_named("reconstruct"), params, out, resume=resume)


def prepare(params: Params, out: Path) -> Job:
    """Run "prep" to its end."""
    return run_to_end(stage_named("prep"), params, out)


def build_mesh(params: Params, out: Path) -> Job:
    """Run "mesh" to its end."""
    return run_to_end(stage_named("mesh"), params, out)


def look_for_motions(params: Params, out: Path) -> Job:
    """Run "motions" to its end."""
    return run_to_end(stage_named("motions"), params, out)


def train_model(params: Params, out: Path, *, resume: bool = False) -> Job:
    """Run "train" to its end."""
    return run_to_end(stage_named("train"), params, out, resume=resume)


def generate_series(params: Params, out: Path) -> Job:
    """Run "generate" to its end."""
    return run_to_end(stage_named("generate"), params, out)


def reconstruct_maps(params: Params, out: Path, *, resume: bool = False) -> Job:
    """Run "reconstruct" to its end."""
    return run_to_end(stage_named("reconstruct"), params, out, resume=resume)
