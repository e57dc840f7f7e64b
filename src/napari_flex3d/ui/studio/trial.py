"""A motion to try: a segment is dragged in 3-D, mesh and map follow, without any training."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from scipy.spatial.transform import Rotation

from napari_flex3d.mesh.draft import Draft
from napari_flex3d.mesh.drag import Drag
from napari_flex3d.ui.isosurface import CarriedSurface
from napari_flex3d.ui.run import Mailbox
from napari_flex3d.ui.studio.brush import camera_held
from napari_flex3d.ui.studio.painting import Painting
from napari_flex3d.ui.studio.preview import MeshPreview

TURN_PER_A = 0.01
"""Radians that a segment is turned for every Å that the mouse goes, with Control."""


class Trial(QObject):
    """Dragging of the draft's segments.

    Parameters
    ----------
    painting, preview
        The layers that follow.
    draft
        The mesh.
    """

    moved = Signal(str)
    """A sentence about the motion."""

    def __init__(self, painting: Painting, preview: MeshPreview, draft: Draft) -> None:
        super().__init__()
        self.painting, self.preview, self.mesh = painting, preview, draft.built.mesh
        self._cell_index = draft.built.cell_index
        volume, pixel_size = painting.ground.density.data, painting.ground.density.pixel_size
        self.carried = CarriedSurface.of(volume, pixel_size, painting.contour, self.mesh)
        self.held: int | None = None
        self._is_over = False
        self._drag: Drag | None = None  # of the mailbox's thread
        self._at = self._from = (np.zeros(3), np.eye(3))
        self._mailbox = Mailbox(self._follow, self)
        self._mailbox.answered.connect(self._on_moved)
        self._mailbox.failed.connect(lambda error: self.moved.emit(str(error)))
        self.displacements = np.zeros_like(self.mesh.vertices)

    def close(self) -> None:
        """Put mesh and map back to rest, and end the thread."""
        self._mailbox.close()
        self._is_over = True
        self._show(np.zeros_like(self.mesh.vertices))

    def drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Drag the segment under the mouse, as napari's generator of a drag; with Control it turns."""
        voxel = self.painting.voxel_under(event)
        cell = -1 if voxel is None else int(self._cell_index[tuple(voxel)])
        if viewer.dims.ndisplay != 3 or cell < 0:
            return
        event.handled = True
        start, turns = np.array(event.position), "Control" in event.modifiers
        self.hold(int(self.mesh.segment[cell]))
        with camera_held(viewer):
            while (
                event.type != "mouse_release"
            ):  # it counts as a move: of quick ones vispy drops all but one in 10 ms
                yield
                way = (np.array(event.position) - start)[::-1]  # x y z, Å
                view = np.array(event.view_direction)[::-1]
                self.move(np.zeros(3), _turn(way, view)) if turns else self.move(way)

    def hold(self, segment: int) -> None:
        """Take a segment into the hand; it goes on from where it is if it was held before."""
        if segment != self.held:
            self.held, self._at = segment, (np.zeros(3), np.eye(3))
        self._from = self._at

    def move(self, shift: np.ndarray, turn: np.ndarray | None = None) -> None:
        """Carry the held segment on: shift (3) x y z in Å, rotation (3, 3) about its centre."""
        if self.held is not None:
            self._at = self._from[0] + shift, (np.eye(3) if turn is None else turn) @ self._from[1]
            self._mailbox.submit((self.held, *self._at))

    def _follow(self, request: tuple[int, np.ndarray, np.ndarray]) -> tuple[int, np.ndarray]:
        segment, shift, turn = request
        if self._drag is None or self._drag.segment != segment:
            self._drag = Drag(self.mesh, segment)
        return segment, self._drag.to(shift, turn)

    def _on_moved(self, answer: tuple[int, np.ndarray]) -> None:
        if self._is_over:  # an answer that was on its way
            return
        segment, displacements = answer
        self._show(displacements)
        of = self.mesh.segment == segment
        size = np.linalg.norm(displacements, axis=1)
        others = [
            f"{i} by up to {size[self.mesh.cells[self.mesh.segment == i]].max():.1f} Å"
            for i in np.unique(self.mesh.segment).tolist()
            if i != segment
        ]
        rest = f"; {', '.join(others)}" if others else ""
        self.moved.emit(f"Segment {segment} moved by {size[self.mesh.cells[of]].max():.1f} Å{rest}.")

    def _show(self, displacements: np.ndarray) -> None:
        self.displacements = displacements
        if not self.painting.is_there:
            return
        self.preview.move(displacements)
        if len(self.carried.points) == len(self.painting.surface.vertices):
            moved = self.carried.points + self.carried.displacements(displacements)
            self.painting.surface.move(self.painting.grid.indices(moved))


def _turn(way: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Rotation about the axis that lies in the screen, across the way of the mouse."""
    axis = np.cross(way, view)
    size = np.linalg.norm(axis)
    return np.eye(3) if size < 1e-9 else Rotation.from_rotvec(axis * TURN_PER_A).as_matrix()
