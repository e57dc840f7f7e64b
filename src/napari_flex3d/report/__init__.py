"""One self-contained page about a job and all jobs that it was made from."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from napari_flex3d import __version__
from napari_flex3d.io.files import atomic
from napari_flex3d.jobs import Job, read_job, read_metrics
from napari_flex3d.report import figures, page
from napari_flex3d.resolutions import CRITERIA, KINDS, PLAIN, WHOLE, by_part, curve_names
from napari_flex3d.stages import STAGES

TITLES = {
    "prep": "Particles and maps",
    "mesh": "Mesh",
    "motions": "Motions before any training",
    "train": "Training",
    "generate": "Series",
    "reconstruct": "Reconstruction",
}

DRAWN = {
    "prep": {"check.json": "check.png"},
    "train": {"metrics.csv": "loss.png", "latents.csv": "latents.png"},
    "reconstruct": {"fsc.csv": "fsc.png"},
}
"""Pictures that the page draws itself from a table when the table is there."""

CAPTIONS = {
    "check.png": "Particles above the projection of the map in the pose of each.",
    "mesh.png": "The mesh over the map.",
    "motions.png": "Motions found before any training, against what noise alone makes; green ones are supported.",
    "rigidity.png": "Strengths of rigidity that were tried, judged by particles that were not trained on.",
    "agreement.png": "How much the motions learned from each half-set alone differ, against how far the density moves.",
}

PICTURES, MOVIES, LARGEST = 12, 3, 6_000_000
"""Most pictures and movies of a job on the page, and the largest one in bytes."""


def report(job: Path, out: Path, *, also: Sequence[Path] = ()) -> None:
    """Write the page.

    Parameters
    ----------
    job
        Folder of the job.
    out
        The HTML file; it needs no other file.
    also
        Folders of further jobs to show.

    Raises
    ------
    InputError
        If a folder holds no job.
    """
    chain = _chain([Path(job), *map(Path, also)])
    title = f"{Path(job).resolve().name} · flexible refinement"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">napari-flex3d {__version__} · {escape(chain[-1].record["created"])}</p>',
        _links(chain),
        page.tiles(_key_figures(chain), key=True),
        *_alerts(chain),
    ]
    for one in chain:
        body += _section(one)
    body.append(
        '<footer class="soft">Lengths in Å. Every number here can be found in the job folders.</footer>'
    )
    with atomic(Path(out)) as path:
        path.write_text(page.document(title, body), encoding="utf-8")


def _chain(folders: list[Path]) -> list[Job]:
    """Give the jobs and those they were made from, each after its inputs."""
    found: dict[Path, Job] = {}

    def visit(folder: Path) -> None:
        folder = folder.resolve()
        if folder in found:
            return
        job = read_job(folder)
        for name in job.record.get("inputs", {}):
            place = job.params[name]
            if name in TITLES and isinstance(place, str) and (Path(place) / "job.json").exists():
                visit(Path(place))
        found[folder] = job

    for folder in folders:
        visit(folder)
    order = list(TITLES)
    return sorted(found.values(), key=lambda j: order.index(j.stage) if j.stage in order else len(order))


def _links(chain: list[Job]) -> str:
    mark = {"done": '<span class="good">done</span>', "failed": '<span class="bad">failed</span>'}
    items = "".join(
        f'<li><a href="#{_anchor(j)}">{escape(TITLES.get(j.stage, j.stage))} · '
        f"{mark.get(j.state, f'<span class=open>{j.state}</span>')}</a></li>"
        for j in chain
    )
    return f'<ul class="chain">{items}</ul>'


def _anchor(job: Job) -> str:
    return escape(f"{job.stage}-{job.folder.name}", quote=True)


def _key_figures(chain: list[Job]) -> dict[str, Any]:
    """Find the few numbers that say how it went."""
    found: dict[str, Any] = {}
    for job in chain:
        facts = page.flat(job.summary)
        if job.stage == "prep" and "particles" in facts:
            found["particles"] = facts["particles"]
        if job.stage == "train":
            found |= {"motion found": facts["motion_found"]} if "motion_found" in facts else {}
            metrics = read_metrics(job.folder)
            for name, words in (
                ("displacement_rms", "rms motion_A"),
                ("displacement_max", "largest motion_A"),
            ):
                if metrics.get(name):
                    found[words] = metrics[name][-1]
        if job.stage == "reconstruct":
            for part, kinds in by_part(job.summary).items():
                if part in (WHOLE, "moving"):
                    where = "" if part == WHOLE else f" {part} part"
                    found |= {f"resolution{where}, {KINDS[k]}_A": v["fsc143_A"] for k, v in kinds.items()}
    return found


def _alerts(chain: list[Job]) -> Iterator[str]:
    for job in chain:
        name = escape(TITLES.get(job.stage, job.stage))
        if job.state == "failed":
            yield f'<p class="fault"><b>{name} failed.</b> {escape(str(job.record.get("error", "")))}</p>'
        elif job.state != "done":
            yield f'<p class="fault"><b>{name} is {job.state}.</b> What it has so far is shown.</p>'
        for text in job.warnings or _live_warnings(job):
            yield f'<p class="warning"><b>{name}:</b> {escape(text)}</p>'
    if not any(job.warnings or _live_warnings(job) for job in chain):
        yield '<p class="soft">No warnings.</p>'


def _live_warnings(job: Job) -> list[str]:
    """What a training that goes on, or was stopped, has to say so far."""
    path = job.folder / "warnings.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() and job.state != "done" else []


def _section(job: Job) -> Iterator[str]:
    yield f'<h2 id="{_anchor(job)}">{escape(TITLES.get(job.stage, job.stage))}</h2>'
    yield (
        f'<p class="soft">{escape(job.folder.name)}/ · {escape(str(job.record.get("started", "")))} · '
        f"{job.record.get('seconds', 0):.0f} s · version {escape(str(job.record['version']))}</p>"
    )
    yield page.tiles(page.flat(_without_parts(job.summary)))
    if job.stage == "reconstruct":
        yield _resolutions(job.summary)
    if (job.folder / "check.json").exists():
        yield from _self_check(json.loads((job.folder / "check.json").read_text(encoding="utf-8")))
    drawn = [f for f in _curves(job) if f]
    if drawn:
        yield f'<div class="figures">{"".join(drawn)}</div>'
    if (job.folder / "agreement.txt").exists():
        words = (job.folder / "agreement.txt").read_text(encoding="utf-8")
        yield f'<p class="verdict">{escape(words)}</p>'
    yield from _pictures(job)
    yield _params(job)


def _without_parts(summary: dict[str, Any]) -> dict[str, Any]:
    """Leave out the resolutions of the parts and without correction, which stand in a table."""
    tabled = {"parts", *PLAIN}
    return {
        name: {n: v for n, v in thing.items() if n not in tabled} if isinstance(thing, dict) else thing
        for name, thing in summary.items()
    }


def _resolutions(summary: dict[str, Any]) -> str:
    """Tabulate the resolutions by part, flexible against rigid."""
    parts = by_part(summary)
    if set(parts) <= {WHOLE}:
        return ""
    columns = [(criterion, kind) for criterion in CRITERIA for kind in parts[WHOLE]]
    head = ["part", *(f"{CRITERIA[criterion]}, {KINDS[kind]} (Å)" for criterion, kind in columns)]
    rows = [
        [part, *(_rounded(found.get(kind, {}).get(criterion)) for criterion, kind in columns)]
        for part, found in parts.items()
    ]
    return f"<h3>Resolution of the parts</h3>{page.table(head, rows)}"


def _rounded(resolution: float | None) -> float | None:
    return None if resolution is None else round(resolution, 2)


def _self_check(check: dict[str, Any]) -> Iterator[str]:
    """Say which of the conventions that could be wrong were tried, and what came out."""
    yield "<h3>Self-check</h3>"
    colours = {"wins": "good", "loses": "", "cannot tell": "open"}
    rows = [
        [t["name"], f"{t['correlation']:.4f} ± {t['error']:.4f}", f"{t['margin']:.1f}", t["outcome"]]
        for t in check.get("trials", [])
    ]
    yield page.table(
        ["convention", "correlation with the images", "margin (standard errors)", "outcome"],
        rows,
        [colours.get(row[-1], "") for row in rows],
    )
    if check.get("verdict"):
        yield f'<p class="verdict">{escape(str(check["verdict"]))}</p>'


def _curves(job: Job) -> Iterator[str]:
    metrics = read_metrics(job.folder)
    if job.stage == "train":
        if metrics.get("epoch"):
            yield from _training_curves(metrics)
        if table := figures.columns_of(job.folder / "latents.csv"):
            caption = "Where the particles lie along the latent coordinates."
            yield page.figure(figures.latents(table), caption, broad="z2" in table)
    if job.stage == "reconstruct":
        if table := figures.columns_of(job.folder / "fsc.csv"):
            limit = page.flat(job.summary).get("training_limit_A")
            caption = (
                "The motion was learned below the training limit; beyond it, the half-maps are independent."
            )
            for part in curve_names(table):
                figure = figures.fourier_shell_correlation(table, limit, part)
                yield page.figure(figure, caption if part == WHOLE else "")
        if metrics.get("objective"):
            yield page.figure(figures.objectives(metrics))


def _training_curves(metrics: dict[str, list[float]]) -> Iterator[str]:
    if "loss" in metrics:
        caption = (
            "A motion is real when the flexible model explains held-out particles better than the rigid one."
        )
        yield page.figure(figures.losses(metrics), caption)
    if "gain_by_chance" in metrics:
        caption = "Latents are fitted to held-out images too, which gains something by chance; bars: standard errors."
        yield page.figure(figures.gains(metrics), caption)
    for names, title, label in (
        (["displacement_rms", "displacement_max"], "Displacement", "Å"),
        (["rigidity_energy"], "Rigidity energy", "per particle"),
        (["latent_spread"], "Spread of the latents", "standard deviation"),
        (["border_share"], "Particles at the border of latent space", "share"),
        (["inverted_cells"], "Mesh cells turned inside out", "cells"),
    ):
        if all(name in metrics for name in names):
            yield page.figure(figures.over_epochs(metrics, names, title, label))


def _pictures(job: Job) -> Iterator[str]:
    skipped = {png for table, png in DRAWN.get(job.stage, {}).items() if (job.folder / table).exists()}
    skipped -= {"check.png"}  # its table shows numbers, the picture shows particles
    small = [p for p in sorted(job.folder.rglob("*")) if p.name[0] != "." and p.suffix in (".png", ".mp4")]
    small = [p for p in small if p.stat().st_size <= LARGEST and p.name not in skipped]
    for path in [p for p in small if p.suffix == ".png"][:PICTURES]:
        name = path.relative_to(job.folder).as_posix()
        picture = f'<img alt="{escape(name)}" src="{figures.embedded(path, "image/png")}">'
        yield page.figure(picture, CAPTIONS.get(name, name))
    for path in [p for p in small if p.suffix == ".mp4"][:MOVIES]:
        name = path.relative_to(job.folder).as_posix()
        movie = f'<video controls loop muted playsinline src="{figures.embedded(path, "video/mp4")}"></video>'
        yield page.figure(movie, name)


def _params(job: Job) -> str:
    """Tabulate all parameters; those that are not the default stand out."""
    known = {s.name: s for s in STAGES}
    infos = {i.name: i for i in known[job.stage].params.describe()} if job.stage in known else {}
    rows, marks = [], []
    for name, found in (job.record["params"] | job.record.get("inputs", {})).items():
        info = infos.get(name)
        default = None if info is None or info.required else info.default
        changed = info is not None and not info.required and found != _as_recorded(default)
        marks.append("changed" if changed else "")
        rows.append(
            [
                name.replace("_", " "),
                found,
                info.unit or "\u00a0" if info else "\u00a0",
                info.meaning if info else "",
            ]
        )
    head = ["parameter", "value", "unit", "meaning"]
    return f"<details><summary>Parameters</summary>{page.table(head, rows, marks)}</details>"


def _as_recorded(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default
