"""Whether particles, poses and map belong together: every convention tried on some particles."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from napari_flex3d.io.errors import InputError, Question
from napari_flex3d.io.table import ParticleTable
from napari_flex3d.ops.fourier import irfft2, multiplicity, radii, rfft2, shells, soft_edge
from napari_flex3d.ops.projection import place, project, rigid_body
from napari_flex3d.particles import Optics

Floats = NDArray[np.float64]
Sign = Literal["auto", "bright", "dark"]

_BATCH = 50
_ERRORS = 3.0
"""By how many standard errors "as read" must win."""
_CLEAR = 6.0
"""A difference that should be this many standard errors, but is not found, is no lack of data."""

_IGNORE = "--ignore-check"
_CAUSES = {  # what wins instead: in words, and the flag that answers it
    "sign flipped": ("The images have the other contrast: give --sign {other}.", "--sign"),
    "hand flipped": (
        "The map is the mirror image of what the poses were refined against: flip its hand.",
        "--flip-hand",
    ),
    "pose transposed": (
        "The poses are the inverse of RELION's: their program uses another convention.",
        "--invert-rotations",
    ),
    "shift negated": (
        "The shifts have the other sign: their program uses another convention.",
        "--negate-shifts",
    ),
    "random poses": (
        "The poses explain the images no better than random ones: map and particles do not "
        "belong together, the pixel size is wrong, or {count} particles are too few.",
        _IGNORE,
    ),
}


@dataclass(frozen=True)
class Trial:
    """How well the images agree with the map under one convention.

    Parameters
    ----------
    name
        The convention.
    correlation, error
        Mean correlation of images with ``CTF * projection`` and its standard error.
    margin
        How far "as read" lies above it, in standard errors of the paired difference.
    outcome
        "wins", "loses" or "cannot tell".
    """

    name: str
    correlation: float
    error: float
    margin: float
    outcome: str


@dataclass(frozen=True)
class SelfCheck:
    """Result of the check.

    Parameters
    ----------
    trials
        "as read" first.
    verdict
        In words.
    flag
        The flag that answers what is wrong; empty where nothing is.
    sign
        1 when the images are bright as stored, -1 when they must be turned over.
    scale
        Map times this is in the units of the images given, by least squares.
    resolution
        What the comparison was limited to, Å.
    count
        Particles looked at.
    """

    trials: tuple[Trial, ...]
    verdict: str
    flag: str
    sign: int
    scale: float
    resolution: float
    count: int

    def to_record(self) -> dict[str, Any]:
        """Plain data for ``check.json``."""
        return asdict(self) | {"trials": [asdict(trial) for trial in self.trials]}

    def lines(self) -> list[str]:
        """Write table and verdict as lines of text."""
        rows = [
            f"{t.name:<16} {t.correlation:8.4f} ± {t.error:.4f}   {t.margin:7.1f}   {t.outcome}"
            for t in self.trials
        ]
        head = f"{'convention':<16} correlation ± error   margin   outcome"
        return [head, *rows, self.verdict]

    def demand(self, source: str, given: Collection[str] = ()) -> None:
        """Stop unless the conventions as read are the best.

        Parameters
        ----------
        source
            Name of the particle file.
        given
            Flags that changed the conventions already; one that made things worse must be left out.

        Raises
        ------
        Question
            With the table, the likely cause and the flag that answers it.
        """
        if not self.flag:
            return
        more = [] if self.flag == _IGNORE else [f"To use particles and map as read nevertheless: {_IGNORE}."]
        text = "\n".join([f"{source}: {self.verdict}", *self.lines()[:-1], *more])
        if self.flag in given:
            raise InputError(f"{text} This comes of {self.flag}: leave it out.")
        raise Question(text, self.flag)


@dataclass(frozen=True)
class Views:
    """What is compared: images of one small box, and the map as points.

    Parameters
    ----------
    images
        (B, n, n), noise of standard deviation about 1.
    table
        Poses and optics of those images.
    pixel_size
        Of those images, Å.
    density
        The map inside the mask on the same grid, (n, n, n).
    noise
        Noise power of a coefficient in each shell, (n // 2 + 1).
    """

    images: Tensor
    table: ParticleTable
    pixel_size: float
    density: NDArray[np.float32]
    noise: Tensor


def self_check(views: Views, sign: Sign = "auto", *, resolution: float = 15.0, seed: int = 0) -> SelfCheck:
    """Compare the images with the map under every convention that could be wrong.

    Parameters
    ----------
    views
        Some hundred particles.
    sign
        What the person says about the contrast; "auto" decides it here.
    resolution
        Limit of the comparison, Å; the images' own limit where that is worse.
    seed
        Of the random poses.

    Returns
    -------
    The check; it has a flag unless the conventions as read are best by three standard errors.

    Notes
    -----
    Correlations are over Fourier coefficients weighted by one over noise power, one a particle; differences
    between conventions are taken particle by particle, so that the spread between particles drops out. A
    convention whose model images are so like those as read that these data cannot tell does not stop the run.
    """
    limit = max(resolution, 2.2 * views.pixel_size)
    weight = _weight(views, limit)
    rotation = torch.from_numpy(views.table.rotation.astype(np.float32))
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    random = torch.from_numpy(
        Rotation.random(len(rotation), np.random.default_rng(seed)).as_matrix().astype("f4")
    )
    project_all = _Projector(views)
    box, pixel_size = views.images.shape[-1], views.pixel_size
    transfer = _transfer(views.table, box, pixel_size)
    opposite = _transfer(replace(views.table, shift=-views.table.shift), box, pixel_size)
    images, reference = rfft2(views.images), project_all(rotation) * transfer
    first = _score(images, reference, reference, weight)
    tried = {
        "hand flipped": (rotation @ mirror, transfer),
        "pose transposed": (rotation.mT, transfer),
        "shift negated": (rotation, opposite),
        "random poses": (random, transfer),
    }
    others = {
        name: _score(images, project_all(view) * seen, reference, weight)
        for name, (view, seen) in tried.items()
    }
    chosen = _sign(sign, [first, *others.values()])
    trials = _trials(chosen, first, others)
    cause, flag = _cause(trials, chosen, len(rotation))
    verdict = cause or _verdict(trials, chosen)
    return SelfCheck(trials, verdict, flag, chosen, chosen * first.scale, limit, len(rotation))


def model_images(views: Views, resolution: float, scale: float) -> tuple[Tensor, Tensor]:
    """Images and ``CTF * projection``, both low-passed, for a person to compare."""
    box = views.images.shape[-1]
    window = soft_edge(radii(box) / views.pixel_size, 1 / resolution, 0.3 / resolution)
    rotation = torch.from_numpy(views.table.rotation.astype(np.float32))
    model = _Projector(views)(rotation) * _transfer(views.table, box, views.pixel_size) * scale
    return irfft2(rfft2(views.images) * window), irfft2(model * window)


class _Projector:
    """Projections of the map, without CTF and shift."""

    def __init__(self, views: Views) -> None:
        n = len(views.density)
        z, y, x = np.nonzero(views.density)
        points = (np.stack([x, y, z], axis=-1) - n // 2) * views.pixel_size
        self._body = rigid_body(torch.from_numpy(points.astype(np.float32)))
        self._values = torch.from_numpy(np.ascontiguousarray(views.density[z, y, x]))[self._body.order]
        self._box, self._pixel_size = n, views.pixel_size

    def __call__(self, rotation: Tensor) -> Tensor:
        parts = []
        for start in range(0, len(rotation), _BATCH):
            vertices = place(rotation[start : start + _BATCH], self._body.vertices[None], self._pixel_size)
            parts.append(project(self._values, vertices, self._body, self._box))
        return torch.cat(parts)


def _transfer(table: ParticleTable, box: int, pixel_size: float) -> Tensor:
    return Optics(table, box, pixel_size).transfer(np.arange(len(table)))


@dataclass(frozen=True)
class _Scores:
    """Correlation of each image with its model, that model's likeness to the reference, map scale."""

    correlation: Floats
    likeness: Floats
    scale: float

    @property
    def mean(self) -> float:
        return float(self.correlation.mean())


def _score(images: Tensor, models: Tensor, reference: Tensor, weight: Tensor) -> _Scores:
    product, power = _dot(images, models, weight), _dot(models, models, weight)
    correlation = product / (power * _dot(images, images, weight)).sqrt().clamp(min=1e-20)
    together = (power * _dot(reference, reference, weight)).sqrt().clamp(min=1e-20)
    likeness = _dot(models, reference, weight) / together
    scale = float(product.sum() / power.sum().clamp(min=1e-20))
    return _Scores(correlation.double().numpy(), likeness.double().numpy(), scale)


def _dot(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return ((a.conj() * b).real * weight).sum((-2, -1))


def _weight(views: Views, limit: float) -> Tensor:
    box = views.images.shape[-1]
    noise = views.noise[shells(box).clamp(max=box // 2)].clamp(min=1e-6 * float(views.noise.max()))
    band = soft_edge(radii(box) / views.pixel_size, 1 / limit, 0.1 / limit) * multiplicity(box)
    band[0, 0] = 0
    return band / noise


def _sign(sign: Sign, scores: Sequence[_Scores]) -> int:
    """Take the sign said, or the one that makes the most significant of all conventions positive."""
    if sign != "auto":
        return 1 if sign == "bright" else -1
    strongest = max(scores, key=lambda s: abs(s.mean) / max(float(s.correlation.std()), 1e-12))
    return 1 if strongest.mean >= 0 else -1


def _trials(sign: int, first: _Scores, others: dict[str, _Scores]) -> tuple[Trial, ...]:
    mine = sign * first.correlation
    rows = {"sign flipped": (-mine, np.full_like(mine, -1.0))}
    rows |= {name: (sign * score.correlation, score.likeness) for name, score in others.items()}
    trials = [_compare(name, mine, theirs, likeness) for name, (theirs, likeness) in rows.items()]
    outcomes = {trial.outcome for trial in trials}
    best = "wins" if "wins" not in outcomes and "loses" in outcomes else "loses"
    return (Trial("as read", float(mine.mean()), _error(mine), 0.0, best), *trials)


def _compare(name: str, mine: Floats, theirs: Floats, likeness: Floats) -> Trial:
    difference = mine - theirs
    error = max(_error(difference), 1e-12)
    margin = float(difference.mean()) / error
    if margin >= _ERRORS:
        outcome = "loses"
    elif margin <= -_ERRORS:
        outcome = "wins"
    else:
        expected = max(float(mine.mean()), float(theirs.mean())) * float((1 - likeness).mean()) / error
        sure = name in ("sign flipped", "random poses") or expected >= _CLEAR
        outcome = "no worse" if sure else "cannot tell"
        if float((1 - likeness).max()) < 1e-5:  # the same images: margin is rounding
            margin = 0.0
    return Trial(name, float(theirs.mean()), _error(theirs), margin, outcome)


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")


def _cause(trials: Sequence[Trial], sign: int, count: int) -> tuple[str, str]:
    """Say what is probably wrong, and the flag that answers it; nothing when nothing is."""
    outcome = {trial.name: trial.outcome for trial in trials}
    other = "dark" if sign == 1 else "bright"
    winners = [trial for trial in trials[1:] if trial.outcome == "wins"]
    if winners:
        best = max(winners, key=lambda trial: trial.correlation)
        text, flag = _CAUSES[best.name]
        return text.format(other=other, count=count), flag
    for name in ("random poses", "sign flipped"):
        if outcome[name] == "no worse":
            text, flag = _CAUSES["random poses"]
            return text.format(count=count), flag
    doubtful = [name for name, what in outcome.items() if what == "no worse"]
    if doubtful:
        text = (
            f"As read is no better than {' and '.join(doubtful)}: poses, shifts or pixel size may be wrong."
        )
        return text, _IGNORE
    return "", ""


def _verdict(trials: Sequence[Trial], sign: int) -> str:
    unknown = [trial.name for trial in trials if trial.outcome == "cannot tell"]
    contrast = "bright" if sign == 1 else "dark"
    text = f"As read fits best; particles are {contrast} in the file."
    if unknown:
        text += f" Cannot tell from these particles: {', '.join(unknown)}."
    return text
