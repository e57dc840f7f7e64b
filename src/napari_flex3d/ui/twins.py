"""The flexible map and its rigid twin: what is on show of them, kept apart from the widgets that steer it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from napari.utils import Colormap
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_flex3d.resolutions import KINDS
from napari_flex3d.ui.isosurface import cut, default_contour
from napari_flex3d.ui.keys import Key
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.surface import FlexSurface
from napari_flex3d.ui.twin_maps import DIFFERENCE, GAIN, TwinMaps, noticeable, sampled

Kind = Literal["flex", "rigid"]
View = Literal["map", "halves", "difference", "gain"]

TWIN_KEY = "W"
"""Key over the canvas that goes from one twin to the other: with and without the motion. napari leaves it free."""

MAPS: dict[Kind, str] = {"flex": "Flexible map, reconstructed", "rigid": "Rigid map, reconstructed"}
MORE, LESS = "More density with motion", "Less density with motion"
PALE, BLUE, ORANGE = "#d5dae0", "#4fa3e8", "#ff8c42"
GAIN_COLORS = Colormap([ORANGE, PALE, BLUE], name="gain", display_name="gain in resolution")
"""From coarser through equal to finer with the motion."""
NOTHING = (np.zeros((3, 3), np.float32), np.array([[0, 1, 2]]))
"""A surface that cannot be seen, where a map does not reach the contour."""


@dataclass(frozen=True)
class _Look:
    """How a layer is made: a map's isosurface, of the map or of its negative, in a colour."""

    volume: str
    color: str
    sign: int = 1


LOOKS = {
    MORE: _Look(DIFFERENCE, BLUE),
    LESS: _Look(DIFFERENCE, ORANGE, -1),
    MAPS["flex"]: _Look("flex", PALE),
    MAPS["rigid"]: _Look("rigid", PALE),
    "Flexible half-map 1": _Look("flex_half1", PALE),
    "Flexible half-map 2": _Look("flex_half2", ORANGE),
    "Rigid half-map 1": _Look("rigid_half1", PALE),
    "Rigid half-map 2": _Look("rigid_half2", ORANGE),
}
HALVES: dict[Kind, tuple[str, str]] = {
    "flex": ("Flexible half-map 1", "Flexible half-map 2"),
    "rigid": ("Rigid half-map 1", "Rigid half-map 2"),
}


