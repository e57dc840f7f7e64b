"""The whole way on the bundled sample: made particles, the five stages, the report."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic
from napari_flex3d.jobs import read_job
from napari_flex3d.params import Params
from napari_flex3d.progress import Progress
from napari_flex3d.report import report
from napari_flex3d.stages import Stage, run, stage_named

SAMPLE: dict[str, Any] = {"particles": 3000, "box": 64, "pixel_size": 3.0, "snr": 0.1, "seed": 0}
"""The sample: a protein of two domains that swings about a hinge."""

PARAMS: dict[str, dict[str, Any]] = {
    "prep": {},
    "mesh": {},
    "train": {"latent_dims": 1, "epochs": 8},
    "generate": {"frames": 21},
    "reconstruct": {"max_iterations": 8},
}
"""Parameters of the stages that are not the default, so that it all takes a few minutes on two cores."""


def demo(folder: Path) -> Generator[Progress, None, Path]:
    """Go the whole way; what an earlier run finished with the same parameters is used again.

    Parameters
    ----------
    folder
        Where everything goes: ``sample/``, a folder per stage, ``report.html``.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        If the folder holds something that is not of a demo.
    """
    folder = Path(folder)
    yield from _sample(folder / "sample")
    inputs: dict[str, dict[str, Path]] = {
        "prep": {
            "particles": folder / "sample" / "particles.star",
            "map": folder / "sample" / "map.mrc",
            "mask": folder / "sample" / "mask.mrc",
        },
        "mesh": {"prep": folder / "prep"},
        "train": {"mesh": folder / "mesh"},
        "generate": {"train": folder / "train"},
        "reconstruct": {"train": folder / "train"},
    }
    for number, name in enumerate(PARAMS, 1):
        stage = stage_named(name)
        params = stage.params(**inputs[name], **PARAMS[name])
        yield from _stage(stage, params, folder / name, f"{number} of {len(PARAMS)}, {name}")
    yield Progress(1, 1, _compared_with_truth(folder))
    page = folder / "report.html"
    report(folder / "reconstruct", page, also=[folder / "generate"])
    return page


def _sample(folder: Path) -> Generator[Progress, None, None]:
    from napari_flex3d.synthetic import write_sample

    made = folder / "sample.json"
    if made.exists() and json.loads(made.read_text()) == SAMPLE:
        yield Progress(1, 1, "Sample: there already")
        return
    yield Progress(0, 1, f"Sample: making {SAMPLE['particles']} particles")
    write_sample(folder, **SAMPLE)
    with atomic(made) as path:
        path.write_text(json.dumps(SAMPLE))


def _stage(stage: Stage, params: Params, out: Path, title: str) -> Generator[Progress, None, None]:
    """Run a stage unless it is done; go on with a stopped training; start over what was made otherwise."""
    resume = False
    if (out / "job.json").exists():
        job = read_job(out)
        same = job.is_same_job(stage.name, params)
        if same and job.state == "done":
            yield Progress(1, 1, f"{title}: done already, {out} is used again")
            return
        if job.state == "running":
            raise InputError(f"{out} is running. Wait for it, or give another folder.")
        resume = same and stage.resumable
        if not resume:
            shutil.rmtree(out)
    yield Progress(0, 1, f"{title}{': going on' if resume else ''}")
    yield from run(stage, params, out, resume=resume)


def _compared_with_truth(folder: Path) -> str:
    """Say how well the latents follow the true motion, which is known because the sample is made."""
    import numpy as np
    from scipy.stats import spearmanr

    table = np.genfromtxt(folder / "train" / "latents.csv", delimiter=",", names=True)
    with np.load(folder / "sample" / "truth.npz") as truth:
        state = truth["state"][table["particle"].astype(int)]
    names = [n for n in table.dtype.names or () if n[0] == "z" and n[1:].isdigit()]
    best = max(abs(float(spearmanr(table[name], state).statistic)) for name in names)
    return f"The latents follow the true hinge angle: Spearman correlation {best:.3f}"
