"""Keys of the docks: bound over the canvas, and listed in the dock "Help" with what they do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Key:
    """A key.

    Parameters
    ----------
    name
        As napari writes it, such as ``Alt-P``.
    meaning
        What it does, as a sentence without its subject: "plays or pauses the motion".
    while_
        When it does so.
    """

    name: str
    meaning: str
    while_: str = "any dock is open"


class Keys(QObject):
    """The keys that work now.

    Parameters
    ----------
    viewer
        The viewer over whose canvas they are pressed.
    """

    changed = Signal()
    """A key was bound or let go."""

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._bound: dict[str, Key] = {}

    def __iter__(self) -> Any:
        """Go through the keys in the order of their names."""
        return iter(sorted(self._bound.values(), key=lambda key: key.name))

    def bind(self, key: Key, action: Callable[[], object]) -> None:
        """Let a key do something."""
        self._viewer.bind_key(key.name, lambda viewer: action() and None, overwrite=True)
        self._bound[key.name] = key
        self.changed.emit()

    def release(self, *names: str) -> None:
        """Give keys back; all of them when none is named."""
        for name in names or tuple(self._bound):
            if self._bound.pop(name, None) is not None:
                self._viewer.bind_key(name, None, overwrite=True)
        self.changed.emit()
