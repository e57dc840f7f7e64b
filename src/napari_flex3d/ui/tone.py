"""What has colours of its own: labels that say what kind of sentence they are, in the dark and in the light theme."""

import re
from html import escape
from itertools import groupby
from typing import Any, Literal

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget
from superqt import QCollapsible

Tone = Literal["plain", "quiet", "bad", "good"]

COLORS: dict[Tone, tuple[str, str]] = {
    "plain": ("", ""),
    "quiet": ("#9aa2ad", "#5c6470"),
    "bad": ("#e9967a", "#b3261e"),
    "good": ("#8bd17c", "#2e6b23"),
}
"""Colour of each tone on dark and on light ground."""

_COLUMNS = re.compile(r"\S {2,}\S")
"""What only a table has: words far apart."""

PLOT_GROUND = "#1b1e24"
"""Ground of every plot: dark in both themes, as the canvas is."""


def is_light(widget: QWidget) -> bool:
    """Whether the theme around a widget is a light one."""
    window: Any = widget.window()
    return window.palette().color(QPalette.ColorRole.WindowText).lightness() < 128


class Fold(QCollapsible):
    """Rows that are folded away; the arrow is drawn anew in the colour of the theme."""

    def changeEvent(self, event: Any) -> None:
        """Follow a change of theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._draw_arrows()

    def showEvent(self, event: Any) -> None:
        """Take the colour of the window that it is shown in."""
        super().showEvent(event)
        self._draw_arrows()

    def _draw_arrows(self) -> None:
        self.setCollapsedIcon("▶")
        self.setExpandedIcon("▼")


class ToneLabel(QLabel):
    """A label with a tone; its colour follows the theme.

    Parameters
    ----------
    text
        What it says.
    tone
        Kind of sentence.
    """

    def __init__(self, text: str = "", tone: Tone = "plain") -> None:
        super().__init__(text)
        self._tone: Tone = tone
        self._color = ""
        self._recolor()

    @property
    def tone(self) -> Tone:
        """Kind of sentence."""
        return self._tone

    @tone.setter
    def tone(self, tone: Tone) -> None:
        self._tone = tone
        self._recolor()

    def changeEvent(self, event: Any) -> None:
        """Follow a change of theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._recolor()

    def showEvent(self, event: Any) -> None:
        """Take the colour of the window that it is shown in."""
        super().showEvent(event)
        self._recolor()

    def _recolor(self) -> None:
        color = COLORS[self._tone][is_light(self)]
        if color != self._color:  # else every change of style would change the style
            self._color = color
            self.setStyleSheet(f"color: {color};" if color else "")


class Sentence(ToneLabel):
    """One sentence about the state of things; it can be selected and copied."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setTextFormat(Qt.TextFormat.PlainText)

    def say(self, text: str, *, bad: bool = False, quiet: bool = False) -> None:
        """Show a text; ``bad`` for an error, ``quiet`` for a hint."""
        is_rich = _COLUMNS.search(text) is not None
        self.setTextFormat(Qt.TextFormat.RichText if is_rich else Qt.TextFormat.PlainText)
        self.setText(_with_tables(text) if is_rich else text)
        if self.parentWidget() is not None:
            self.setVisible(bool(text))
        self.tone = "bad" if bad else "quiet" if quiet else "plain"


def _with_tables(text: str) -> str:
    """Rich text of a plain one, in which lines with columns stand one below the other."""
    parts = []
    for is_table, lines in groupby(text.split("\n"), lambda line: _COLUMNS.search(line) is not None):
        if is_table:
            rows = (
                "".join(f"<td>{escape(cell)}</td>" for cell in re.split(" {2,}", line.strip()))
                for line in lines
            )
            parts.append(f"<table cellpadding=2>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
        else:
            parts.append("<br>".join(map(escape, lines)))
    return "".join(parts)
