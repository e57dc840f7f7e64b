"""What moves with the map: the mesh, arrows of the motion, an atomic model."""

from typing import Any

import numpy as np
from napari.utils import Colormap

from napari_flex3d.ops.surfaces import interpolate
from napari_flex3d.ui.explore.color_scale import DISPLACEMENT_COLORS
from napari_flex3d.ui.explore.maps import Subject
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.layers import RIGIDITY_COLORS, vertex_rigidity
from napari_flex3d.ui.surface import FlexSurface

MESH, ARROWS = "Moving mesh", "Motion"
ARROWS_SHOWN = 350
"""About so many arrows."""
SHORTEST = 0.3
"""Shorter motions have no arrow, Å."""


class Carried:
    """A surface whose points are tied to the mesh, as a layer.

    Parameters
    ----------
    viewer
        The viewer.
    name
        Of the layer.
    """

    def __init__(self, viewer: Any, name: str) -> None:
        self._viewer, self._name = viewer, name
        self._layer: FlexSurface | None = None
        self._grid: Grid | None = None
        self._points = np.zeros((0, 3), np.float32)
        self._corners = self._weights = np.zeros((0, 4))
        self.is_shown = False

    @property
    def layer(self) -> FlexSurface | None:
        """The layer, if it is in the viewer."""
        return self._layer if self._layer is not None and self._layer in self._viewer.layers else None

    def tie(self, points: np.ndarray, model: Any) -> None:
        """Tie points (N, 3), x, y, z in Å from the box centre, to the mesh of a model."""
        self._points = np.asarray(points, np.float32)
        cell, weights = model.mesh.locate(self._points)
        self._corners, self._weights = np.asarray(model.mesh.cells)[cell], np.asarray(weights, np.float32)

    def put(self, faces: np.ndarray, values: np.ndarray, grid: Grid, look: dict[str, Any]) -> FlexSurface:
        """Show the points at rest, joined by faces (F, 3), with a value each (N)."""
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)
        self._grid = grid
        self._layer = FlexSurface(
            (grid.indices(self._points), faces, values),
            name=self._name,
            visible=self.is_shown,
            **{**grid.placement, **look},
        )
        self._viewer.layers.insert(0, self._layer)  # drawn first: it is seen through a translucent map
        return self._layer

    def moved(self, displacements: np.ndarray) -> np.ndarray:
        """Where the points are, (N, 3) Å, when the mesh's vertices are displaced by these (P, 3)."""
        return self._points + interpolate(displacements, self._corners, self._weights)

    def move(self, displacements: np.ndarray) -> None:
        """Follow the mesh's vertices."""
        if self.layer is not None and self._grid is not None and self.is_shown:
            self.layer.move(self._grid.indices(self.moved(displacements)))

    def settle(self) -> None:
        """Make what is drawn the layer's data."""
        if self.layer is not None and self.is_shown:
            self.layer.settle()

    def show(self, on: bool) -> None:
        """Show or hide it."""
        self.is_shown = on
        if self.layer is not None:
            self.layer.visible = on

    def take(self, model: Any, subject: Subject) -> None:
        """Lie on another model."""
        raise NotImplementedError


class MovingMesh(Carried):
    """The edges of the mesh's border, coloured by rigidity."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, MESH)

    def take(self, model: Any, subject: Subject) -> None:
        """Be the mesh of another model."""
        mesh, grid = model.mesh, subject.grid.same_centre(model.box_size, model.pixel_size)
        self.tie(mesh.vertices, model)
        weight = vertex_rigidity(mesh)
        low, high = float(weight.min()), float(weight.max())
        look: dict[str, Any] = {
            "colormap": RIGIDITY_COLORS,
            "contrast_limits": (low, high if high > low else low + 1e-3),
            "opacity": 0.7,
        }
        layer = self.put(np.asarray(mesh.boundary_faces()), weight, grid, look)
        layer.wireframe.visible = True


class Arrows:
    """Arrows from where parts of the map rest to where they are."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._points = Carried(viewer, ARROWS)
        self._layer: Any = None
        self._grid: Grid | None = None
        self._largest = 1.0
        self._last = np.zeros((0, 3), np.float32)
        self.is_shown = False

    def take(self, model: Any, subject: Subject) -> None:
        """Start at voxels of the map, evenly spread."""
        self._grid = subject.grid.same_centre(model.box_size, model.pixel_size)
        inside = np.argwhere(model.mask)
        step = max(1, round((len(inside) / ARROWS_SHOWN) ** (1 / 3)))
        kept = inside[(inside % step == 0).all(1)]
        points = (kept - model.box_size // 2)[:, ::-1] * model.pixel_size
        self._points.tie(points, model)
        self._rest = points.astype(np.float32)
        few = model.displacements(model.latents[:: max(1, len(model.latents) // 48)])
        self._largest = max(float(np.linalg.norm(few, axis=-1).max()), 1e-3)

    def move(self, displacements: np.ndarray) -> None:
        """Remember where they end; they are drawn when the latent is let go."""
        self._last = displacements

    def settle(self) -> None:
        """Draw them."""
        if not self.is_shown or self._grid is None or not len(self._last):
            return
        difference = self._points.moved(self._last) - self._rest
        length = np.linalg.norm(difference, axis=1)
        kept = length > SHORTEST
        vectors = np.stack([self._grid.indices(self._rest[kept]), self._grid.vectors(difference[kept])], 1)
        if not kept.any():  # napari draws no empty layer
            vectors, length, kept = np.zeros((1, 2, 3)), np.zeros(1), np.ones(1, bool)
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = self._viewer.add_vectors(
            vectors,
            name=ARROWS,
            vector_style="triangle",
            edge_width=0.012 * self._grid.box_size,
            features={"length": length[kept]},
            edge_color="length",
            edge_colormap=Colormap(DISPLACEMENT_COLORS.colors[1:], name="motion", display_name="motion"),
            edge_contrast_limits=(0.0, self._largest),
            **self._grid.placement,
        )

    def show(self, on: bool) -> None:
        """Show or hide them."""
        self.is_shown = on
        if on:
            self.settle()
        elif self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
