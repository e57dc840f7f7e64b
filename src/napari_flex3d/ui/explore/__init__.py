"""The dock "Explore", and what it shows in the canvas."""

from napari_flex3d.ui.explore.dock import ExploreDock

__all__ = ["ExploreDock"]
