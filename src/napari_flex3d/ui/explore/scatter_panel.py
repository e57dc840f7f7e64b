"""Scatter, the axes and colours that it shows, and the tools that draw on it."""

from typing import Any

import numpy as np
from napari.qt.threading import create_worker
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QButtonGroup, QComboBox, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from napari_flex3d.io.errors import sentence_of
from napari_flex3d.ui.explore.color_box import ColorBox
from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.explore.icons import icon_button
from napari_flex3d.ui.explore.plane import (
    UMAP,
    EmbeddedPlane,
    LinearPlane,
    Plane,
    embed,
    has_umap,
    linear_axes,
)
from napari_flex3d.ui.explore.scatter import ExploreScatter
from napari_flex3d.ui.unseen import WhenSeen

TOOLS = {
    "go": ("Go there", "Click or drag the target to move the map; drag elsewhere pans."),
    "lasso": ("Lasso", "Draw around particles to choose them. Shift-drag does so with any tool. Alt-L"),
    "box": ("Box", "Drag a box around particles to choose them."),
    "polygon": ("Polygon", "Click the corners; a double click or the first corner closes it."),
    "path": ("Path", "Draw a path; the map follows the pen. Alt-drag does so with any tool. Alt-D"),
}
SHADE_DELAY = 150
"""Milliseconds until the shading follows."""


