"""What is remembered from one window to the next; it can be changed in napari's Preferences as well."""

from types import SimpleNamespace
from typing import Any, Literal

PLUGIN = "napari-flex3d"
FIRST: dict[str, Any] = {"project": "", "runs_in": "window", "preview": True}
"""Values before anything was chosen; `napari.yaml` has the same, and a test compares them."""

Name = Literal["project", "runs_in", "preview"]


class Settings:
    """Values that outlive the window: napari 0.9 and later keep them, before that they last as long as the program."""

    def __init__(self) -> None:
        try:
            from napari.settings import get_plugin_settings

            self._kept: Any = get_plugin_settings(PLUGIN).docks
        except (ImportError, KeyError):
            self._kept = _IN_MEMORY

    def __getitem__(self, name: Name) -> Any:
        """Value of a setting."""
        return getattr(self._kept, name)

    def __setitem__(self, name: Name, value: Any) -> None:
        """Remember a value."""
        if value != self[name]:
            setattr(self._kept, name, value)


_IN_MEMORY = SimpleNamespace(**FIRST)
