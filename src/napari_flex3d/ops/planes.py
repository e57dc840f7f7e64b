"""Points of a plane by the million: counted on a grid, chosen by an outline, counted near a place."""

from typing import Any, no_type_check

import numba
import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray

from napari_flex3d.ops.threads import on_threads

Array = NDArray[Any]

STRIPS = 256
"""Strips that an outline is cut into; a point is compared with the edges of its own strip only."""

# no_type_check keeps the shape checks of the tests out of what numba compiles.
_compile = numba.njit(cache=True, nogil=True, boundscheck=False)


def binned(
    points: Float[np.ndarray, "points 2"],
    low: Float[np.ndarray, "2"],
    high: Float[np.ndarray, "2"],
    bins: int,
    values: Float[np.ndarray, " points"] | None = None,
) -> Float[np.ndarray, "bins bins"]:
    """Count points on a regular grid, first axis x, or add up their values; points outside are left out.

    Parameters
    ----------
    points
        Their coordinates; float32 is not copied.
    low, high
        Corners of the grid; the upper edge is outside.
    bins
        Bins along each axis.
    values
        What to add up in place of ones; points whose value is not finite are left out.
    """
    given = np.ascontiguousarray(points, np.float32)
    scale = bins / np.maximum(np.asarray(high, float) - low, 1e-30)
    weights = np.empty(0, np.float32) if values is None else np.ascontiguousarray(values, np.float32)
    found = np.zeros((_threads(), bins, bins))
    ends = (float(low[0]), float(low[1]), float(scale[0]), float(scale[1]))
    on_threads(_binned, given, *ends, weights, found, most=len(found))
    return found.sum(0)


def inside_polygon(
    points: Float[np.ndarray, "points 2"], corners: Float[np.ndarray, "corners 2"]
) -> Bool[np.ndarray, " points"]:
    """Find the points inside a closed outline, by the even-odd rule.

    Parameters
    ----------
    points
        Their coordinates; float32 is not copied.
    corners
        The outline; its last corner is joined to the first.

    Notes
    -----
    Crossing number of the ray to the right (Shimrat 1962), over the edges that touch the point's horizontal strip.
    """
    found = np.zeros(len(points), np.bool_)
    outline = np.ascontiguousarray(corners, np.float64)
    if len(outline) < 3:
        return found
    edges = np.concatenate([outline, np.roll(outline, -1, axis=0)], axis=1)
    edges = edges[edges[:, 1] != edges[:, 3]]  # level edges are never crossed
    low, high = outline.min(0), outline.max(0)
    height = max(float(high[1] - low[1]), 1e-30) / STRIPS
    first = np.clip((edges[:, [1, 3]].min(1) - low[1]) / height - 1e-6, 0, STRIPS - 1).astype(np.int64)
    last = np.clip((edges[:, [1, 3]].max(1) - low[1]) / height + 1e-6, 0, STRIPS - 1).astype(np.int64)
    lists = [np.flatnonzero((first <= strip) & (last >= strip)) for strip in range(STRIPS)]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    slope = (edges[:, 2] - edges[:, 0]) / (edges[:, 3] - edges[:, 1])
    crossed = np.stack(
        [edges[:, [1, 3]].min(1), edges[:, [1, 3]].max(1), edges[:, 0] - slope * edges[:, 1], slope]
    )
    given = np.ascontiguousarray(points, np.float32)
    listed = np.ascontiguousarray(crossed.T[np.concatenate(lists)])
    on_threads(_inside, given, listed, starts, np.array([*low, *high]), 1 / height, found)
    return found


def count_near(
    points: Shaped[np.ndarray, "points dims"],
    place: Shaped[np.ndarray, " dims"],
    spread: Array,
    radius: float,
) -> int:
    """Count the points whose root-mean-square difference from a place, in units of a spread, is below a radius.

    Parameters
    ----------
    points
        Their coordinates; float32 is not copied.
    place
        Where to look.
    spread
        Unit of each coordinate (dims).
    radius
        In these units.
    """
    given = np.ascontiguousarray(points, np.float32)
    found = np.zeros(_threads(), np.int64)
    weight = 1 / np.square(np.asarray(spread, float)) / len(place)
    on_threads(_near, given, np.asarray(place, float), weight, float(radius) ** 2, found, most=len(found))
    return int(found.sum())


def _threads() -> int:
    import torch  # the menus and readers of the plugin come without it

    return torch.get_num_threads()


@_compile
@no_type_check
def _binned(thread, threads, points, x0, y0, sx, sy, values, found):
    count, bins, weighted = len(points), found.shape[1], len(values) > 0
    grid = found[thread]
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        x, y = (points[n, 0] - x0) * sx, (points[n, 1] - y0) * sy
        if x >= 0 and y >= 0 and x < bins and y < bins:
            if not weighted:
                grid[int(x), int(y)] += 1
            elif np.isfinite(values[n]):
                grid[int(x), int(y)] += values[n]


@_compile
@no_type_check
def _inside(thread, threads, points, edges, starts, box, strips, found):
    count, last = len(points), len(starts) - 2
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        x, y = np.float64(points[n, 0]), np.float64(points[n, 1])
        if x < box[0] or x > box[2] or y < box[1] or y > box[3]:
            continue
        strip = min(int((y - box[1]) * strips), last)
        odd = False
        for k in range(starts[strip], starts[strip + 1]):
            odd ^= (edges[k, 0] <= y) & (y < edges[k, 1]) & (x < edges[k, 2] + edges[k, 3] * y)
        found[n] = odd


@_compile
@no_type_check
def _near(thread, threads, points, place, weight, limit, found):
    count, dims = points.shape
    total = 0
    for n in range(count * thread // threads, count * (thread + 1) // threads):
        distance = 0.0
        for k in range(dims):
            difference = points[n, k] - place[k]
            distance += weight[k] * difference * difference
        if distance < limit:
            total += 1
    found[thread] = total
