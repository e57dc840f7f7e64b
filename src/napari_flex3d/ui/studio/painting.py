"""Segments on the consensus map: a layer of labels, a surface in their colours, and a brush for both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils import Colormap, DirectLabelColormap
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_flex3d.mesh.draft import Ground
from napari_flex3d.mesh.picture import COLORS
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.isosurface import cut
from napari_flex3d.ui.surface import FlexSurface

MAP, SEGMENTS, SURFACE = "Map to segment", "Segments", "Painted map"
BARE = "#8f969f"
"""Colour of what nobody has painted."""
BRUSH = 14.0
"""Width of the brush at first, Å."""


def color_of(segment: int) -> str:
    """Colour of a segment, ``#rrggbb``; segments count from 1."""
    return COLORS[(segment - 1) % len(COLORS)]


SURFACE_COLORS = Colormap([BARE, *COLORS], name="segments", display_name="segments", interpolation="zero")


def shade_of(segments: np.ndarray) -> np.ndarray:
    """Where in `SURFACE_COLORS`, which goes from 0 to 1, the colours of segments are; 0 is none."""
    place = np.where(segments > 0, (segments - 1) % len(COLORS) + 1, 0)
    return ((place + 0.5) / (len(COLORS) + 1)).astype(np.float32)


class SegmentLabels(Labels):
    """napari's layer of labels, which also tells when a stroke is taken back."""

    _type_string = "labels"

    def undo(self) -> None:
        """Take the last stroke back."""
        super().undo()
        self.events.paint(value=[])

    def redo(self) -> None:
        """Do the last stroke again."""
        super().redo()
        self.events.paint(value=[])


