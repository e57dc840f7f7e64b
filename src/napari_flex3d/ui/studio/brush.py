"""What the mouse does in 3-D while the studio is open: Shift paints on the surface."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_flex3d.ui.studio.painting import Painting


@contextmanager
def camera_held(viewer: Any) -> Iterator[None]:
    """Do not turn or shift the camera meanwhile."""
    camera = getattr(viewer, "scene", viewer).camera  # napari 0.8 has no scene
    camera.mouse_pan = False
    try:
        yield
    finally:
        camera.mouse_pan = True


def surface_brush(painting: Painting, viewer: Any, event: Any) -> Iterator[None]:
    """Paint along the mouse on the surface of the map, as napari's generator of a drag."""
    if viewer.dims.ndisplay != 3 or "Shift" not in event.modifiers or not painting.is_there:
        return
    voxel = painting.voxel_under(event)
    if voxel is None:
        return
    event.handled = True
    with camera_held(viewer), painting.stroke():
        painting.dab(voxel)
        while event.type != "mouse_release":  # a move, too: of quick ones vispy drops all but one in 10 ms
            yield
            voxel = painting.voxel_under(event)
            if voxel is not None:
                painting.dab(voxel)
