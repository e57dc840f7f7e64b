"""A surface layer that moves in a few milliseconds, because it keeps one shader program and one index buffer.

This is the only file that touches napari's private drawing classes (``napari._vispy``). Where they have
changed too much, the layer falls back to napari's own drawing, which compiles shaders at every move (about
160 ms instead of 30).
"""

import logging
from contextlib import nullcontext
from typing import Any

import numpy as np
from napari.layers import Surface
from napari.utils.events import EmitterGroup, Event

from napari_flex3d.ops.surfaces import vertex_normals

log = logging.getLogger(__name__)

VERTEX = """
attribute vec3 a_position;
attribute vec3 a_normal;
attribute vec4 a_color;
uniform vec4 u_tint;   // mixed in as much as its last number says
varying vec3 v_normal;
varying vec4 v_color;
void main() {
    v_normal = a_normal;
    v_color = vec4(mix(a_color.rgb, u_tint.rgb, u_tint.a), a_color.a);
    gl_Position = $transform(vec4(a_position, 1.0));
}
"""

FRAGMENT = """
uniform vec3 u_view;   // from the camera into the scene
uniform vec3 u_key;    // towards the main light
uniform vec3 u_fill;   // towards the weak light that opens the shadows
uniform vec3 u_gloss;  // half-way between the main light and the camera
uniform float u_shaded;
varying vec3 v_normal;
varying vec4 v_color;
void main() {
    float size = dot(v_normal, v_normal);
    vec3 n = size > 0.0 ? v_normal * inversesqrt(size) : -u_view;
    float facing = -dot(n, u_view);
    if (facing < 0.0) { n = -n; facing = -facing; }   // both sides are lit: a surface may be cut open
    float light = 0.30 + 0.62 * max(dot(n, u_key), 0.0) + 0.16 * max(dot(n, u_fill), 0.0);
    light *= 0.72 + 0.28 * smoothstep(0.0, 0.55, facing);   // darker rims separate one lobe from the next
    float gloss = max(dot(n, u_gloss), 0.0);
    gloss *= gloss; gloss *= gloss; gloss *= gloss; gloss *= gloss; gloss *= gloss;   // to the power of 32
    gl_FragColor = vec4(mix(v_color.rgb, v_color.rgb * light + 0.14 * gloss, u_shaded), v_color.a);
}
"""
"""Drawn for every pixel of every layer of faces, by the processor where there is no graphics card: kept short."""


class FlexSurface(Surface):
    """A surface layer whose vertices can be moved quickly; otherwise napari's own.

    `move` changes only what is drawn. `settle` makes the drawn shape the layer's data, for picking, export
    and slices. With ``wireframe.visible`` the edges of the faces are drawn in place of the faces. Of the events
    ``drawing``, ``drawn`` tells that the canvas with this layer in it has been drawn, whether the layer is visible or
    not.
    """

    _type_string = "surface"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drawn_vertices: np.ndarray = self.vertices
        self._is_settled = True
        self._tint = (0.0, 0.0, 0.0, 0.0)
        self.drawing = EmitterGroup(self, moved=Event, tint=Event, drawn=Event)
        """Not among ``events``: for each of those the list of layers is drawn anew, and the window put together."""

    @property
    def tint(self) -> tuple[float, float, float, float]:
        """Red, green and blue that are mixed into all colours, and how much, 0 to 1."""
        return self._tint

    @tint.setter
    def tint(self, tint: tuple[float, float, float, float]) -> None:
        if tint != self._tint:
            self._tint = tint
            self.drawing.tint()

    def move(self, vertices: np.ndarray, values: np.ndarray | None = None) -> None:
        """Draw the vertices elsewhere.

        Parameters
        ----------
        vertices
            (N, 3) positions in the layer's data coordinates (z, y, x), as many as the layer has.
        values
            (N,) new values of the vertices, which the colormap shows.
        """
        if values is not None:
            self._vertex_values = values
        self.drawn_vertices, self._is_settled = vertices, False
        if REGISTERED:
            self.drawing.moved()
        else:
            self.settle()

    def settle(self) -> None:
        """Take the drawn positions as the layer's data, if they are not."""
        if self._is_settled:
            return
        self._is_settled = True
        self.data = (self.drawn_vertices, self.faces, self.vertex_values)

    def reshape(
        self, vertices: np.ndarray, faces: np.ndarray, values: np.ndarray, *, passing: bool = False
    ) -> None:
        """Show another surface, with other faces.

        Of a ``passing`` one, which another soon follows, napari is not told: it would work out anew how far all layers
        reach, for the sliders of slices.
        """
        self.drawn_vertices, self._is_settled = vertices, True
        with self.events.data.blocker() if passing else nullcontext():
            self.data = (vertices, faces, values)