class Painting(QObject):
    """The layers that segments are painted on, and the brush.

    In 2-D, napari's own brush paints a ball through the slices. In 3-D, napari paints on voxels only that have a label
    already, so there a brush of our own paints on the surface of the map, with Shift.

    Parameters
    ----------
    viewer
        The viewer.
    ground, grid
        Map and mask, and where they lie.
    contour
        Density of the surface at first.
    """

    painted = Signal()
    """A stroke was made, taken back or done again."""

    def __init__(self, viewer: Any, ground: Ground, grid: Grid, contour: float) -> None:
        super().__init__()
        self.viewer, self.ground, self.grid, self.contour = viewer, ground, grid, contour
        volume = ground.density.data
        top = float(np.percentile(volume, 99.95))
        limits = (0.0, top) if top > 0 else (float(volume.min()), float(volume.max()))
        self.image = Image(volume, name=MAP, contrast_limits=limits, visible=False, **grid.placement)
        self.labels = SegmentLabels(
            np.zeros(volume.shape, np.uint16), name=SEGMENTS, opacity=0.6, **grid.placement
        )
        colors: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
        colors |= {n: color_of(n) for n in range(1, 256)}
        self.labels.colormap = DirectLabelColormap(color_dict=colors)
        self.brush = BRUSH
        self._inside = np.zeros((0, 3), int)
        self.surface = FlexSurface(
            self._cut(contour) or (np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]), np.zeros(3)),
            name=SURFACE,
            colormap=SURFACE_COLORS,
            contrast_limits=(0.0, 1.0),
            shading="smooth",
            **grid.placement,
        )
        self.labels.events.paint.connect(self._on_paint)
        viewer.dims.events.ndisplay.connect(self._on_turn)

    # -- the canvas --------------------------------------------------------------------------------

    @property
    def is_there(self) -> bool:
        """Whether the layers are in the viewer."""
        return self.labels in self.viewer.layers

    def show(self) -> None:
        """Take the canvas: hide what others have put there."""
        for layer in self.viewer.layers:
            layer.visible = False
        for layer in (self.image, self.surface, self.labels):
            if layer not in self.viewer.layers:
                if layer.name in self.viewer.layers:
                    self.viewer.layers.remove(layer.name)
                self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = self.labels
        self._take_view()

    def close(self) -> None:
        """Take the layers away."""
        self.viewer.dims.events.ndisplay.disconnect(self._on_turn)
        for layer in (self.image, self.surface, self.labels):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

    def _on_turn(self, event: Any) -> None:
        """Follow the view between slices and the whole, unless others have put this away."""
        if self.is_there and (self.labels.visible or self.surface.visible):
            self._take_view()

    def _take_view(self) -> None:
        """Slices are painted on labels, the whole map on its surface, which software draws many times quicker."""
        flat = self.viewer.dims.ndisplay == 2
        self.image.visible = self.labels.visible = flat  # in 3-D neither is ever drawn: it would take seconds
        self.surface.visible = not flat
        self.color()
        self.labels.mode = "paint" if flat else "pan_zoom"
        self.labels.n_edit_dimensions = 3  # napari's controls have put it back when the layer came

    def cut(self, contour: float) -> None:
        """Cut the surface at another density."""
        data = self._cut(contour)
        if data is not None:
            self.contour = contour
            self.surface.reshape(*data)

    def _cut(self, contour: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Vertices, faces and colours of the surface; None where the map does not reach the contour."""
        volume = self.ground.density.data
        vertices, faces = cut(volume, contour)
        if not len(vertices):
            return None
        ends = np.stack([np.floor(vertices), np.ceil(vertices)]).astype(int)
        inner = volume[tuple(ends[1].T)] > volume[tuple(ends[0].T)]
        self._inside = np.where(inner[:, None], ends[1], ends[0])
        return vertices, faces, self._shades()

    def _shades(self) -> np.ndarray:
        return shade_of(np.asarray(self.labels.data)[tuple(self._inside.T)])

    def _on_paint(self, event: Any = None) -> None:
        self.color()
        self.painted.emit()

    def color(self) -> None:
        """Give the surface the colours of the labels."""
        if len(self._inside) == len(self.surface.vertices):
            self.surface.move(self.surface.drawn_vertices, self._shades())

    # -- painting ----------------------------------------------------------------------------------

    @property
    def brush(self) -> float:
        """Width of the brush, Å."""
        return float(self.labels.brush_size * self.grid.pixel_size)

    @brush.setter
    def brush(self, width: float) -> None:
        self.labels.brush_size = max(1, round(width / self.grid.pixel_size))

    def voxel_under(self, event: Any) -> np.ndarray | None:
        """First voxel above the contour under the mouse in 3-D, z y x; None beside the map."""
        start, end = self.image.get_ray_intersections(
            position=event.position,
            view_direction=event.view_direction,
            dims_displayed=list(event.dims_displayed),
            world=True,
        )
        if start is None or end is None:
            return None
        steps = np.linspace(0, 1, 2 * int(np.linalg.norm(end - start)) + 2)[:, None]
        voxels = np.rint(start + steps * (end - start)).astype(int)
        volume = self.ground.density.data
        voxels = voxels[((voxels >= 0) & (voxels < len(volume))).all(1)]
        above = volume[tuple(voxels.T)] > self.contour
        return voxels[above.argmax()] if above.any() else None

    @contextmanager
    def stroke(self) -> Iterator[None]:
        """All dabs in it are one stroke, which one undo takes back."""
        with self.labels.block_history():
            yield

    def dab(self, voxel: np.ndarray) -> None:
        """Paint a ball about a voxel with the selected label, inside the mask."""
        radius = self.labels.brush_size / 2
        reach = int(radius)
        low, high = np.maximum(voxel - reach, 0), np.minimum(voxel + reach + 1, len(self.ground.mask))
        region = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        near = np.stack(
            np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
        )
        ball = np.square(near - voxel[:, None, None, None]).sum(0) <= max(radius**2, 0.25)
        ball &= self.ground.mask[region]
        self.labels.data_setitem(
            tuple(near[:, ball]), self.labels.selected_label, refresh=self.labels.visible
        )
        self.color()

    def replace(self, labels: np.ndarray) -> None:
        """Paint everything anew in one stroke: labels (n, n, n), 0 for none."""
        changed = np.nonzero(labels != self.labels.data)
        if len(changed[0]):
            with self.stroke():
                self.labels.data_setitem(changed, labels[changed].astype(np.uint16), refresh=False)
            self.labels.refresh()

    def ids(self) -> list[int]:
        """Segments that have voxels."""
        return np.flatnonzero(np.bincount(np.asarray(self.labels.data).ravel()))[1:].tolist()
