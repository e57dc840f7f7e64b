"""Segments that a map or an atomic model suggests: labels (n, n, n), -1 where there is none."""

import re
from collections.abc import Iterator

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh.tetmesh import Floats, Ints, voxel_positions

REACH = 5.0
"""Å; voxels farther from every atom get no label of an atomic model."""

CRUMB = 0.01
"""Connected parts with a smaller share of what is above the contour get no label."""


def contour_of(density: Floats, mask: NDArray[np.bool_]) -> float:
    """Density that parts protein from solvent inside the mask (Otsu 1979)."""
    values = density[mask]
    if values.min() == values.max():
        return 0.0
    return float(threshold_otsu(values))  # type: ignore[no-untyped-call]


def propose_watershed(density: Floats, mask: NDArray[np.bool_], pixel_size: float, size: float) -> Ints:
    """Regions around the peaks of the smoothed map, which fill the mask; the largest is number 0.

    Parameters
    ----------
    density, mask
        Map and solvent mask (n, n, n).
    pixel_size
        Å.
    size
        About how wide a region is, Å: the map is smoothed, and peaks are kept apart, accordingly.

    Notes
    -----
    Watershed from the density maxima (Volkmann 2002). What Segger does by grouping over several scales (Pintilie et al.
    2010), smoothing once does here.
    """
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside = mask[box]
    smooth = ndimage.gaussian_filter(np.where(mask, density, 0)[box], size / 4 / pixel_size)
    apart = max(1, round(size / 2 / pixel_size))
    peaks = peak_local_max(  # type: ignore[no-untyped-call]
        smooth, min_distance=apart, labels=inside.astype(np.int32), exclude_border=False
    )
    markers = np.zeros(smooth.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = np.full(mask.shape, -1, dtype=np.int32)
    labels[box] = watershed(-smooth, markers, mask=inside) - 1  # type: ignore[no-untyped-call]
    return _largest_first(labels)


def propose_parts(density: Floats, mask: NDArray[np.bool_], contour: float) -> Ints:
    """Connected parts of the map above a contour inside the mask; the largest is number 0.

    Raises
    ------
    InputError
        If nothing is above the contour.
    """
    found, count = ndimage.label(mask & (density > contour))
    if not count:
        raise InputError(
            f"No voxel inside the mask is above the contour {contour:.4g}; the largest is {density[mask].max():.4g}."
        )
    size = np.bincount(found.ravel())
    small = size < CRUMB * size[1:].sum()
    found[small[found]] = 0
    return _largest_first(found.astype(np.int32) - 1)


def _largest_first(labels: Ints) -> Ints:
    size = np.bincount(labels[labels >= 0])
    number = np.full(len(size) + 1, -1, dtype=np.int32)  # the last stands for -1
    order = np.argsort(-size, kind="stable")
    number[order] = np.where(size[order] > 0, np.arange(len(size)), -1)
    return number[labels]


def propose_from_model(
    structure: gemmi.Structure, parts: str, box: int, pixel_size: float, centre: NDArray[np.float64]
) -> tuple[Ints, tuple[str, ...]]:
    """Labels of the voxels around the atoms of each chain, or of each named part.

    Parameters
    ----------
    structure
        Atomic model, fitted into the map.
    parts
        Parts separated by semicolons, each of chains or residue ranges: ``A, B:1-120; B:121-300``. Every chain by
        itself when empty. The first part is number 0.
    box, pixel_size
        Box and pixel of the map, Å.
    centre
        Where the box centre lies in the model's frame, (x, y, z) in Å.

    Returns
    -------
    labels
        (n, n, n).
    names
        Of the parts, in order.

    Raises
    ------
    InputError
        If the text is no such list, a part has no atom, or no atom lies in the box.
    """
    wanted = list(_parse_parts(parts, structure))
    positions, owner = [], []
    for site in structure[0].all():
        for number, (_, ranges) in enumerate(wanted):
            if any(_holds(r, site) for r in ranges):
                positions.append(site.atom.pos.tolist())
                owner.append(number)
                break
    for number, (name, _) in enumerate(wanted):
        if number not in owner:
            raise InputError(f'Part "{name}" of the model has no atom. Its chains: {_chains(structure)}.')
    atoms = np.array(positions) - centre
    index = np.rint(atoms / pixel_size).astype(int) + box // 2
    near = np.zeros((box,) * 3, dtype=bool)
    held = index[((index >= 0) & (index < box)).all(1)]
    if not len(held):
        raise InputError(
            "No atom of the model lies in the box of the map. Fit it into the map given to prep."
        )
    near[tuple(held[:, ::-1].T)] = True
    near = ndimage.distance_transform_edt(~near) * pixel_size <= REACH + 2 * pixel_size
    voxels = np.argwhere(near)
    distance, nearest = cKDTree(atoms).query(voxel_positions(voxels, box, pixel_size))
    labels = np.full(near.shape, -1, dtype=np.int32)
    labels[tuple(voxels.T)] = np.where(distance <= REACH, np.array(owner)[nearest], -1)
    return labels, tuple(name for name, _ in wanted)


_Range = tuple[str, int, int]
_PART = re.compile(r"\s*([^\s:,;]+)\s*(?::\s*(-?\d+)\s*-\s*(-?\d+)\s*)?")


def _parse_parts(text: str, structure: gemmi.Structure) -> Iterator[tuple[str, list[_Range]]]:
    chains = list(dict.fromkeys(chain.name for chain in structure[0]))
    if not text.strip():
        yield from ((name, [(name, -(10**9), 10**9)]) for name in chains)
        return
    for part in filter(str.strip, text.split(";")):
        ranges = []
        for item in part.split(","):
            found = _PART.fullmatch(item)
            if not found or found[1] not in chains:
                raise InputError(
                    f'"{item.strip()}" is no chain of the model, nor a range of one such as {chains[0]}:1-120. '
                    f"Its chains: {_chains(structure)}."
                )
            ranges.append((found[1], int(found[2] or -(10**9)), int(found[3] or 10**9)))
        yield part.strip(), ranges


def _holds(span: _Range, site: gemmi.CRA) -> bool:
    number = site.residue.seqid.num
    return site.chain.name == span[0] and number is not None and span[1] <= number <= span[2]


def _chains(structure: gemmi.Structure) -> str:
    return ", ".join(dict.fromkeys(chain.name for chain in structure[0]))
