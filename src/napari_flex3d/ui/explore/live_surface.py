"""The isosurface that moves with the mesh, and the one at rest, as layers."""

from collections.abc import Callable
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np

from napari_flex3d.ui.explore.color_scale import DISPLACEMENT_COLORS
from napari_flex3d.ui.explore.maps import Subject
from napari_flex3d.ui.isosurface import FINE, CarriedSurface, cut
from napari_flex3d.ui.surface import FlexSurface

Colored = Literal["displacement", "plain"]

SURFACE, REST = "Flexible map", "Map at rest"
PLAIN_COLORS = "gray"
TINT = (0.45, 0.36, 0.62)
"""Colour of a map that few particles support."""
STRONGEST_TINT = 0.65
SEE_THROUGH = 0.35
"""Opacity of a map with an atomic model inside."""
SAMPLED = 48
"""Particles whose displacements set the end of the colour scale."""


class LiveSurface:
    """The surface layer, tied to the mesh.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layers: WeakValueDictionary[str, FlexSurface] = WeakValueDictionary()  # the viewer keeps them
        self._subject: Subject | None = None
        self._contour = 0.0
        self._model: Any = None
        self._made_of: tuple[Any, ...] = ()
        self._visible = True
        self.carried: CarriedSurface | None = None
        self.most = FINE
        self.colored: Colored = "displacement"
        self.compare = False
        self.largest = 1.0
        self.farthest = 0.0
        self.on_drawn: Callable[[], None] = lambda: None

    def layer(self, name: str = SURFACE) -> FlexSurface | None:
        """Give a layer, if it is in the viewer."""
        layer = self._layers.get(name)
        return layer if layer is not None and layer in self._viewer.layers else None

    def take(self, model: Any) -> None:
        """Be the surface of another model; how far its particles move sets the colours."""
        self._model = model
        few = np.linspace(0, len(model.latents) - 1, min(SAMPLED, len(model.latents))).astype(int)
        moved = np.linalg.norm(model.displacements(model.latents[few]), axis=-1)
        self.largest = max(float(np.percentile(moved.max(axis=1), 90)), 1e-3)

    def cut(self, subject: Subject, contour: float, latent: np.ndarray) -> bool:
        """Cut a map at a contour and tie the surface to the mesh; False if the map does not reach it."""
        self._subject, self._contour = subject, contour
        made_of = (subject, contour, self._model.mesh, self.most)
        is_same = made_of == self._made_of
        if not is_same:
            self._made_of = made_of
            self.carried = CarriedSurface.of(subject.density, subject.pixel_size, *made_of[1:])
        assert self.carried is not None
        if not len(self.carried.points):
            return False
        moved, values = self._moved(self._model.displacements(latent))
        vertices, layer = subject.grid.indices(moved), self.layer()
        if layer is None or not np.allclose(layer.scale, subject.pixel_size):
            if layer is not None:
                self._viewer.layers.remove(layer)
            look = {
                "colormap": self._colormap(),
                "contrast_limits": (0.0, self.largest),
                "shading": "smooth",
                "visible": self._visible,
            }
            layer = FlexSurface(
                (vertices, self.carried.faces, values), name=SURFACE, **look, **subject.grid.placement
            )
            layer.drawing.drawn.connect(lambda _: self.on_drawn())
            self._add(SURFACE, layer)
        else:
            layer.contrast_limits = (0.0, self.largest)
            if is_same and len(layer.vertices) == len(vertices):
                layer.move(vertices, values)
            else:
                layer.reshape(vertices, self.carried.faces, values, passing=self.most != FINE)
        self._show_rest()
        return True

    def move(self, displacements: np.ndarray, subject: Subject, contour: float, lack: float) -> None:
        """Follow the mesh's vertices (P, 3) Å; tinted as far as particles are lacking, 0 to 1."""
        if self.carried is None or not len(self.carried.points):
            return
        layer = self.layer()
        if layer is None:  # the person has deleted it
            self.cut(subject, contour, np.zeros(self._model.latent_dims))
            layer = self.layer()
            assert layer is not None
        moved, values = self._moved(displacements)
        if len(layer.vertices) == len(moved):
            layer.tint = (*TINT, STRONGEST_TINT * lack)
            layer.move(subject.grid.indices(moved), values)

    def settle(self) -> None:
        """Make the drawn shape the layer's data."""
        layer = self.layer()
        if layer is not None:
            layer.settle()

    def set_visible(self, visible: bool) -> None:
        """Show or hide it."""
        self._visible = visible
        layer = self.layer()
        if layer is not None and layer.visible != visible:
            layer.visible = visible

    def see_through(self) -> None:
        """Make the map translucent, if it is not, so that what lies inside is seen."""
        layer = self.layer()
        if layer is not None and layer.opacity == 1:
            layer.opacity = SEE_THROUGH

    def set_colored(self, colored: Colored, displacements: np.ndarray | None) -> None:
        """Colour by how far the surface has moved, or plainly."""
        self.colored = colored
        layer = self.layer()
        if layer is not None and displacements is not None and self._subject is not None:
            layer.colormap = self._colormap()
            self.move(displacements, self._subject, self._contour, layer.tint[3] / STRONGEST_TINT)

    def set_compare(self, compare: bool) -> None:
        """Show the map at rest, translucent, behind the moved one."""
        self.compare = compare
        self._show_rest()

    def _show_rest(self) -> None:
        rest = self.layer(REST)
        if rest is not None:
            rest.visible = self.compare
        if not self.compare or self._subject is None:
            return
        vertices, faces = cut(self._subject.density, self._contour)
        values = np.full(len(vertices), 0.8)
        if rest is not None and np.allclose(rest.scale, self._subject.pixel_size):
            rest.reshape(vertices, faces, values)
        elif len(vertices):
            if rest is not None:
                self._viewer.layers.remove(rest)
            look: dict[str, Any] = {"colormap": "gray", "contrast_limits": (0, 1), "opacity": 0.25}
            placement = self._subject.grid.placement
            self._add(REST, FlexSurface((vertices, faces, values), name=REST, **look, **placement))

    def _add(self, name: str, layer: FlexSurface) -> None:
        self._layers[name] = layer
        self._viewer.add_layer(layer)

    def _colormap(self) -> Any:
        return DISPLACEMENT_COLORS if self.colored == "displacement" else PLAIN_COLORS

    def _moved(self, displacements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the surface's points now, Å, and the values that colour them."""
        assert self.carried is not None
        shift = self.carried.displacements(displacements)
        distance = np.sqrt(np.einsum("nc,nc->n", shift, shift))
        self.farthest = float(distance.max(initial=0.0))
        plain = self.colored == "plain"
        values = np.full(len(shift), 0.8 * self.largest) if plain else distance
        return self.carried.points + shift, values.astype(np.float32)
