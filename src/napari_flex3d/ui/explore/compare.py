"""Two states of the map, overlaid or side by side."""

from typing import Any, Literal

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QWidget

from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.reasons import allow
from napari_flex3d.ui.surface import FlexSurface
from napari_flex3d.ui.tone import Sentence

COLORS = {"A": (0.36, 0.67, 0.92), "B": (1.0, 0.62, 0.33)}
Mode = Literal["live", "overlay", "side"]
SMALLER = 0.6
"""How much smaller a map is seen in half of a canvas."""


class Comparison(QObject):
    """The states A and B, and their layers.

    Parameters
    ----------
    explorer
        Has the map.
    """

    changed = Signal()

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(explorer)
        self.explorer = explorer
        self.states: dict[str, np.ndarray] = {}
        self.mode: Mode = "live"
        self._layers: dict[str, FlexSurface] = {}
        explorer.model_taken.connect(self._on_model)
        explorer.latent_changed.connect(lambda _: self.show("live"))
        explorer.subject_taken.connect(lambda _: self.show(self.mode))
        explorer.session.ending.connect(self._layers.clear)

    def set(self, name: str) -> None:
        """Take the latent on show as a state."""
        self.states[name] = self.explorer.latent.copy()
        self.show(self.mode)

    def show(self, mode: Mode) -> None:
        """Show both states in place of the live map, or the live map again."""
        if len(self.states) < 2:
            mode = "live"
        was, self.mode = self.mode, mode
        viewer = self.explorer.session.viewer
        if viewer is not None and (mode != "live" or was != "live"):
            for layer in viewer.layers:
                layer.visible = False
            getattr(viewer, "canvas", viewer).grid.enabled = mode == "side"  # napari 0.8 has no canvas
            if (mode == "side") != (was == "side"):  # two beside each other are seen whole, and one as before
                camera = getattr(viewer, "scene", viewer).camera
                camera.zoom *= SMALLER if mode == "side" else 1 / SMALLER
            if mode == "live":
                self.explorer.step_forward()
            else:
                self.explorer.step_back()  # what is still on its way does not come to the front
                viewer.dims.ndisplay = 3
                for name in COLORS:
                    self._put(name, viewer)
        self.changed.emit()

    def layer(self, name: str) -> FlexSurface | None:
        """Give the layer of a state, if it is in the viewer."""
        layer = self._layers.get(name)
        return layer if layer is not None and layer in self.explorer.session.viewer.layers else None

    def facts(self) -> str:
        """Say how far apart the states are, and who stands behind them."""
        explorer = self.explorer
        if len(self.states) < 2 or explorer.crowd is None:
            return "" if self.states else "Set A and Set B keep the latent on show."
        from napari_flex3d.landscape import lengths, rms_between  # loads torch; the dock opens without it

        a, b = (self.states[name] for name in "AB")
        model = explorer.model
        largest = np.linalg.norm(model.displacements(b) - model.displacements(a), axis=-1).max()
        rms = rms_between(model, a[None], b[None])[0]
        way = lengths(model, np.stack([a, b])).sum()
        near = [f"{name}: {explorer.crowd.at(self.states[name]).near:,} particles near" for name in "AB"]
        return f"A to B: {rms:.1f} Å rms, {largest:.1f} Å at most; {way:.1f} Å by the way. {', '.join(near)}."

    def _on_model(self, model: Any) -> None:
        if any(len(state) != model.latent_dims for state in self.states.values()):
            self.states.clear()
        self.show(self.mode)

    def _put(self, name: str, viewer: Any) -> None:
        explorer = self.explorer
        carried, subject = explorer.live.surface.carried, explorer.subject
        if carried is None or subject is None or not len(carried.points):
            return
        moved = carried.points + carried.displacements(explorer.model.displacements(self.states[name]))
        data = (subject.grid.indices(moved), carried.faces, np.full(len(moved), 0.8))
        layer = self.layer(name)
        if layer is not None and np.allclose(layer.scale, subject.pixel_size):
            layer.reshape(*data)
        else:
            if layer is not None:
                viewer.layers.remove(layer)
            look: dict[str, Any] = {"colormap": "gray", "contrast_limits": (0, 1), "shading": "smooth"}
            layer = FlexSurface(data, name=f"State {name}", **look, **subject.grid.placement)
            layer.tint = (*COLORS[name], 0.85)
            self._layers[name] = layer
            viewer.add_layer(layer)
        layer.opacity = 0.6 if name == "B" and self.mode == "overlay" else 1.0
        layer.visible = True


class ComparePanel(QWidget):
    """Set A, Set B, and how to see them.

    Parameters
    ----------
    comparison
        The states.
    """

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self.comparison = comparison
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        self.set_buttons: dict[str, QPushButton] = {}
        self.go_buttons: dict[str, QPushButton] = {}
        for row, name in enumerate("AB"):
            keep, go = QPushButton(f"Set {name}"), QPushButton(f"Go to {name}")
            keep.setToolTip(f"Keep the latent on show as state {name}. Alt-{name}")
            keep.clicked.connect(lambda _=False, name=name: comparison.set(name))
            go.setToolTip(f"Show the map at state {name}.")
            go.clicked.connect(lambda _=False, name=name: self._go(name))
            self.set_buttons[name], self.go_buttons[name] = keep, go
            grid.addWidget(keep, row, 0)
            grid.addWidget(go, row, 1)
        self.mode_buttons: dict[Mode, QPushButton] = {}
        group = QButtonGroup(self)
        modes: tuple[tuple[Mode, str, str], ...] = (
            ("live", "Live map", "The map that follows the sliders; it also comes back when you move one."),
            ("overlay", "Overlay", "Both states in one place: A blue, B orange and translucent."),
            ("side", "Side by side", "Both states beside each other, turned together."),
        )
        for column, (mode, text, tip) in enumerate(modes):
            button = QPushButton(text)
            button.setCheckable(True)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, mode=mode: comparison.show(mode))
            group.addButton(button)
            self.mode_buttons[mode] = button
            grid.addWidget(button, 0 if column < 2 else 1, 2 if column == 0 else 3)
        self.sentence = Sentence()
        grid.addWidget(self.sentence, 2, 0, 1, 4)
        comparison.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what can be done now."""
        states = self.comparison.states
        for name, button in self.go_buttons.items():
            allow(button, name in states, f"Keep a latent with Set {name} first.")
        for mode, mode_button in self.mode_buttons.items():
            allow(
                mode_button,
                mode == "live" or len(states) == 2,
                "Keep two latents with Set A and Set B first.",
            )
        self.mode_buttons[self.comparison.mode].setChecked(True)
        self.sentence.say(self.comparison.facts(), quiet=len(states) < 2)

    def _go(self, name: str) -> None:
        explorer = self.comparison.explorer
        explorer.go_to(self.comparison.states[name])
        explorer.settle()
