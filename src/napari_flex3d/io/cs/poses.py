"""Poses and shifts of one class of a CryoSPARC dataset."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.cs.dataset import Dataset
from napari_flex3d.io.errors import InputError, Question
from napari_flex3d.io.table import Floats
from napari_flex3d.ops.rotations import from_rotvec

_NO_POSES = "Use the particles of a 3D refinement."


@dataclass(frozen=True)
class Poses:
    """Poses in our conventions.

    Parameters
    ----------
    rotation
        (N, 3, 3), map to image.
    shift
        (N, 2), pixels of the refinement.
    pixel_size
        (N) that pixel, Å; 0 where the file does not say.
    """

    rotation: Floats
    shift: Floats
    pixel_size: Floats


def read_poses(dataset: Dataset, use_class: int | None) -> tuple[Dataset, Poses]:
    """Poses, and the dataset without the particles of other classes.

    Parameters
    ----------
    dataset
        With poses as ``alignments3D``; else as ``alignments_class_k`` of every class, or
        ``alignments3D_multi``, where a particle is of the class with the highest posterior.
    use_class
        Number of the class, from 0 as CryoSPARC counts.

    Raises
    ------
    InputError, Question
        If there are no 3D poses, or those of several classes and none is chosen.
    """
    if "alignments3D/pose" in dataset:
        if use_class is not None and "alignments3D/class" in dataset:
            dataset = _of_class(dataset, dataset.number("alignments3D/class") == use_class, use_class)
        return dataset, _poses(dataset, "alignments3D")
    if "alignments3D_multi/pose" in dataset:
        return _from_multi(dataset, use_class)
    return _from_classes(dataset, use_class)


def _from_multi(dataset: Dataset, use_class: int | None) -> tuple[Dataset, Poses]:
    values = dataset.fields["alignments3D_multi/pose"]
    count = values.shape[1] if values.ndim == 3 else 0
    chosen = _chosen(dataset, list(range(count)), use_class)
    if "alignments3D_multi/class_posterior" in dataset:
        posterior = dataset.number("alignments3D_multi/class_posterior", (count,))
        dataset = _of_class(dataset, _likeliest(posterior) == chosen, chosen, anyway=np.ptp(posterior) == 0)
    pose, shift = (
        dataset.number(f"alignments3D_multi/{name}", (count, width))[:, chosen]
        for name, width in (("pose", 3), ("shift", 2))
    )
    return dataset, Poses(_rotation(dataset, pose), shift, _pixel_size(dataset, "alignments3D_multi"))


def _from_classes(dataset: Dataset, use_class: int | None) -> tuple[Dataset, Poses]:
    found = [re.fullmatch(r"alignments_class_(\d{1,4})/pose", name) for name in dataset.fields]
    classes = sorted(int(match[1]) for match in found if match)
    chosen = _chosen(dataset, classes, use_class)
    labels = [f"alignments_class_{k}/class_posterior" for k in classes]
    if all(label in dataset for label in labels):
        posterior = np.stack([dataset.number(label) for label in labels], axis=-1)
        mine = _likeliest(posterior) == classes.index(chosen)
        dataset = _of_class(dataset, mine, chosen, anyway=np.ptp(posterior) == 0)
    return dataset, _poses(dataset, f"alignments_class_{chosen}")


def _chosen(dataset: Dataset, classes: list[int], use_class: int | None) -> int:
    if not classes:
        what = "has alignments2D only" if "alignments2D" in dataset.prefixes() else "has no alignments3D/pose"
        raise InputError(f"{dataset.path} {what}. {_NO_POSES}")
    if use_class is None and len(classes) > 1:
        raise Question(f"{len(classes)} classes; which one?", "--use-class")
    if use_class is not None and use_class not in classes:
        listed = ", ".join(map(str, classes))
        raise InputError(f"{dataset.path} has no class {use_class} (--use-class); it has {listed}.")
    return classes[0] if use_class is None else use_class


def _likeliest(posterior: Floats) -> NDArray[np.intp]:
    return posterior.argmax(1)


def _of_class(
    dataset: Dataset, mine: NDArray[np.bool_], number: int, *, anyway: bool | np.bool_ = False
) -> Dataset:
    """Keep the particles of a class; ``anyway`` all, where the file does not tell them apart."""
    if anyway:
        return dataset
    if not mine.any():
        raise InputError(f"{dataset.path}: no particle is of class {number} (--use-class).")
    return dataset.take(mine)


def _poses(dataset: Dataset, prefix: str) -> Poses:
    rotation = _rotation(dataset, dataset.number(f"{prefix}/pose", (3,)))
    return Poses(rotation, dataset.number(f"{prefix}/shift", (2,)), _pixel_size(dataset, prefix))


def _rotation(dataset: Dataset, pose: Floats) -> Floats:
    size = np.abs(pose).max(1)
    row = int(size.argmax())
    if size[row] > 100:
        raise InputError(
            f"{dataset.path} row {dataset.rows[row] + 1}: the pose {pose[row]} is no rotation vector in radians."
        )
    return from_rotvec(pose)


def _pixel_size(dataset: Dataset, prefix: str) -> Floats:
    name = f"{prefix}/psize_A"
    is_single = name in dataset and dataset.fields[name].ndim == 1
    return dataset.number(name) if is_single else np.zeros(len(dataset))