class ScatterPanel(QWidget):
    """The plane on show, and everything that happens on it.

    Parameters
    ----------
    explorer
        What it steers.
    """

    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""
    path_drawn = Signal()

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self.explorer = explorer
        self.plane: Plane | None = None
        self.scatter = ExploreScatter()
        self._embedded: tuple[int, EmbeddedPlane] | None = None
        self._outlined_in: Plane | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self._axes())
        layout.addWidget(self.scatter, 1)
        layout.addWidget(self.color_box.scale)
        layout.addLayout(self._tools())
        self._shade_timer = QTimer(self)
        self._shade_timer.setSingleShot(True)
        shading = WhenSeen(self, self._shade, explorer.session, lambda: True)
        self._shade_timer.timeout.connect(shading.want)
        self._connect()

    # -- building ----------------------------------------------------------------------------------

    def _axes(self) -> QWidget:
        self.axes_row = QWidget()
        row = QHBoxLayout(self.axes_row)
        row.setContentsMargins(0, 0, 0, 0)
        self.x_box, self.y_box = QComboBox(), QComboBox()
        self.color_box = ColorBox(self.explorer)
        tips = ("What is shown along x.", "What is shown along y.", "What the colours say.")
        boxes = (self.x_box, self.y_box, self.color_box)
        for name, box, tip in zip(("x", "y", "colour"), boxes, tips, strict=True):
            row.addWidget(QLabel(name))
            row.addWidget(box, 2 if name == "colour" else 1)
            box.setToolTip(tip)
            box.setAccessibleName(f"Scatter, {name}")
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        return self.axes_row

    def _tools(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        self.tool_buttons: dict[str, QToolButton] = {}
        group = QButtonGroup(self)
        for tool, (name, tip) in TOOLS.items():
            button = icon_button(tool, name, tip, checkable=True)
            button.clicked.connect(lambda _=False, tool=tool: self.take(tool))
            group.addButton(button)
            self.tool_buttons[tool] = button
            row.addWidget(button)
        self.tool_buttons["go"].setChecked(True)
        self.fit_button = icon_button("fit", "All particles", "Show the whole plane again.")
        self.fit_button.clicked.connect(self.scatter.fit)
        row.addWidget(self.fit_button)
        self.summary = QLabel()
        row.addStretch(1)
        row.addWidget(self.summary, 0, Qt.AlignmentFlag.AlignRight)
        return row

    def _connect(self) -> None:
        explorer, scatter = self.explorer, self.scatter
        self.x_box.currentIndexChanged.connect(lambda _: self._on_axes(self.x_box))
        self.y_box.currentIndexChanged.connect(lambda _: self._on_axes(self.y_box))
        self.color_box.chosen.connect(scatter.show_values)
        self.color_box.said.connect(self.said)
        scatter.picked.connect(self._on_picked)
        scatter.let_go.connect(explorer.settle)
        scatter.binned.connect(lambda: self._shade_timer.start(SHADE_DELAY))
        scatter.box.outlined.connect(self._on_outline)
        scatter.box.traced.connect(self._on_trace)
        self._keep_up = WhenSeen(self, self._on_model, explorer.session, lambda: explorer.is_watched)
        explorer.model_taken.connect(self._keep_up.want)
        explorer.latent_changed.connect(self._on_latent)
        explorer.settled.connect(self._on_settled)
        explorer.path.changed.connect(self._show_path)
        explorer.selection.changed.connect(self._show_selection)

    # -- the person does something -----------------------------------------------------------------

    def take(self, tool: str) -> None:
        """Draw with another tool."""
        self.tool_buttons[tool].setChecked(True)
        self.scatter.box.take(tool)  # type: ignore[arg-type]

    def _on_axes(self, changed: QComboBox) -> None:
        if self.explorer.model is None or not self.x_box.count():
            return
        other = self.y_box if changed is self.x_box else self.x_box
        if (changed.currentText() == UMAP) != (other.currentText() == UMAP):
            # an embedding has no axes of its own: both boxes say so, or none
            _choose(other, changed.currentIndex() if changed.currentText() == UMAP else 0)
        if self.x_box.currentText() == UMAP:
            self._show_embedding()
            return
        axes = linear_axes(self.explorer.model.latents)
        chosen = [axes[self.x_box.currentIndex()]]
        if len(axes) > 1:
            chosen.append(axes[self.y_box.currentIndex()])
        self.show_plane(LinearPlane(self.explorer.model.latents, tuple(chosen)))

    def _on_picked(self, place: np.ndarray) -> None:
        if self.plane is not None:
            self.explorer.go_to(self.plane.latent_at(place, self.explorer.latent))

    def _on_outline(self, outline: np.ndarray) -> None:
        if self.plane is not None:
            self._outlined_in = self.plane
            self.explorer.selection.choose(self.plane.points, outline)

    def _on_trace(self, places: np.ndarray, finished: bool) -> None:
        if self.plane is None:
            return
        latents = self.plane.latent_at(places, self.explorer.latent)
        self.scatter.show_path(places)
        self.explorer.go_to(latents[-1])
        if finished:
            self.explorer.path.draw(latents)
            self.explorer.settle()
            self.path_drawn.emit()

    # -- something has changed ---------------------------------------------------------------------

    def show_plane(self, plane: Plane) -> None:
        """Look at the particles in another plane."""
        self.plane = plane
        self.scatter.show_points(plane.points, plane.names)
        self._on_latent(self.explorer.latent)
        self._show_path()
        self._show_selection()

    def _on_model(self) -> None:
        model = self.explorer.model
        if model is None:
            return
        names = [axis.name for axis in linear_axes(model.latents)]
        dims = model.latent_dims
        if [self.x_box.itemText(k) for k in range(len(names))] != names:
            offered = [*names, UMAP] if dims > 1 else names
            for box, at in ((self.x_box, 0), (self.y_box, min(1, dims - 1))):
                box.blockSignals(True)
                box.clear()
                box.addItems(offered)
                box.setCurrentIndex(at)
                box.blockSignals(False)
                if dims > 1:
                    _offer_umap(box)
        self._embedded = None
        self.axes_row.setVisible(dims > 1)
        for box in (self.x_box, self.y_box):
            if box.currentText() == UMAP:  # of another checkpoint
                _choose(box, 0 if box is self.x_box else 1)
        self.summary.setText(f"{len(model.latents):,} particles")
        self._on_axes(self.x_box)
        self.color_box.take()

    def _on_latent(self, latent: np.ndarray) -> None:
        if self.plane is not None and self.explorer.model is not None:
            self.scatter.go_to(self.plane.place(latent))

    def _on_settled(self) -> None:
        if self.explorer.model is not None and self.explorer.model.latent_dims > 2:
            # what is not seen has changed, and with it how many are near
            self._shade_timer.start(SHADE_DELAY)

    def _shade(self) -> None:
        if self.plane is not None and self.explorer.crowd is not None and self.explorer.model is not None:
            self.scatter.shade(
                self.explorer.crowd.lacking(self.plane, *self.scatter.span(), self.explorer.latent)
            )

    def _show_path(self) -> None:
        points = self.explorer.path.points
        if self.plane is not None and points.shape[1] == len(self.explorer.latent):
            places = self.plane.place(points) if len(points) else np.zeros((0, 2))
            self.scatter.show_path(places)

    @property
    def outline(self) -> np.ndarray | None:
        """Outline of the selection, if it was drawn in the plane on show."""
        return self.explorer.selection.outline if self.plane is self._outlined_in else None

    def _show_selection(self) -> None:
        selection = self.explorer.selection
        if self.plane is None or len(selection.chosen) != len(self.plane.points):
            return
        self.scatter.show_outline(self.outline)
        # dots where an outline does not say it all: in another plane, or of several outlines
        is_all = self.outline is not None and selection.combine == "new"
        rows = np.zeros(0, int) if is_all else np.flatnonzero(selection.chosen)
        self.scatter.show_chosen(self.plane.points[rows])

    def _show_embedding(self) -> None:
        model = self.explorer.model
        if self._embedded is not None and self._embedded[0] == id(model):
            self.show_plane(self._embedded[1])
            return
        self.said.emit("UMAP is being computed; the scatter follows when it is done.", False)
        worker: Any = create_worker(embed, model.latents, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(lambda plane: self._on_embedded(model, plane))
        worker.errored.connect(lambda error: self.said.emit(f"UMAP: {sentence_of(error)}", True))
        worker.start()

    def _on_embedded(self, model: Any, plane: EmbeddedPlane) -> None:
        if model is self.explorer.model:
            self._embedded = (id(model), plane)
            self.said.emit("", False)
            if self.x_box.currentText() == UMAP:
                self.show_plane(plane)


def _choose(box: QComboBox, at: int) -> None:
    box.blockSignals(True)
    box.setCurrentIndex(at)
    box.blockSignals(False)


def _offer_umap(box: QComboBox) -> None:
    """Grey UMAP out where it cannot be had, and say how to get it."""
    items: Any = box.model()
    item = items.item(box.findText(UMAP))
    if has_umap():
        item.setToolTip("Embedding of up to 20,000 particles; the others lie between their nearest.")
    else:
        item.setEnabled(False)
        item.setToolTip("Needs the package umap-learn: pip install umap-learn")
