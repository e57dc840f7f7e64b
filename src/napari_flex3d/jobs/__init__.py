"""A job: the folder that holds all a stage was given and all it made, and the only writer in it."""

from pathlib import Path

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs.job import Job, JobStopped
from napari_flex3d.jobs.metrics import read_metrics
from napari_flex3d.jobs.record import place_of, plain, record_of

__all__ = ["Job", "JobStopped", "input_of", "plain", "read_job", "read_metrics"]


def read_job(folder: Path, stage: str | None = None, *, wanted_by: str = "") -> Job:
    """Job in a folder.

    Parameters
    ----------
    folder
        The job's folder.
    stage
        The stage it must be of and have finished; any when None. A training will do once it has a checkpoint.
    wanted_by
        Name of the stage that needs it, for the messages.

    Raises
    ------
    InputError
        If there is no job, or not the wanted one.
    """
    record = record_of(folder)
    whose = (
        f"{wanted_by} needs a {stage} job" if wanted_by and stage else f"a {stage or 'job'} folder is needed"
    )
    first = f"Run flex3d {stage} first" if stage else "Give the folder that a stage wrote"
    if record is None:
        found = "is no job folder: it has no job.json" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {found}; {whose}. {first}.")
    job = Job(folder, record)
    if stage is not None and job.stage != stage:
        raise InputError(f"{folder} is a {job.stage} job; {whose}. {first}.")
    if stage is not None and job.state != "done" and not (folder / "latest").exists():
        what = {
            "running": "is still running. Wait until it is done",
            "failed": f"failed: {record.get('error', 'see its log.txt')} Run it again",
            "stopped": "was stopped before its end. Run it again",
        }[job.state]
        raise InputError(f"{folder} {what}; {whose} that is done.")
    return job


def input_of(job: Path, name: str) -> Path:
    """Where an input of a job lies now, absolute: ``input_of(train_job, "mesh")`` is the mesh job.

    Raises
    ------
    InputError
        If the job has no such input, or it is gone.
    """
    inputs = read_job(job).record.get("inputs", {})
    if not isinstance(inputs.get(name), str):
        raise InputError(f"{job} has no input {name}; it has {', '.join(inputs) or 'none'}.")
    place = place_of(job, inputs[name])
    if not place.exists():
        raise InputError(
            f"{job} was made from {name} = {place}, which is gone. Keep the folders of a project together."
        )
    return place
