"""Segments, wherever they come from: a file, an atomic model, or a proposal."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io import models
from napari_flex3d.io.mrc import Volume
from napari_flex3d.io.segments import Segments, read_segments
from napari_flex3d.mesh.proposal import contour_of, propose_from_model, propose_parts, propose_watershed

Proposal = Literal["none", "watershed", "parts"]


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


def proposed_segments(
    kind: Proposal, density: Volume, mask: NDArray[np.bool_], size: float, contour: float | Literal["auto"]
) -> Segments:
    """Segments that the map itself suggests.

    Parameters
    ----------
    kind
        "watershed" or "parts".
    density, mask
        The map, and its solvent mask (n, n, n).
    size
        About how wide a region of the watershed is, Å.
    contour
        Density above which connected parts are looked for.
    """
    if kind == "watershed":
        labels = propose_watershed(density.data, mask, density.pixel_size, size)
    else:
        level = contour_of(density.data, mask) if contour == "auto" else contour
        labels = propose_parts(density.data, mask, level)
    return Segments(labels, tuple(range(int(labels.max()) + 1)))
