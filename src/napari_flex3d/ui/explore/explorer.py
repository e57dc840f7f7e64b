"""The map at one latent: what is on show, kept apart from the widgets that steer it."""

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.ui.explore.color_scale import DISPLACEMENT_COLORS
from napari_flex3d.ui.explore.courses import Course, courses
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.isosurface import CarriedSurface, cut, default_contour, low_passed
from napari_flex3d.ui.keys import Key
from napari_flex3d.ui.run import Mailbox
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.surface import REGISTERED, FlexSurface

Shown = Literal["surface", "volume", "both"]
Colored = Literal["displacement", "plain"]

SURFACE, VOLUME, REST = "Flexible map", "Flexible volume", "Map at rest"
PLAIN_COLORS = "gray"
FRAME_INTERVAL = 40
"""Milliseconds between two frames while playing, if the drawing keeps up."""
SAMPLED = 48
"""Particles whose displacements set the end of the colour scale."""


class Explorer(QObject):
    """The latent on show, the contour, and the layers that show the map there.

    Parameters
    ----------
    session
        The viewer's session, which owns the model.
    """

    model_taken = Signal(object)
    """A model (or the next checkpoint of it) is on show."""
    latent_changed = Signal(object)
    """(K,) latent on show."""
    measured = Signal(str)
    """Numbers about the last frame, for the state line."""
    playing_changed = Signal(bool)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._job: Path | None = None
        self.session = session
        self.model: Any = None
        self.grid: Grid | None = None
        self.latent = np.zeros(2)
        self.limits = np.array([[-1.0, 1.0]] * 2)
        self.density = np.zeros((1, 1, 1), np.float32)
        self.low_pass = 0.0
        self.contour = 0.0
        self.largest = 1.0
        self.shown: Shown = "surface"
        self.colored: Colored = "displacement"
        self.compare = False
        self._is_behind = False
        self.carried: CarriedSurface | None = None
        self.courses: list[Course] = []
        self.course: Course | None = None
        self.period = 4.0
        self._part = 0.0
        self._layers: dict[str, Any] = {}
        self._mailbox: Mailbox | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(FRAME_INTERVAL)
        self._timer.timeout.connect(self._step)
        self._bind_keys(on=True)
        session.model_changed.connect(self.take)
        session.ending.connect(self.close)
        if session.model is not None:
            self.take(session.model)

    def close(self) -> None:
        """End the thread and the timer."""
        self._timer.stop()
        self._bind_keys(on=False)
        if self._mailbox is not None:
            self._mailbox.close()
            self._mailbox = None
        self._layers.clear()

    def _bind_keys(self, *, on: bool) -> None:
        """Bind the keys over the canvas, or let them go."""
        keys = self.session.keys
        if not on:
            return keys.release("Alt-P", "Alt-0")
        keys.bind(Key("Alt-P", "plays or pauses the motion"), lambda: self.play(not self.is_playing))
        keys.bind(Key("Alt-0", "goes to the mean latent"), self.go_to_mean)

    # -- the model ---------------------------------------------------------------------------------

    def take(self, model: Any) -> None:
        """Show a model: at the same latent and contour, if it is the next checkpoint of the same training."""
        is_next = self.model is not None and self._job == self.session.model_job
        self._job = self.session.model_job
        self.model, self.grid = model, self.session.model_grid
        self.limits = np.percentile(model.latents, [1, 99], axis=0).T
        self.limits[:, 1] = np.maximum(self.limits[:, 1], self.limits[:, 0] + 1e-3)
        self.courses = courses(model.latents)
        names = [course.name for course in self.courses]
        at = names.index(self.course.name) if self.course is not None and self.course.name in names else 0
        self.course = self.courses[at]
        if not is_next or len(self.latent) != model.latent_dims:
            self.latent = np.zeros(model.latent_dims)
            self.low_pass = float(model.facts.get("training_limit_A") or 0.0)
            self.density = low_passed(model.canonical, model.pixel_size, self.low_pass)
            self.contour = default_contour(self.density, model.mask)
        self.density = low_passed(model.canonical, model.pixel_size, self.low_pass)
        few = np.linspace(0, len(model.latents) - 1, min(SAMPLED, len(model.latents))).astype(int)
        moved = np.linalg.norm(model.displacements(model.latents[few]), axis=-1)
        self.largest = max(float(np.percentile(moved.max(axis=1), 90)), 1e-3)
        self._recut(is_new=not is_next)
        if not is_next and self.session.is_running and self.session.run_stage == "train":
            self.step_forward()  # the first map of a training that was started here
        self.model_taken.emit(model)
        self.latent_changed.emit(self.latent)
        self.settle()

    # -- where and how -----------------------------------------------------------------------------

    def go_to(self, latent: np.ndarray) -> None:
        """Show another latent; the surface moves at once, the volume follows on `settle`."""
        self.latent = np.asarray(latent, float)
        if self._is_behind:
            self.step_forward()
        self._move()
        self.latent_changed.emit(self.latent)

    def go_to_mean(self) -> None:
        """Show the mean latent of the particles."""
        if self.model is not None:
            self.go_to(self.model.latents.mean(0))
            self.settle()

    def step_back(self) -> None:
        """Leave the canvas to another stage, until the latent is moved again."""
        self._is_behind = True

    def step_forward(self) -> None:
        """Take the canvas: show the flexible map and hide what other stages have put there."""
        self._is_behind = False
        viewer = self.session.viewer
        if viewer is None or self.model is None:
            return
        for layer in viewer.layers:
            layer.visible = False
        viewer.dims.ndisplay = 3
        self.set_shown(self.shown)
        self.set_compare(self.compare)

    def settle(self) -> None:
        """Compute the volume, and make the surface's shape its layer's data: a slider was let go."""
        if self.model is None:
            return
        if self._is_there(SURFACE) and not self._timer.isActive():
            self._layers[SURFACE].settle()
        if self.shown != "surface":
            if self._mailbox is None:
                self._mailbox = Mailbox(self._volume, self)
                self._mailbox.answered.connect(self._on_volume)
                self._mailbox.failed.connect(lambda error: self.measured.emit(str(error)))
            self._mailbox.submit((self.model, self.density, self.latent.copy()))

    def set_contour(self, contour: float) -> None:
        """Cut the surface at another density."""
        self.contour = contour
        if self.model is not None:
            self._recut(is_new=False)
            if self._is_there(VOLUME):
                self._layers[VOLUME].iso_threshold = contour

    def set_low_pass(self, resolution: float) -> None:
        """Filter the map to a resolution, Å; 0 shows it as it is."""
        self.low_pass = resolution
        if self.model is not None:
            self.density = low_passed(self.model.canonical, self.model.pixel_size, resolution)
            self._recut(is_new=False)
            self.settle()

    def set_shown(self, shown: Shown) -> None:
        """Show the surface, the volume or both."""
        self.shown = shown
        if self.model is not None:
            self._move()
            self.settle()
        for name, wanted in ((SURFACE, shown != "volume"), (VOLUME, shown != "surface")):
            if self._is_there(name):
                self._layers[name].visible = wanted

    def set_colored(self, colored: Colored) -> None:
        """Colour the surface by its displacement, or plainly."""
        self.colored = colored
        if self._is_there(SURFACE):
            self._layers[SURFACE].colormap = self._colormap()
            self._move()

    def set_compare(self, compare: bool) -> None:
        """Show the map at rest, translucent, behind the moved one."""
        self.compare = compare
        if self.model is not None:
            self._show_rest()

    # -- playing -----------------------------------------------------------------------------------

    @property
    def is_playing(self) -> bool:
        """Whether the latent moves by itself."""
        return self._timer.isActive()

    def play(self, on: bool) -> None:
        """Go to and fro along the course, or stop."""
        on = on and self.model is not None
        if on == self.is_playing:
            return
        if on:
            self._timer.start()
        else:
            self._timer.stop()
            self.settle()
        self.playing_changed.emit(on)

    def _step(self) -> None:
        if self.course is None:
            return
        self._part = (self._part + FRAME_INTERVAL / 1000 / self.period) % 1.0
        self.go_to(self.course.at(0.5 - 0.5 * np.cos(2 * np.pi * self._part), self.latent))

    # -- layers ------------------------------------------------------------------------------------

    def _is_there(self, name: str) -> bool:
        viewer = self.session.viewer
        return viewer is not None and name in self._layers and self._layers[name] in viewer.layers

    def _recut(self, *, is_new: bool) -> None:
        """Cut the canonical map at the contour and tie the surface to the mesh."""
        model, grid = self.model, self.grid
        assert grid is not None
        self.carried = CarriedSurface.of(self.density, model.pixel_size, self.contour, model.mesh)
        if not len(self.carried.points):
            self.measured.emit("The map does not reach this contour.")
            return
        moved, values = self._moved()
        data = (grid.indices(moved), self.carried.faces, values)
        if self._is_there(SURFACE):
            layer = self._layers[SURFACE]
            layer.contrast_limits = self._color_limits()
            layer.reshape(*data)
        else:
            layer = FlexSurface(data, name=SURFACE, **self._surface_look(), **grid.placement)
            self._add(SURFACE, layer)
        if is_new:
            layer.visible = self.shown != "volume" and not self._is_behind
        self._show_rest()

    def _surface_look(self) -> dict[str, Any]:
        return {
            "colormap": self._colormap(),
            "contrast_limits": self._color_limits(),
            "shading": "smooth",
        }

    def _colormap(self) -> Any:
        return DISPLACEMENT_COLORS if self.colored == "displacement" else PLAIN_COLORS

    def _color_limits(self) -> tuple[float, float]:
        return 0.0, self.largest

    def _show_rest(self) -> None:
        assert self.grid is not None
        if self._is_there(REST):
            self._layers[REST].visible = self.compare
        if not self.compare:
            return
        vertices, faces = cut(self.density, self.contour)
        values = np.full(len(vertices), 0.8)
        if self._is_there(REST):
            self._layers[REST].reshape(vertices, faces, values)
        elif len(vertices):
            look = {"colormap": "gray", "contrast_limits": (0, 1), "opacity": 0.25}
            self._add(REST, FlexSurface((vertices, faces, values), name=REST, **look, **self.grid.placement))

    def _add(self, name: str, layer: Any) -> None:
        self._layers[name] = layer
        self.session.viewer.add_layer(layer)

    def _moved(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the surface's points now, Å, and the values that colour them."""
        assert self.carried is not None
        shift = self.carried.displacements(self.model.displacements(self.latent))
        values = (
            np.linalg.norm(shift, axis=1)
            if self.colored == "displacement"
            else np.full(len(shift), 0.8 * self.largest)
        )
        return self.carried.points + shift, values.astype(np.float32)

    def _move(self) -> None:
        if self.model is None or self.grid is None or self.carried is None or not len(self.carried.points):
            return
        if not self._is_there(SURFACE):
            self._recut(is_new=True)
            return
        begun = time.perf_counter()
        moved, values = self._moved()
        layer = self._layers[SURFACE]
        if len(layer.vertices) == len(moved):
            layer.move(self.grid.indices(moved), values)
        took = 1000 * (time.perf_counter() - begun)
        self.measured.emit(
            f"{self.grid.box_size}³ · {len(moved):,} points moved in {took:.0f} ms"
            + (f" · up to {values.max():.1f} Å" if self.colored == "displacement" else "")
            + ("" if REGISTERED else " · slow drawing")
        )

    @staticmethod
    def _volume(request: tuple[Any, np.ndarray, np.ndarray]) -> np.ndarray:
        model, density, latent = request
        return np.ascontiguousarray(model.volume(latent, map=density), np.float32)

    def _on_volume(self, volume: np.ndarray) -> None:
        if self.model is None or self.grid is None or self.session.viewer is None:
            return
        if self._is_there(VOLUME) and self._layers[VOLUME].data.shape == volume.shape:
            layer = self._layers[VOLUME]
            layer.data[...] = volume  # the layer's own array: the setter would cost three times as much
            layer.refresh(thumbnail=False, highlight=False, extent=False)
            layer.visible = self.shown != "surface"
            return
        limits = (0.0, float(self.density.max()))
        look = {
            "contrast_limits": limits,
            "colormap": "gray",
            "rendering": "translucent",
            "blending": "additive",
        }
        layer = Image(volume.copy(), name=VOLUME, iso_threshold=self.contour, **look, **self.grid.placement)
        self._add(VOLUME, layer)
        layer.visible = self.shown != "surface"
