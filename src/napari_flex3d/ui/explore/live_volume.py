"""The pushed density as Image layers: one on half the grid while the latent moves, the whole one at rest."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from napari.utils import Colormap
from napari.utils.theme import get_theme
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_flex3d.ui.explore.frames import Kind
from napari_flex3d.ui.explore.maps import Subject
from napari_flex3d.ui.run import Mailbox

NAMES: dict[Kind, str] = {"full": "Flexible volume", "coarse": "Flexible volume, coarse"}


@dataclass(frozen=True)
class Ground:
    """How densities are drawn on a dark or a light canvas: colours, those where few particles are near, blending."""

    plain: Any
    few: Any
    blending: str


DARK = Ground(
    "gray", Colormap([[0, 0, 0], [0.62, 0.36, 0.62]], name="few", display_name="few particles"), "additive"
)
LIGHT = Ground(
    Colormap(
        [[0.5, 0.56, 0.64, 0], [0.62, 0.68, 0.76, 0.2], [0.86, 0.9, 0.94, 0.9]],
        name="density on light",
        display_name="density",
    ),
    Colormap(
        [[0.45, 0.36, 0.62, 0], [0.5, 0.4, 0.68, 0.2], [0.7, 0.6, 0.85, 0.9]],
        name="few on light",
        display_name="few particles",
    ),
    "translucent_no_depth",
)
"""What adds light is not seen on white. Clear colours are; without a graphics card they take ten times as long."""


class LiveVolume(QObject):
    """Computes volumes in a thread, the newest request only, and writes them into their layers.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Owner in Qt's sense.
    """

    written = Signal(str, float)
    """A volume of this kind is in its layer; milliseconds that this took in the window's thread."""
    failed = Signal(str)

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._mailbox: Mailbox | None = None
        self._layers: dict[str, Image] = {}
        self.is_tinted = False
        self.answered = 0

    def close(self) -> None:
        """End the thread."""
        if self._mailbox is not None:
            self._mailbox.close()
            self._mailbox = None

    def layer(self, kind: Kind) -> Image | None:
        """Give the layer of a kind, if it is in the viewer."""
        layer = self._layers.get(kind)
        return layer if layer is not None and layer in self._viewer.layers else None

    def forget(self) -> None:
        """Take the layers away: another map is moved."""
        for kind in NAMES:
            layer = self.layer(kind)
            if layer is not None:
                self._viewer.layers.remove(layer)
        self._layers.clear()

    def ask(self, kind: Kind, model: Any, subject: Subject, latent: np.ndarray) -> None:
        """Ask for a volume; a request that is not begun yet is forgotten."""
        if self._mailbox is None:
            self._mailbox = Mailbox(_pushed, self)
            self._mailbox.answered.connect(self._on_answer)
            self._mailbox.failed.connect(lambda error: self.failed.emit(str(error)))
        self._mailbox.submit((kind, model, subject, latent.copy()))

    def tint(self, on: bool) -> None:
        """Colour the volumes as where there are few particles, or plainly."""
        if on != self.is_tinted:
            self.is_tinted = on
            for layer in self._layers.values():
                layer.colormap = self._ground.few if on else self._ground.plain

    def set_visible(self, kind: Kind) -> None:
        """Show the layer of one kind only; of the surface, none."""
        for each, layer in self._layers.items():
            if layer.visible != (each == kind):
                layer.visible = each == kind

    def set_contour(self, contour: float) -> None:
        """Keep the threshold of napari's isosurfaces at the contour."""
        for layer in self._layers.values():
            layer.iso_threshold = contour

    def _on_answer(self, answer: tuple[Kind, Subject, np.ndarray]) -> None:
        kind, subject, volume = answer
        begun = time.perf_counter()
        layer = self.layer(kind)
        if layer is not None and layer.data.shape == volume.shape:
            layer.data[...] = volume  # the layer's own array: the setter would cost three times as much
            layer.refresh(thumbnail=False, highlight=False, extent=False)
        else:
            if layer is not None:  # another map, of another box
                self._viewer.layers.remove(layer)
            self._layers[kind] = self._made(kind, subject, volume)
            self._viewer.add_layer(self._layers[kind])
        self.answered += 1
        self.written.emit(kind, 1000 * (time.perf_counter() - begun))

    @property
    def _ground(self) -> Ground:
        return LIGHT if sum(get_theme(self._viewer.theme).canvas.as_rgb_tuple()[:3]) > 384 else DARK

    def _made(self, kind: Kind, subject: Subject, volume: np.ndarray) -> Image:
        top = float(subject.density.max())
        return Image(
            volume.copy(),
            name=NAMES[kind],
            contrast_limits=(0.0, top if top > 0 else 1.0),
            colormap=self._ground.few if self.is_tinted else self._ground.plain,
            rendering="translucent",
            blending=self._ground.blending,
            visible=False,
            **subject.grid.placement,
        )


def _pushed(request: tuple[Kind, Any, Subject, np.ndarray]) -> tuple[Kind, Subject, np.ndarray]:
    kind, model, subject, latent = request
    given = subject.coarse if kind == "coarse" else subject
    volume = model.volume(latent, map=given.density, apix=given.pixel_size)
    return kind, given, np.ascontiguousarray(volume, np.float32)
