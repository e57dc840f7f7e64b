"""Which segments are joined: as a graph to click on, as a list to type, and why that cannot be."""

from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from napari_flex3d.mesh.draft import Draft
from napari_flex3d.ui.reasons import tipped_button
from napari_flex3d.ui.studio.design import Design
from napari_flex3d.ui.studio.graph import ConnectionGraph, Joints
from napari_flex3d.ui.tone import Sentence


class JointsBox(QWidget):
    """The controls of a design's joints.

    Parameters
    ----------
    design
        The design.
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.graph = ConnectionGraph()
        self.text = QLineEdit()
        self.text.setAccessibleName("Connections")
        self.text.setPlaceholderText("all that touch are joined")
        self.text.setToolTip(
            "<qt>A tree from its root, as CryoSPARC's fuse list: 0>1, 0>2, 2>3. Empty: all that touch are joined. "
            "none: nothing is.</qt>"
        )
        self.suggest_button = tipped_button(
            "Suggest", "A tree that joins what touches, along the widest borders."
        )
        self.none_button = tipped_button("None", "Nothing is joined: all segments may slide and part.")
        self.problem = Sentence()
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.suggest_button)
        row.addWidget(self.none_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.graph)
        column.addLayout(row)
        column.addWidget(self.problem)
        self.problem.say("")
        if design.draft is not None:
            self._on_draft(design.draft)
        self.graph.toggled.connect(design.toggle)
        self.graph.picked.connect(lambda segment: setattr(design, "selected", segment))
        self.text.editingFinished.connect(lambda: design.connect_segments(self.text.text().strip()))
        self.suggest_button.clicked.connect(design.suggest)
        self.none_button.clicked.connect(lambda: design.connect_segments("none"))
        design.changed.connect(self._on_changed)
        design.drafted.connect(self._on_draft)
        design.refused.connect(self._on_refused)

    def clear(self) -> None:
        """Show no joints."""
        self.graph.show_joints(Joints())

    def _on_draft(self, draft: Draft) -> None:
        self.problem.say("")
        self.graph.show_joints(Joints.of(draft))

    def _on_changed(self) -> None:
        if not self.text.hasFocus() or not self.text.isModified():
            self.text.setText(self.design.connections)

    def _on_refused(self, text: str) -> None:
        self.problem.say(self.design.session.worded(text, "mesh"), bad=True)
