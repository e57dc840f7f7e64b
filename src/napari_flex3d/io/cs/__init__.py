"""CryoSPARC's .cs files: particles in our conventions, and latents as CryoSPARC writes them."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.checks import checked
from napari_flex3d.io.columns import Texts, formatted
from napari_flex3d.io.cs.container import is_cs
from napari_flex3d.io.cs.dataset import Dataset, read_dataset
from napari_flex3d.io.cs.optics import read_ctf, read_groups
from napari_flex3d.io.cs.partners import job_name
from napari_flex3d.io.cs.poses import Poses, read_poses
from napari_flex3d.io.cs.rows import write_latents_cs
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.grids import on_one_grid
from napari_flex3d.io.table import (
    Answers,
    Floats,
    Ints,
    ParticleTable,
)

__all__ = ["is_cs", "read_cs_particles", "write_latents_cs"]

_OTHER_KINDS = {  # the first part of field names that only datasets of another kind have
    "movie_blob": "exposure",
    "micrograph_blob": "exposure",
    "mscope_params": "exposure",
    "map": "volume",
    "volume": "volume",
    "mask": "mask",
}


def read_cs_particles(path: Path, answers: Answers | None = None, *, check: bool = True) -> ParticleTable:
    """Particles of a CryoSPARC dataset, with the passthrough files that belong to it.

    Parameters
    ----------
    path
        A .cs file of a job folder or of an export, in either container.
    answers
        What the person said beyond the file.
    check
        Whether to look for the stacks and into their headers, and whether the values make sense.

    Raises
    ------
    InputError, Question
        For everything in the file that is wrong or missing.

    Notes
    -----
    Shifts are in pixels of the refinement and centre the particle, as RELION's do.
    """
    answers = answers or Answers()
    dataset = read_dataset(path, answers.passthrough)
    _refuse_other_kinds(dataset)
    dataset, poses = read_poses(dataset, answers.use_class)
    if "blob/path" not in dataset:
        raise InputError(
            f"{path} has poses but no image paths. Add {job_name(path)}_passthrough_particles.cs "
            "(--passthrough)."
        )
    image, stack, names = _images(dataset)
    pixel_size = _pixel_size(dataset, answers.pixel_size)
    ctf = read_ctf(dataset, answers)
    group, groups = read_groups(dataset, ctf, _box(dataset), pixel_size, check=check)
    table = ParticleTable(
        source=path,
        box_size=0,
        pixel_size=0.0,
        rotation=poses.rotation,
        shift=poses.shift * _unit(dataset, poses, pixel_size, check)[:, None],
        **ctf,
        scale=_scale(dataset, check),
        half=_half(dataset),
        group=group,
        groups=groups,
        micrograph=_micrograph(dataset),
        stack=stack,
        stacks=tuple(map(Path, names)),
        image=image,
        row=dataset.rows,
        columns=_columns(dataset, image, stack, names),
        contrast=np.sign(dataset.number("blob/sign", default=0.0)).astype(np.int8),
        source_particle=_source_particle(dataset),
    )
    if check:
        return checked(table, answers, beside=answers.passthrough)
    return on_one_grid(table, answers, check=False)


def _refuse_other_kinds(dataset: Dataset) -> None:
    prefixes = dataset.prefixes()
    kind = next((_OTHER_KINDS[p] for p in prefixes if p in _OTHER_KINDS), None)
    if kind is None and "blob/res_A" in dataset:
        kind = "template"
    if kind is not None and not any(prefix.startswith("alignments") for prefix in prefixes):
        listed = ", ".join(prefixes)
        raise InputError(f"{dataset.path} has fields {listed}: this is a {kind} dataset, not particles.")


def _images(dataset: Dataset) -> tuple[Ints, Ints, list[str]]:
    """Image number from 0 and stack of each particle, and the stacks' names.

    A name that begins with ">" is relative to the folder of the file itself, where they are looked for first.
    """
    stacks: dict[str, int] = {}
    paths = [path.removeprefix(">") for path in dataset.text("blob/path")]
    stack = np.array([stacks.setdefault(path, len(stacks)) for path in paths], dtype=np.int64)
    long = next((path for path in stacks if len(path) > 1000 or len(Path(path).name.encode()) > 255), None)
    if long is not None:
        raise InputError(f"{dataset.path}: blob/path {long[:60]}... has {len(long)} letters.")
    return dataset.whole("blob/idx"), stack, list(stacks)


def _box(dataset: Dataset) -> Ints:
    """Box of the image of each particle (N); 0 where the file does not say."""
    if "blob/shape" not in dataset:
        return np.zeros(len(dataset), dtype=np.int64)
    shapes = dataset.number("blob/shape", (2,))
    odd = np.flatnonzero(shapes[:, 0] != shapes[:, 1])
    if len(odd):
        ny, nx = shapes[odd[0]]
        raise InputError(f"{dataset.path}: {nx:g} x {ny:g}; an even square box is needed.")
    return shapes[:, 0].astype(np.int64)


def _pixel_size(dataset: Dataset, answer: float | None) -> Floats:
    """Pixel size of the image of each particle, Å (N)."""
    if answer is not None:
        return np.full(len(dataset), answer)
    if "blob/psize_A" not in dataset:
        raise Question(f"{dataset.path}: no blob/psize_A. Enter the pixel size.", "--pixel-size")
    sizes, which = np.unique(dataset.number("blob/psize_A"), return_inverse=True)
    if sizes[0] <= 0:
        raise InputError(
            f"{dataset.path}: a pixel size of {sizes[0]:g} Å. Enter the pixel size (--pixel-size)."
        )
    return np.array([float(f"{size:.7g}") for size in sizes])[which]  # float32 has no more digits


def _unit(dataset: Dataset, poses: Poses, pixel_size: Floats, check: bool) -> Floats:
    """Unit of the shifts, Å (N): the refinement's pixel, corrected as the images' pixel was."""
    images = dataset.number("blob/psize_A") if "blob/psize_A" in dataset else pixel_size
    is_known = (poses.pixel_size > 0) & (images > 0)
    ratio = np.where(is_known, poses.pixel_size, 1.0) / np.where(is_known, images, 1.0)
    row = int(np.abs(ratio - 1).argmax())
    if check and abs(ratio[row] - 1) > 1e-3:
        _warn(
            f"Refined at {poses.pixel_size[row]:.5g} Å, images at {images[row]:.5g} Å: "
            f"shifts scaled by {ratio[row]:.4g}."
        )
    return ratio * pixel_size


def _scale(dataset: Dataset, check: bool) -> Floats:
    alpha = dataset.number("alignments3D/alpha", default=1.0)
    bad = alpha <= 0
    if check and bad.any() and not bad.all():  # all zero: scales were not refined
        _warn(f"{int(bad.sum())} particles have an alignments3D/alpha of 0 or less; 1 is used.")
    return np.where(bad, 1.0, alpha)


def _half(dataset: Dataset) -> NDArray[np.int8]:
    split = dataset.number("alignments3D/split", default=-1.0)
    if not set(np.unique(split).tolist()) <= {0.0, 1.0} or np.ptp(split) == 0:
        return np.full(len(dataset), -1, dtype=np.int8)
    return split.astype(np.int8)


def _micrograph(dataset: Dataset) -> Ints:
    name = next((n for n in ("micrograph_uid", "micrograph_path") if f"location/{n}" in dataset), None)
    if name is None:
        return np.full(len(dataset), -1, dtype=np.int64)
    _, number = np.unique(dataset.fields[f"location/{name}"], return_inverse=True)
    if number.shape != (len(dataset),):
        raise InputError(f"{dataset.path}: location/{name} holds several values a particle.")
    return number.astype(np.int64)


def _source_particle(dataset: Dataset) -> Ints | None:
    """Number of the particle that each is a copy of, where symmetry expansion made copies."""
    if "sym_expand/src_uid" not in dataset:
        return None
    source = dataset.fields["sym_expand/src_uid"]
    if source.dtype.kind not in "ui" or source.ndim != 1:
        raise InputError(f"{dataset.path}: sym_expand/src_uid holds {source.dtype}; keys are needed.")
    return np.unique(source, return_inverse=True)[1].astype(np.int64)


def _columns(dataset: Dataset, image: Ints, stack: Ints, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """What a star file should keep beyond the particle table: names and keys."""
    every = np.arange(len(dataset))

    def image_names(rows: Ints) -> list[str]:
        return [
            f"{i + 1:06d}@{names[s]}" for i, s in zip(image[rows].tolist(), stack[rows].tolist(), strict=True)
        ]

    columns: dict[str, Sequence[str]] = {"rlnImageName": Texts(image_names, every)}
    if "location/micrograph_path" in dataset:
        shared: dict[str, str] = {}
        paths = (path.removeprefix(">") for path in dataset.text("location/micrograph_path"))
        columns["rlnMicrographName"] = [shared.setdefault(path, path) for path in paths]
    return columns | {"flexUid": formatted(dataset.fields["uid"])}


def _warn(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=4)
