"""Picture of a mesh over its map."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume
from napari_flex3d.mesh.outline import outline
from napari_flex3d.mesh.tetmesh import Ints, TetMesh
from napari_flex3d.mesh.topology import borders

COLORS = (
    "#2fc4b2", "#e07b39", "#6c8cff", "#d65db1", "#a3c644", "#f2c14e",
    "#8b6fd6", "#4fb3e8", "#e8566c", "#7fb77e", "#b08d57", "#c9cdd4",
)  # fmt: skip
"""Colours of the segments, in the order of their numbers, again from the start when there are more."""


def draw_mesh(path: Path, mesh: TetMesh, cell_index: Ints, density: Volume) -> None:
    """Draw the outer edges of a mesh over the map along z, y and x, and with segments also a cut through the middle.

    In the cut, segments that are not joined are parted by a red line, joined ones by a white one.
    """
    rows = 2 if len(np.unique(mesh.segment)) > 1 else 1
    figure = Figure(figsize=(12, 4.2 * rows))
    figure.subplots_adjust(0.06, 0.13 / rows, 0.98, 1 - 0.07 / rows, wspace=0.22, hspace=0.25)
    axes = np.atleast_2d(figure.subplots(rows, 3))
    seen = outline(mesh)
    edges = seen.edges
    ids, number = np.unique(seen.segment, return_inverse=True)
    for plot, (drop, right, up) in zip(axes[0], [(2, 0, 1), (1, 0, 2), (0, 1, 2)], strict=True):
        plot.imshow(density.data.sum(2 - drop), cmap="gray", origin="lower", extent=_extent(density))
        lines = mesh.vertices[edges][:, :, [right, up]]
        for i in range(len(ids)):
            _draw_lines(plot, lines[number == i], COLORS[i % len(COLORS)], 0.35, alpha=0.6)
        plot.set(title=f"along {'xyz'[drop]}")
    if rows > 1:
        for plot, axis in zip(axes[1], (0, 1, 2), strict=True):
            _draw_cut(plot, mesh, cell_index, density, axis)
            plot.set(title=f"cut across {'zyx'[axis]}")
    for plot, letters in zip(axes.ravel(), ("xy", "xz", "yz") * rows, strict=True):
        plot.set(xlabel=f"{letters[0]} (Å)", ylabel=f"{letters[1]} (Å)")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _extent(density: Volume) -> tuple[float, float, float, float]:
    n = len(density.data)
    low, high = ((i - 0.5 - n // 2) * density.pixel_size for i in (0, n))
    return low, high, low, high


def _draw_cut(plot: Axes, mesh: TetMesh, cell_index: Ints, density: Volume, axis: int) -> None:
    """Segments of the voxels in the middle section, and the lines between them."""
    n = len(density.data)
    cells = cell_index.take(n // 2, axis)
    ids = np.unique(mesh.segment)
    number = np.where(cells >= 0, np.searchsorted(ids, mesh.segment[cells]), -1)
    shown = np.zeros((n, n, 4))
    for i in range(len(ids)):
        color = COLORS[i % len(COLORS)]
        shown[number == i] = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)] + [0.55]
    plot.imshow(density.data.take(n // 2, axis), cmap="gray", origin="lower", extent=_extent(density))
    plot.imshow(shown, origin="lower", extent=_extent(density))
    pairs = borders(mesh).shared()
    joined = np.eye(len(ids), dtype=bool)
    for a, b in pairs:
        i, j = np.searchsorted(ids, (a, b))
        joined[i, j] = joined[j, i] = True
    for whether, color, width in ((True, "white", 1.0), (False, "#ff2d2d", 1.8)):
        _draw_lines(plot, _lines(number, joined, whether) * density.pixel_size, color, width)


def _draw_lines(
    plot: Axes, lines: NDArray[np.floating], color: str, width: float, alpha: float = 1.0
) -> None:
    """Draw lines (L, 2, 2) as one broken line, which is many times quicker than one by one."""
    broken = np.concatenate([lines, np.full((len(lines), 1, 2), np.nan)], axis=1).reshape(-1, 2)
    plot.plot(*broken.T, color=color, linewidth=width, alpha=alpha, solid_capstyle="butt")


def _lines(number: Ints, joined: NDArray[np.bool_], whether: bool) -> NDArray[np.float64]:
    """Voxel sides (L, 2, 2), x y in voxels from the centre, between segments that are joined, or that are not."""
    centre = len(number) // 2
    found = []
    for up in (0, 1):  # sides between a voxel and the next one along that axis
        low, high = (number[:-1], number[1:]) if up == 0 else (number[:, :-1], number[:, 1:])
        meet = (low >= 0) & (high >= 0) & (low != high) & (joined[low, high] == whether)
        start = np.argwhere(meet) - centre + np.array([0.5, -0.5] if up == 0 else [-0.5, 0.5])
        end = start + np.array([0, 1] if up == 0 else [1, 0])
        found.append(np.stack([start, end], axis=1)[:, :, ::-1])
    return np.concatenate(found)
