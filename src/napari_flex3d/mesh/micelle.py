"""Micelles and nanodiscs in a map: belts of weak, even density that should not move as one stiff piece with protein."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from napari_flex3d.mesh.build import Build
from napari_flex3d.mesh.tetmesh import Floats
from napari_flex3d.mesh.weights import RIGID

SMOOTH = 4.0
"""Å; the map is smoothed so far before weak density is looked for."""

THICK = 16.0
"""Å; what is thinner is the soft edge of the protein."""

LEAST_SHARE = 0.1
"""A belt has at least this share of the mask."""

EVEN = 0.5
"""A belt's fine structure is less than this share of the protein's."""

OWN = 0.6
"""A segment with at least this share of belt voxels is the belt's own."""


def belt_of(density: Floats, mask: NDArray[np.bool_], pixel_size: float) -> NDArray[np.bool_]:
    """Voxels (n, n, n) of what looks like a micelle or nanodisc; none if nothing does.

    Parameters
    ----------
    density, mask
        Map and solvent mask (n, n, n).
    pixel_size
        Å.

    Notes
    -----
    The middle one of three classes of the smoothed density (Otsu 1979), where it is thick, connected, a fair share of
    the mask, and even. A part of the protein that is smeared by its motion may look the same: the sentence says so.
    """
    nothing = np.zeros_like(mask)
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside, values = mask[box], density[box]
    smooth = ndimage.gaussian_filter(np.where(inside, values, 0), SMOOTH / pixel_size)
    found = smooth[inside]
    if len(np.unique(found[:1000])) < 3:
        return nothing
    low, high = threshold_multiotsu(found, classes=3)  # type: ignore[no-untyped-call]
    thick = _opened(inside & (smooth > low) & (smooth < high), THICK / 2 / pixel_size)
    parts, count = ndimage.label(thick)
    if not count:
        return nothing
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    fine = np.abs(values - smooth)
    dense = inside & (smooth >= high)
    if largest.sum() < LEAST_SHARE * inside.sum() or fine[largest].mean() > EVEN * fine[dense].mean():
        return nothing
    nothing[box] = largest
    return nothing


def _opened(of: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """What of a set of voxels a ball of this radius can reach inside it."""
    core = ndimage.distance_transform_edt(np.pad(of, 1))[1:-1, 1:-1, 1:-1] > radius
    if not core.any():
        return core
    return of & (ndimage.distance_transform_edt(~core) <= radius)


def micelle_advice(built: Build, belt: NDArray[np.bool_]) -> Iterator[str]:
    """Sentences about a belt (n, n, n) that is stiff, or dragged along with protein."""
    inside = built.cell_index >= 0
    if not (belt & inside).any():
        return
    owner = np.where(inside, built.mesh.segment[built.cell_index], -1)
    ids, count = np.unique(owner[belt & inside], return_counts=True)
    for segment, voxels in zip(ids.tolist(), count.tolist(), strict=True):
        if voxels < 0.2 * belt.sum():
            continue
        whole = int((owner == segment).sum())
        if voxels < OWN * whole:
            yield (
                f"{belt.sum() / inside.sum():.0%} of the mask is weak, even density, like a micelle or nanodisc, and "
                f"one piece with the protein of segment {segment}: it would be dragged along. Paint it as a segment of "
                "its own, soft, or not joined to what should move freely. (A smeared, moving domain looks the same.)"
            )
        elif built.mesh.rigidity[built.mesh.segment == segment].mean() >= RIGID:
            yield (
                f"Segment {segment} looks like a micelle or nanodisc and is rigid: what is joined to it can hardly "
                "move. Leave it soft."
            )
