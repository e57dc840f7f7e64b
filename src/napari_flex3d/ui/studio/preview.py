"""The mesh of the draft over the map: edges of its surface, in the colours of segments or of rigidity."""

from typing import Any, Literal

import numpy as np
from napari.layers import Vectors

from napari_flex3d.mesh import TetMesh
from napari_flex3d.mesh.draft import Draft
from napari_flex3d.mesh.outline import Outline, outline
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.layers import RIGIDITY_COLORS, vertex_rigidity
from napari_flex3d.ui.studio.painting import BARE, color_of

OUTLINE = "Mesh preview"
FAINT = 0.55
"""Opacity of edges, so that the map is seen through them; those of split borders are opaque."""
SPLIT = (1.0, 0.18, 0.18, 1.0)
"""Colour of borders that may slide or part, red as in the stage's picture."""

Colored = Literal["segment", "rigidity"]


class MeshPreview:
    """The layer that shows a draft.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.layer: Vectors | None = None
        self.colored: Colored = "segment"
        self.is_on = True
        self._mesh: TetMesh | None = None
        self._seen: Outline | None = None
        self._grid: Grid | None = None

    def show(self, draft: Draft, grid: Grid) -> None:
        """Show a draft."""
        self._mesh, self._grid = draft.built.mesh, grid
        self._seen = outline(self._mesh)
        self._draw()

    def set_colored(self, colored: Colored) -> None:
        """Colour by segment or by rigidity weight."""
        self.colored = colored
        self._draw()

    def set_on(self, on: bool) -> None:
        """Show the mesh, or hide it."""
        self.is_on = on
        if self.is_there and self.layer is not None:
            self.layer.visible = on
        elif on:
            self._draw()

    @property
    def is_there(self) -> bool:
        """Whether the layer is in the viewer."""
        return self.layer is not None and self.layer in self.viewer.layers

    def move(self, displacements: np.ndarray | None = None) -> None:
        """Draw the edges where the vertices are displaced to, (P, 3) Å; at rest when not given."""
        if self.is_there and self.layer is not None and self.is_on:
            self.layer.data = self._lines(displacements)

    def close(self) -> None:
        """Take the layer away."""
        if self.is_there:
            self.viewer.layers.remove(self.layer)
        self.layer = self._mesh = None

    def _draw(self) -> None:
        if self._mesh is None or self._grid is None or not self.is_on:
            return
        lines, colors = self._lines(None), self._colors()
        if self.is_there and self.layer is not None:
            self.layer.visible = (
                True  # first: a hidden layer is not sliced anew, and napari would draw the old slice
            )
            self.layer.data = lines
            self.layer.edge_color = colors
            return
        if OUTLINE in self.viewer.layers:
            self.viewer.layers.remove(OUTLINE)
        active = self.viewer.layers.selection.active
        self.layer = Vectors(
            lines,
            name=OUTLINE,
            vector_style="line",
            edge_width=0.004 * self._grid.box_size,
            edge_color=colors,
            **self._grid.placement,
        )
        self.viewer.add_layer(self.layer)
        self.viewer.layers.selection.active = active

    def _lines(self, displacements: np.ndarray | None) -> np.ndarray:
        assert self._mesh is not None
        assert self._seen is not None
        assert self._grid is not None
        places = self._mesh.vertices if displacements is None else self._mesh.vertices + displacements
        start, end = (self._grid.indices(places[self._seen.edges[:, side]]) for side in (0, 1))
        return np.stack([start, end - start], axis=1)

    def _colors(self) -> np.ndarray:
        assert self._mesh is not None
        assert self._seen is not None
        if self.colored == "rigidity":
            weight = vertex_rigidity(self._mesh)[self._seen.edges].mean(1)
            low, high = float(weight.min()), float(weight.max())
            colors = RIGIDITY_COLORS.map(((weight - low) / max(high - low, 1e-3)).astype(np.float32))
            colors[:, 3] = FAINT
            return colors
        numbers = np.unique(self._seen.segment)
        table = np.array([_rgba(color_of(int(n)) if n else BARE) for n in numbers])
        colors = table[np.searchsorted(numbers, self._seen.segment)]
        colors[self._seen.is_split] = SPLIT
        return colors


def _rgba(color: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue, FAINT
