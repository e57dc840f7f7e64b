"""Segments, wherever they come from: a file, an atomic model, the map, or a training."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_flex3d.io import models
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.motion import read_motion
from napari_flex3d.io.mrc import Volume
from napari_flex3d.io.segments import Segments, read_segments
from napari_flex3d.mesh.comovement import STABLE, comoving_parts
from napari_flex3d.mesh.draft import Ground
from napari_flex3d.mesh.params import MeshParams
from napari_flex3d.mesh.proposal import propose_from_model, propose_parts, propose_watershed
from napari_flex3d.mesh.tetmesh import TetMesh, voxel_positions


def segments_from_file(
    path: Path, density: Volume, level: Literal["groups", "leaves"], parts: str
) -> Segments:
    """Segments of a segmentation, or the chains of an atomic model fitted into the map.

    Parameters
    ----------
    path
        ``.seg``, ``.mrc``, or ``.pdb`` and ``.cif``.
    density
        The map that they belong to.
    level
        Which regions of a ``.seg`` count.
    parts
        Chains and residue ranges of the model (`propose_from_model`).
    """
    if path.suffix.lower() not in models.SUFFIXES:
        return read_segments(path, density, level=level)
    box = len(density.data)
    centre = np.array(density.origin) + box // 2 * density.pixel_size
    labels, names = propose_from_model(models.read_model(path), parts, box, density.pixel_size, centre)
    return Segments(labels, tuple(range(len(names))), dict(enumerate(names)))


def segments_of(params: MeshParams, ground: Ground) -> tuple[Segments | None, dict[str, Any]]:
    """Segments that the parameters of the stage ask for, and what is to be told of how they were found.

    Parameters
    ----------
    params
        Parameters of the stage.
    ground
        The map that they are for.

    Returns
    -------
    segments
        None when nothing says what they are.
    told
        For the summary.

    Raises
    ------
    InputError
        If they cannot be found.
    """
    told: dict[str, Any] = {}
    if params.segments:
        found = segments_from_file(params.segments, ground.density, params.segment_level, params.model_parts)
    elif params.propose == "none":
        return None, told
    elif params.propose == "comovement":
        found, told = _comoving(params, ground)
    else:
        found = _of_map(params, ground)
    return replace(found, names={**found.names, **parse_names(params.segment_names, found.ids)}), told


def _of_map(params: MeshParams, ground: Ground) -> Segments:
    density, mask = ground.density, ground.mask
    if params.propose == "watershed":
        labels = propose_watershed(density.data, mask, density.pixel_size, params.propose_size)
    else:
        level = ground.contour if params.propose_contour == "auto" else params.propose_contour
        labels = propose_parts(density.data, mask, level)
    return Segments(labels, tuple(range(int(labels.max()) + 1)))


def _comoving(params: MeshParams, ground: Ground) -> tuple[Segments, dict[str, Any]]:
    """Voxels of the mask with the part of the training's mesh that they lie in."""
    if params.train is None:
        raise InputError("--propose comovement needs a finished training: give --train.")
    motion = read_motion(params.train)
    count = None if params.propose_count == "auto" else params.propose_count
    parts = comoving_parts(motion, count)
    cells = len(motion.cells)
    mesh = TetMesh(motion.vertices, motion.cells, np.ones(cells, np.float32), parts.part)
    voxels = np.argwhere(ground.mask)
    labels = np.full(ground.mask.shape, -1, dtype=np.int32)
    places = voxel_positions(voxels, len(labels), ground.density.pixel_size)
    labels[tuple(voxels.T)] = parts.part[mesh.locate(places)[0]]
    told = {
        "comovement": {
            "parts": parts.count,
            "stability": {str(k): v for k, v in parts.stability.items()},
            "unexplained": {str(k): v for k, v in parts.unexplained.items()},
        }
    }
    return Segments(labels, tuple(np.unique(labels[labels >= 0]).tolist())), told


def comovement_in_words(told: Mapping[str, Any]) -> str:
    """Sentence about the parts that a training proposed (from `segments_of`)."""
    count = str(told["parts"])
    score = told["stability"].get(count, 0.0)
    sure = "" if score >= STABLE else ": not sure, look at them before you use them"
    return (
        f"{count} parts move together: resampled particles agree by {score:.2f}{sure}; their rigid motions leave "
        f"{told['unexplained'].get(count, 1.0):.0%} of the motion inside the particle"
    )


_NAME = re.compile(r"\s*(\d+)\s*:\s*(.+?)\s*")


def parse_names(text: str, ids: Iterable[int]) -> dict[int, str]:
    """Names from text such as ``1: ring; 2: left arm``.

    Raises
    ------
    InputError
        If it is no such list, or names a segment that is not there.
    """
    known, names = set(ids), {}
    for part in filter(str.strip, text.split(";")):
        found = _NAME.fullmatch(part)
        if not found or int(found[1]) not in known:
            raise InputError(
                f'Segment name "{part.strip()}": give names such as "1: ring; 2: left arm" of the segments '
                f"{', '.join(map(str, sorted(known)))}."
            )
        names[int(found[1])] = found[2]
    return names


def write_names(names: Mapping[int, str]) -> str:
    """Text that `parse_names` reads; semicolons in a name become commas."""
    return "; ".join(f"{i}: {name.replace(';', ',')}" for i, name in sorted(names.items()) if name.strip())