class Twins(QObject):
    """Both maps of one reconstruction, their half-maps and their difference, as surfaces at one contour.

    A surface is cut when it is first seen, and again when it is seen after the contour has changed, whether
    the dock, the key or the layer list shows it.

    Parameters
    ----------
    session
        The viewer's session.
    """

    changed = Signal()
    """Another map, view or contour is on show."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session = session
        self.maps: TwinMaps | None = None
        self.kind: Kind = "flex"
        self.view: View = "map"
        self.contour = self.level = 0.0
        self._layers: dict[str, FlexSurface] = {}
        session.ending.connect(self._on_ending)

    def _on_ending(self) -> None:
        self.listen(on=False)
        self._layers = {}  # they hold the canvas

    def open(self, folder: Path) -> TwinMaps:
        """Take the maps of another reconstruction, or of the same one after it was made anew."""
        self._remove()
        self.maps = TwinMaps(folder)
        self.kind, self.view = "flex", "map"
        self.contour, self.level = default_contour(self.maps.density("flex")), 0.0
        self.changed.emit()
        return self.maps

    def listen(self, *, on: bool) -> None:
        """Bind the key that goes from one twin to the other, or let it go."""
        keys = self.session.keys
        if self.session.viewer is None:  # the window goes
            return
        if on:
            meaning = "goes from the flexible map to its rigid twin and back"
            keys.bind(Key(TWIN_KEY, meaning, "Reconstruct is open; in the dock too"), self.toggle)
        else:
            keys.release(TWIN_KEY)

    # -- what there is -----------------------------------------------------------------------------

    @property
    def has_twin(self) -> bool:
        """Whether there is a rigid map."""
        return self.maps is not None and self.maps.has("rigid")

    @property
    def views(self) -> list[View]:
        """What can be shown of this reconstruction."""
        needed: dict[View, str] = {"map": "flex", "halves": "flex_half1", "difference": "rigid", "gain": GAIN}
        return [view for view, name in needed.items() if self.maps is not None and self.maps.has(name)]

    @property
    def is_on_show(self) -> bool:
        """Whether any of the surfaces is in the canvas and visible."""
        return any(self._is_there(name) and layer.visible for name, layer in self._layers.items())

    # -- what is on show ---------------------------------------------------------------------------

    def show(self, view: View | None = None, kind: Kind | None = None) -> None:
        """Show another view or another twin; camera and contour stay as they are."""
        if self.maps is None or self.session.viewer is None:
            return
        self.view, self.kind = view or self.view, kind or self.kind
        if self.view == "difference" and not self.level:
            self.level = noticeable(self.maps.density(DIFFERENCE))
        if not self.is_on_show:
            self._take_canvas()
        wanted = self._wanted()
        for name in LOOKS:
            if name in wanted:
                self._bring(name)
            elif self._is_there(name):
                self._layers[name].visible = False
        self.changed.emit()

    def toggle(self) -> None:
        """Go from the flexible map to its rigid twin, or back."""
        if self.has_twin:
            self.show(kind="rigid" if self.kind == "flex" else "flex")

    def show_maps(self) -> None:
        """Take the canvas: hide what others have put there, and fit it to the maps."""
        if self.maps is not None and self.session.viewer is not None:
            self._take_canvas()
            self.show()
            self.session.viewer.reset_view()

    def set_contour(self, contour: float) -> None:
        """Cut all maps at another density: the twins have one contour."""
        self.contour = contour
        self._recut()

    def set_level(self, level: float) -> None:
        """Cut the difference at another density, and at its negative."""
        self.level = level
        self._recut()

    def _take_canvas(self) -> None:
        self.session.explorer.step_back()
        viewer = self.session.viewer
        for layer in viewer.layers:
            layer.visible = False
        viewer.dims.ndisplay = 3

    def _wanted(self) -> tuple[str, ...]:
        if self.view == "halves":
            return HALVES[self.kind]
        if self.view == "difference":
            return (MORE, LESS, MAPS[self.kind])
        return (MAPS[self.kind],)

    @property
    def words(self) -> str:
        """Say what is on show, in a sentence with the colours by name."""
        map_name = KINDS[self.kind]
        if self.maps is None:
            return ""
        if self.view == "halves":
            return (
                f"Both half-maps of the {map_name} map, the second orange: what they do not share is noise."
            )
        if self.view == "difference":
            return (
                f"Blue: more density with the motion; orange: less. The rigid map times {self.maps.scale:.3f} was "
                f"subtracted from the flexible one; translucent: the {map_name} map."
            )
        if self.view == "gain":
            return (
                f"Local resolution on the {map_name} map. Blue: finer with the motion, by {self.maps.largest_gain:.1f} "
                "Å and more; orange: coarser by as much."
            )
        return f"The {map_name} map."

    # -- layers ------------------------------------------------------------------------------------

    def _is_there(self, name: str) -> bool:
        viewer = self.session.viewer
        return viewer is not None and name in self._layers and self._layers[name] in viewer.layers

    def _bring(self, name: str) -> None:
        """Show a layer, made if it is not there, at the present contour."""
        if not self._is_there(name):
            self._add(name)
        layer = self._layers[name]
        if name in MAPS.values():
            layer.opacity = 0.25 if self.view == "difference" else 1.0
        layer.visible = True
        self._cut(name)

    def _add(self, name: str) -> None:
        viewer, look = self.session.viewer, LOOKS[name]
        assert self.maps is not None
        if name in viewer.layers:
            viewer.layers.remove(name)
        values = np.ones(3)
        layer = FlexSurface(
            (*NOTHING, values),
            name=name,
            colormap=_plain(look.color),
            contrast_limits=(0.0, 1.0),
            shading="smooth",
            visible=False,
            **self.maps.grid.placement,
        )
        self._layers[name] = layer
        if look.volume == DIFFERENCE:  # beneath the translucent map, which is drawn over it
            viewer.layers.insert(0, layer)
        else:
            viewer.add_layer(layer)
        layer.events.visible.connect(lambda: self._cut(name))

    def _cut(self, name: str) -> None:
        """Cut a visible surface again if its contour or its colours are out of date."""
        layer, look = self._layers[name], LOOKS[name]
        if self.maps is None or not layer.visible:
            return
        level = self.level if look.volume == DIFFERENCE else self.contour
        is_painted = self.view == "gain" and name in MAPS.values()
        state = {"contour": look.sign * level, "painted": is_painted}
        if layer.metadata == state:
            return
        vertices, faces = cut(look.sign * self.maps.density(look.volume), level)
        if not len(vertices):
            vertices, faces = NOTHING
        if is_painted:
            end = self.maps.largest_gain
            values, layer.colormap = sampled(self.maps.density(GAIN), vertices), GAIN_COLORS
            layer.contrast_limits_range = layer.contrast_limits = (-end, end)
        else:
            values, layer.colormap = np.ones(len(vertices), np.float32), _plain(look.color)
            layer.contrast_limits_range = layer.contrast_limits = (0.0, 1.0)
        layer.reshape(vertices, faces, values)
        layer.metadata = state

    def _recut(self) -> None:
        for name in self._layers:
            if self._is_there(name):
                self._cut(name)
        self.changed.emit()

    def _remove(self) -> None:
        for name, layer in self._layers.items():
            if self._is_there(name):
                self.session.viewer.layers.remove(layer)
        self._layers = {}


def _plain(color: str) -> Colormap:
    return Colormap(["#000000", color], name=color, display_name=color)
