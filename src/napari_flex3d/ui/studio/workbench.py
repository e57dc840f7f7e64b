"""The studio's controls: brush, sources, table of segments, joints, preview, advice, a motion to try, export."""

from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_flex3d.mesh.draft import Draft
from napari_flex3d.mesh.quality import free_to_slide
from napari_flex3d.ui.reasons import allow, tipped_button
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.sliders import contour_range, new_slider, set_range
from napari_flex3d.ui.studio.exports import NO_DRAFT, ExportButton
from napari_flex3d.ui.studio.joints import JointsBox
from napari_flex3d.ui.studio.painting import BRUSH
from napari_flex3d.ui.studio.preview import MeshPreview
from napari_flex3d.ui.studio.sources import SourceBox
from napari_flex3d.ui.studio.table import SegmentTable
from napari_flex3d.ui.studio.trial import Trial
from napari_flex3d.ui.tone import Sentence

HINT = (
    "In slices, paint with napari's brush, which is a ball. In 3-D, hold Shift and paint on the surface. "
    "What nobody paints goes to the nearest segment."
)


class Workbench(QWidget):
    """All controls of the studio.

    Parameters
    ----------
    session
        The viewer's session.
    open_map
        Takes the map of the chosen prep job into the studio and shows it; tells whether it could.
    """

    def __init__(self, session: Session, open_map: Callable[[], bool]) -> None:
        super().__init__()
        self.session, self.design, self._open_map = session, session.design, open_map
        self.preview = MeshPreview(session.viewer)
        self.trial: Trial | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._build_brush()
        self._build_segments()
        self._build_joints()
        self._build_preview()
        self._connect()
        if self.design.draft is not None:
            self._on_draft(self.design.draft)
        self._on_opened()

    # -- building ----------------------------------------------------------------------------------

    def _build_brush(self) -> None:
        self._head("Segments")
        grid = QGridLayout()
        self.slices_button = tipped_button("Paint in slices", HINT)
        self.solid_button = tipped_button("Paint in 3-D", HINT)
        self.new_button = tipped_button("New segment", "Begin another segment; the brush has its colour.")
        self.erase_button = tipped_button("Erase", "The brush rubs out.")
        self.undo_button = tipped_button(
            "Undo", "Take the last stroke or proposal back. Ctrl-Z over the canvas."
        )
        for place, button in enumerate((self.slices_button, self.solid_button)):
            grid.addWidget(button, 0, 3 * place, 1, 3)
        for place, button in enumerate((self.new_button, self.erase_button, self.undo_button)):
            grid.addWidget(button, 1, 2 * place, 1, 2)
        self._column.addLayout(grid)
        self.brush_slider, self.contour_slider = new_slider("Brush (Å)"), new_slider("Contour")
        set_range(self.brush_slider, 2, 60)
        self.brush_slider.setDecimals(0)
        self.brush_slider.setValue(BRUSH)
        self.brush_slider.setToolTip("Width of the brush, Å.")
        self.contour_slider.setToolTip("Density at which the surface is cut.")
        rows = QGridLayout()
        for row, (text, slider) in enumerate(
            (("Brush (Å)", self.brush_slider), ("Contour", self.contour_slider))
        ):
            rows.addWidget(QLabel(text), row, 0)
            rows.addWidget(slider, row, 1)
        self._column.addLayout(rows)

    def _build_segments(self) -> None:
        self.sources = SourceBox(lambda: self.session.jobs("train"))
        self._column.addWidget(self.sources)
        self.sentence = Sentence()
        self.sentence.say(HINT, quiet=True)
        self._column.addWidget(self.sentence)
        self.table = SegmentTable(self.design)
        self._column.addWidget(self.table)
        self.remove_button = tipped_button("Remove segment", "Rub the chosen segment out.")
        self._column.addWidget(self.remove_button, 0, Qt.AlignmentFlag.AlignLeft)

    def _build_joints(self) -> None:
        self._head("Connections")
        self.joints = JointsBox(self.design)
        self._column.addWidget(self.joints)

    def _build_preview(self) -> None:
        self._head("Mesh")
        row = QHBoxLayout()
        self.preview_check = QCheckBox("Preview")
        self.preview_check.setChecked(True)
        self.preview_check.setToolTip("Edges of the mesh's surface; red where it is split.")
        self.color_box = QComboBox()
        self.color_box.setAccessibleName("Colour of the edges")
        self.color_box.addItems(["segment", "rigidity"])
        self.color_box.setToolTip(
            "What the colours of the edges mean; rigidity from soft (orange) to stiff (blue)."
        )
        self.try_button = tipped_button(
            "Try the motion",
            "Drag a segment in 3-D, with Control turn it: what it is joined to follows. Nothing is trained.",
        )
        self.try_button.setCheckable(True)
        self.export_button = ExportButton(self.design, lambda text, bad: self.say(text, bad=bad))
        row.addWidget(self.preview_check)
        row.addWidget(self.color_box)
        row.addWidget(self.try_button, 1)
        row.addWidget(self.export_button)
        self._column.addLayout(row)
        self.measure, self.advice = Sentence(), Sentence()
        for sentence in (self.measure, self.advice):
            sentence.say("")
            self._column.addWidget(sentence)

    def _head(self, text: str) -> None:
        label = QLabel(f"<b>{text}</b>")
        label.setContentsMargins(0, 6, 0, 0)
        self._column.addWidget(label)

    def _connect(self) -> None:
        design = self.design
        self.slices_button.clicked.connect(lambda: self.paint(2))
        self.solid_button.clicked.connect(lambda: self.paint(3))
        self.new_button.clicked.connect(self._on_new)
        self.erase_button.clicked.connect(lambda: setattr(design, "selected", 0))
        self.undo_button.clicked.connect(self._on_undo)
        self.remove_button.clicked.connect(lambda: design.remove(design.selected))
        self.brush_slider.valueChanged.connect(self._on_brush)
        self.contour_slider.valueChanged.connect(self._on_contour)
        self.sources.wanted.connect(self._on_source)
        self.preview_check.toggled.connect(self.preview.set_on)
        self.color_box.currentTextChanged.connect(self.preview.set_colored)
        self.try_button.toggled.connect(self._on_try)
        design.opened.connect(self._on_opened)
        design.drafted.connect(self._on_draft)
        design.proposed.connect(self.say)
        self.session.ending.connect(self._stop_trial)

    # -- painting ----------------------------------------------------------------------------------

    def say(self, text: str, *, bad: bool = False) -> None:
        """Say something below the sources."""
        self.sentence.say(self._worded(text), bad=bad)

    def _worded(self, text: str) -> str:
        return self.session.worded(text, "mesh")

    def paint(self, ndisplay: int) -> None:
        """Show the map to paint on, in slices (2) or whole (3)."""
        self.try_button.setChecked(False)
        self.session.explorer.step_back()
        if not self._open_map():
            return
        self.session.viewer.dims.ndisplay = ndisplay
        self.design.painting.show()
        self.session.viewer.reset_view()
        if not self.design.ids:
            self.design.new_segment()
        self.design.touch()

    def _on_new(self) -> None:
        if self.design.painting is None:
            self.paint(self.session.viewer.dims.ndisplay)
        else:
            self.design.new_segment()

    def _on_undo(self) -> None:
        if self.design.painting is not None:
            self.design.painting.labels.undo()
            self.sentence.say(HINT, quiet=True)

    def _on_source(self, source: dict[str, Any]) -> None:
        if self.design.painting is None and not self._open_map():
            return
        if self.design.painting is not None:
            if not self.design.painting.is_there:
                self.design.painting.show()
            self.sources.contour = self.design.painting.contour
            self.design.propose(**source)

    def _on_brush(self, width: float) -> None:
        if self.design.painting is not None:
            self.design.painting.brush = width

    def _on_contour(self, contour: float) -> None:
        if self.design.painting is not None:
            self.sources.contour = contour
            self.design.painting.cut(contour)

    # -- what the design says ----------------------------------------------------------------------

    def _on_opened(self) -> None:
        self._stop_trial()
        painting = self.design.painting
        self.sources.contour = None
        for widget in (self.undo_button, self.erase_button, self.remove_button, self.contour_slider):
            allow(widget, painting is not None, "Begin with Paint in slices, Paint in 3-D or Propose.")
        allow(self.try_button, self.design.draft is not None, NO_DRAFT)
        if painting is None:
            self.preview.close()
            self.joints.clear()
            return
        set_range(self.contour_slider, *contour_range(painting.ground.density.data))
        self.contour_slider.blockSignals(True)
        self.contour_slider.setValue(painting.contour)
        self.contour_slider.blockSignals(False)
        painting.brush = self.brush_slider.value()

    def _on_draft(self, draft: Draft) -> None:
        painting = self.design.painting
        if painting is None:
            return
        is_tried = self.trial is not None
        self._stop_trial()
        allow(self.try_button, True, NO_DRAFT)
        mesh = draft.built.mesh
        self.preview.show(draft, painting.grid)
        parts = int(mesh.components().max()) + 1
        self.measure.say(
            f"{len(mesh.vertices):,} vertices, {len(mesh.cells):,} cells, "
            f"{parts} {'parts that move freely' if parts > 1 else 'part'}, "
            f"{sum(s.mass_kDa for s in draft.facts):,.0f} kDa."
        )
        said = [*draft.warnings, *free_to_slide(draft.built)]
        self.advice.say(self._worded("\n".join(f"• {text}" for text in said)))
        self.try_button.setChecked(is_tried)  # on with the new mesh

    # -- a motion to try ---------------------------------------------------------------------------

    def _on_try(self, on: bool) -> None:
        if not on:
            self._stop_trial()
        elif self.design.draft is not None and self.design.painting is not None:
            self.session.viewer.dims.ndisplay = 3
            self.design.painting.show()
            self.preview.set_on(self.preview_check.isChecked())
            self.trial = Trial(self.design.painting, self.preview, self.design.draft)
            self.trial.moved.connect(self.say)
            self.session.viewer.mouse_drag_callbacks.append(self._on_drag)
            self.say("Drag a segment on the map; with Control, turn it.")

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if self.trial is not None and "Shift" not in event.modifiers:
            yield from self.trial.drag(viewer, event)

    def _stop_trial(self) -> None:
        if self.trial is not None:
            if self.session.viewer is not None:
                self.session.viewer.mouse_drag_callbacks.remove(self._on_drag)
            trial, self.trial = self.trial, None
            trial.close()
        self.try_button.setChecked(False)
