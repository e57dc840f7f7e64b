"""The frame that every dock at the right has."""

from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_flex3d.ui.session import Session
from napari_flex3d.ui.tone import Sentence

WIDTH, WIDEST = 380, 460
"""Of the docks, px: at least, and at most what their content may ask for."""


class Dock(QScrollArea):
    """Frame of a dock: a column that scrolls, and a session that ends with the window.

    Parameters
    ----------
    session
        The viewer's session.
    intro
        What the stage takes and gives, in one sentence.
    """

    def __init__(self, session: Session, intro: str) -> None:
        super().__init__()
        self.session = session
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(WIDTH)
        inside = QWidget()
        self.column = QVBoxLayout(inside)
        self.column.setContentsMargins(8, 6, 8, 6)
        self.intro = Sentence()
        self.intro.say(intro, quiet=True)
        self.column.addWidget(self.intro)
        self.said = Sentence()
        self.column.addWidget(self.said)
        self.said.hide()
        session.said.connect(self._on_said)  # methods: a lambda would be called after Qt has deleted the dock
        session.job_shown.connect(self._on_news)
        session.run_changed.connect(self._on_news)
        self.setWidget(inside)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Be as wide as the content needs: there is no bar to scroll it sideways."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest and watched is self.widget():
            inside: Any = watched
            bar: Any = self.verticalScrollBar()
            needed = inside.minimumSizeHint().width() + bar.sizeHint().width() + 2 * self.frameWidth()
            self.setMinimumWidth(min(max(needed, WIDTH), WIDEST))
        return super().eventFilter(watched, event)

    def _on_said(self, text: str) -> None:
        self.said.say(self.session.worded(text), bad=True)

    def _on_news(self, *_: object) -> None:
        self.said.say("")

    def showEvent(self, event: Any) -> None:
        """Tie the session to the window that this dock is in."""
        super().showEvent(event)
        self.session.attach(self.window())