def _unit(way: np.ndarray) -> np.ndarray:
    return np.asarray(way / np.linalg.norm(way))


def edges_of(faces: np.ndarray) -> np.ndarray:
    """Edges (E, 2) of triangles (F, 3), each once."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0)


def _register() -> bool:
    """Tell napari how a `FlexSurface` is drawn; False where its private classes no longer fit."""
    try:
        from napari._vispy.layers.base import VispyBaseLayer
        from napari._vispy.utils.visual import layer_to_visual
        from vispy import gloo
        from vispy.scene.visuals import create_visual_node
        from vispy.visuals import Visual
        from vispy.visuals.filters.clipping_planes import PlanesClipper
    except ImportError as error:
        log.warning("Moving surfaces are drawn by napari's slower surface layer: %s", error)
        return False

    class MovingSurfaceVisual(Visual):
        """Triangles with a colour at every vertex, lit from beside the camera."""

        def __init__(self) -> None:
            super().__init__(VERTEX, FRAGMENT)
            self._buffers = {
                name: gloo.VertexBuffer(np.zeros((3, size), np.float32))
                for name, size in (("a_position", 3), ("a_normal", 3), ("a_color", 4))
            }
            for name, buffer in self._buffers.items():
                self.shared_program[name] = buffer
            self._index_buffer = gloo.IndexBuffer(np.zeros((1, 3), np.uint32))
            self._extent = np.zeros((2, 3), np.float32)
            self._is_empty = True
            self._draw_mode = "triangles"
            self.light(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))
            self.shared_program["u_shaded"] = 1.0
            self.shared_program["u_tint"] = (0.0, 0.0, 0.0, 0.0)
            self.set_gl_state("translucent", depth_test=True, cull_face=False)
            self._planes_filter = PlanesClipper()

        @property
        def clipping_planes(self) -> np.ndarray:
            """The planes that cut the surface, (C, 2, 3); napari sets them from the layer."""
            return self._planes_filter.clipping_planes

        @clipping_planes.setter
        def clipping_planes(self, planes: np.ndarray) -> None:
            was, self._planes_filter.clipping_planes = len(self.clipping_planes) > 0, planes
            if was != (
                len(planes) > 0
            ):  # it asks about every pixel, and where the processor draws that is dear
                (self.detach if was else self.attach)(self._planes_filter)

        def light(self, view: np.ndarray, up: np.ndarray) -> None:
            """Put the lights up and to the left of the camera, the weak one to its right."""
            right = np.cross(view, up)
            view, key = _unit(view), _unit(0.7 * up - view - 0.55 * right)
            fill = _unit(-0.2 * up - 0.5 * view + right)
            for name, way in (("view", view), ("key", key), ("fill", fill), ("gloss", _unit(key - view))):
                self.shared_program[f"u_{name}"] = way.astype(np.float32)

        def shade(self, shaded: bool) -> None:
            """Light the surface, or show its plain colours."""
            self.shared_program["u_shaded"] = float(shaded)

        def tint(self, tint: tuple[float, float, float, float]) -> None:
            """Mix a colour into all others."""
            self.shared_program["u_tint"] = tint
            self.update()

        def show(
            self, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, *, as_lines: bool = False
        ) -> None:
            """Take another surface."""
            self._is_empty = not len(faces)
            if not self._is_empty:
                self._draw_mode = "lines" if as_lines else "triangles"
                drawn = edges_of(faces) if as_lines else faces
                self._index_buffer.set_data(np.ascontiguousarray(drawn, np.uint32))
                self.move(vertices, normals)

        def move(self, vertices: np.ndarray, normals: np.ndarray) -> None:
            """Put the vertices elsewhere."""
            self._extent = np.stack([vertices.min(0), vertices.max(0)])
            self._buffers["a_position"].set_data(np.ascontiguousarray(vertices, np.float32))
            self._buffers["a_normal"].set_data(np.ascontiguousarray(normals, np.float32))
            self.update()

        def paint(self, colors: np.ndarray) -> None:
            """Give every vertex its colour, (N, 4) from 0 to 1."""
            if not self._is_empty:
                self._buffers["a_color"].set_data(np.ascontiguousarray(colors, np.float32))
                self.update()

        def _prepare_transforms(self, view: Any) -> None:
            view.view_program.vert["transform"] = view.transforms.get_transform()

        def _prepare_draw(self, view: Any) -> bool | None:
            return False if self._is_empty else None

        def _compute_bounds(self, axis: int, view: Any) -> tuple[float, float]:
            return tuple(self._extent[:, axis])

    node_class = create_visual_node(MovingSurfaceVisual)

    class VispyFlexSurface(VispyBaseLayer):
        """Draws a `FlexSurface`."""

        def __init__(self, layer: FlexSurface, **kwargs: Any) -> None:
            super().__init__(layer, node_class(), **kwargs)
            layer.drawing.moved.connect(self._on_move)
            for name in ("colormap", "contrast_limits", "gamma"):
                getattr(layer.events, name).connect(self._on_color_change)
            layer.events.shading.connect(self._on_shading_change)
            layer.drawing.tint.connect(lambda: self.node.tint(layer.tint))
            layer.wireframe.events.visible.connect(self._on_data_change)
            self.node.events.canvas_change.connect(self._on_canvas_change)
            self.reset()
            self._on_data_change()
            self.node.tint(layer.tint)

        def _on_data_change(self) -> None:
            layer = self.layer
            # reversing z, y, x to x, y, z mirrors the surface, so the faces are reversed as well
            name = "_view_vertices" if hasattr(layer, "_view_vertices") else "_data_view"  # napari 0.9, 0.8
            vertices = np.asarray(getattr(layer, name), np.float32)[:, ::-1]
            faces = np.asarray(layer._view_faces).reshape(-1, 3)[:, ::-1].astype(np.int64)
            if vertices.shape[1] == 2:  # a slice: flat, towards the viewer
                vertices = np.pad(vertices, ((0, 0), (0, 1)))
                normals = np.zeros_like(vertices)
            else:
                normals = vertex_normals(vertices, faces)
            self._faces = faces
            self.node.show(vertices, faces, normals, as_lines=layer.wireframe.visible)
            self._on_color_change()
            self._on_shading_change()  # the view may have become a slice, or whole
            self._on_matrix_change()

        def _on_move(self) -> None:
            if self.layer._slice_input.ndisplay != 3 or len(self._faces) != len(self.layer.faces):
                self.layer.settle()
                return
            vertices = np.asarray(self.layer.drawn_vertices, np.float32)[:, ::-1]
            self.node.move(vertices, vertex_normals(vertices, self._faces))
            self.node.paint(self._colors(self.layer.vertex_values))

        def _on_color_change(self) -> None:
            values = self.layer._view_vertex_values
            if values is not None and len(values):
                self.node.paint(self._colors(np.asarray(values)))

        def _colors(self, values: np.ndarray) -> np.ndarray:
            low, high = self.layer.contrast_limits
            relative = np.clip((values - low) / max(high - low, 1e-12), 0, 1) ** self.layer.gamma
            return self.layer.colormap.map(relative.astype(np.float32))

        def _on_canvas_change(self, event: Any) -> None:
            if event.old is not None:
                event.old.events.draw.disconnect(self._on_draw)
            if event.new is not None:
                event.new.events.draw.connect(self._on_draw, position="last")

        def _on_draw(self, event: Any) -> None:
            self.layer.drawing.drawn()

        def _on_shading_change(self) -> None:
            is_lit = self.layer.shading != "none" and self.layer._slice_input.ndisplay == 3
            self.node.shade(is_lit and not self.layer.wireframe.visible)
            self.node.update()

        def _on_view_direction_change(
            self, view: np.ndarray | None = None, up: np.ndarray | None = None
        ) -> None:
            if view is not None and up is not None:
                self.node.light(np.asarray(view, float), np.asarray(up, float))
                self.node.update()

    layer_to_visual[FlexSurface] = VispyFlexSurface
    return True


REGISTERED = _register()
"""Whether napari draws a `FlexSurface` with our own visual."""
