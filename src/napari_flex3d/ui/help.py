"""The dock "Help": the way through the docks, and the keys."""

from html import escape
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy

from napari_flex3d import __version__
from napari_flex3d.ui.dock import Dock
from napari_flex3d.ui.session import Session

WAY = (
    (
        "Data",
        "particles (.star, .cs), a consensus map and a mask; drop the files on the canvas. Look at the check.",
    ),
    ("Mesh", "the tetrahedra that carry the motion; paint parts that should slide or stay rigid."),
    ("Train", "latents, motion and map are learned; Monitor shows the curves, Explore the map as it is now."),
    (
        "Explore",
        "drag a slider or the target: the map follows. Select particles, draw a path, write a movie.",
    ),
    ("Reconstruct", "half-maps at full resolution with the motion undone, beside a rigid twin."),
    ("Jobs", "all jobs of the project folder, running ones too, wherever they run."),
)


class HelpDock(Dock):
    """The way through the docks, and the keys that work now.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(
            session,
            f"napari-flex3d {__version__}. Every control says what it does under the mouse. Keys work over the canvas.",
        )
        self.keys = _page()
        steps = "".join(f"<tr><td><b>{name}</b></td><td>{escape(words)}</td></tr>" for name, words in WAY)
        self.way = _page(f"<table cellpadding=2>{steps}</table>")
        row = QHBoxLayout()
        for page in (self.way, self.keys):
            row.addWidget(page, 1, Qt.AlignmentFlag.AlignTop)
        self.column.addLayout(row)
        self.column.addStretch(1)
        session.keys.changed.connect(self._list)
        self._list()

    def _list(self) -> None:
        rows = "".join(
            f"<tr><td><b>{escape(key.name)}</b></td><td>{escape(key.meaning)}, while {escape(key.while_)}</td></tr>"
            for key in self.session.keys
        )
        self.keys.setText(f"<table cellpadding=2>{rows}</table>")


def _page(text: str = "") -> Any:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
