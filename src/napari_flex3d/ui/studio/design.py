"""The mesh as it is being designed: segments, their names and roles, their joints; and the draft made of them."""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.io.segments import Segments
from napari_flex3d.mesh import MeshParams
from napari_flex3d.mesh.build import suggested
from napari_flex3d.mesh.connections import parse_connections, toggled, write_connections
from napari_flex3d.mesh.draft import Draft, Ground
from napari_flex3d.mesh.labels import write_names
from napari_flex3d.mesh.weights import parse_segments
from napari_flex3d.ui.isosurface import default_contour
from napari_flex3d.ui.layers import grid_of
from napari_flex3d.ui.run import Mailbox
from napari_flex3d.ui.studio.asked import Asked, draft_of, proposal_of
from napari_flex3d.ui.studio.brush import surface_brush
from napari_flex3d.ui.studio.painting import Painting

Role = Literal["soft", "rigid", "ignored"]
PAUSE = 250
"""Milliseconds after a stroke before the mesh follows."""


class Design(QObject):
    """The mesh that one viewer's person designs. It outlives its dock.

    Parameters
    ----------
    session
        The viewer's session.
    """

    opened = Signal()
    """Another map is on show, or none."""
    changed = Signal()
    """Segments, names, roles or joints are other than before."""
    drafted = Signal(object)
    """The `Draft` of what is there now."""
    refused = Signal(str)
    """Why there can be no mesh of it."""
    proposed = Signal(str)
    """Segments were proposed or read: what is to be said of them."""

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self.session = session
        self.place: tuple[Path, Path | None] | None = None
        self.painting: Painting | None = None
        self.params: MeshParams | None = None
        self.names: dict[int, str] = {}
        self.roles: dict[int, Role] = {}
        self._begun: set[int] = set()
        self.connections = ""
        self.draft: Draft | None = None
        self._asked: Asked | None = None
        self._answered: Asked | None = None
        self._drafts: Mailbox | None = None
        self._proposals: Mailbox | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE)
        self._timer.timeout.connect(self._ask)
        session.ending.connect(self.close)

    def close(self) -> None:
        """End the threads."""
        self._timer.stop()
        for mailbox in (self._drafts, self._proposals):
            if mailbox is not None:
                mailbox.close()
        self._drafts = self._proposals = None
        self.painting = None

    # -- the map -----------------------------------------------------------------------------------

    def open(self, prep: Path, mask: Path | None = None) -> Painting:
        """Take the map of a prep job, if it is not there yet.

        Raises
        ------
        InputError
            If the mask does not fit the map.
        """
        if self.painting is not None and self.place == (prep, mask):
            return self.painting
        density, soft = read_map(prep / "map.mrc"), read_map(mask or prep / "mask.mrc")
        if soft.data.shape != density.data.shape or not (soft.data > 0.5).any():
            raise InputError(f"Mask {mask or prep / 'mask.mrc'} does not fit the map of {prep}, or is empty.")
        self.leave()
        ground = Ground(density, soft.data)
        contour = default_contour(density.data, ground.mask)
        self.painting = Painting(self.session.viewer, ground, grid_of(density), contour)
        self.painting.painted.connect(self.touch)
        self.place, self.draft = (prep, mask), None
        self.session.viewer.mouse_drag_callbacks.append(self._on_drag)
        self.opened.emit()
        return self.painting

    def leave(self) -> None:
        """Put the map away."""
        if self.painting is None:
            return
        self.session.viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.painting.close()
        self.painting = None
        self.place = self.draft = None
        self.names, self.roles, self._begun = {}, {}, set()
        self.opened.emit()

    def _on_drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if self.painting is not None:
            yield from surface_brush(self.painting, viewer, event)

    # -- segments ----------------------------------------------------------------------------------

    @property
    def ids(self) -> list[int]:
        """Segments that are painted, and those that were begun by hand; names and roles wait for what was undone."""
        painted = self.painting.ids() if self.painting is not None else []
        return sorted({*painted, *self._begun})

    def is_painted(self, segment: int) -> bool:
        """Whether a segment has voxels."""
        return self.painting is not None and bool((np.asarray(self.painting.labels.data) == segment).any())

    @property
    def selected(self) -> int:
        """The segment that the brush paints; 0 rubs out."""
        return int(self.painting.labels.selected_label) if self.painting is not None else 0

    @selected.setter
    def selected(self, segment: int) -> None:
        if self.painting is not None:
            self.painting.labels.selected_label = segment
            self.changed.emit()

    def new_segment(self) -> int:
        """Begin another segment; the brush has its colour."""
        number = max(self.ids, default=0) + 1
        self.names.pop(number, None)
        self.roles[number] = "soft"
        self._begun.add(number)
        self.selected = number
        return number

    def remove(self, segment: int) -> None:
        """Rub a segment out."""
        self.names.pop(segment, None)
        self.roles.pop(segment, None)
        self._begun.discard(segment)
        if self.painting is not None:
            labels = np.asarray(self.painting.labels.data)
            self.painting.replace(np.where(labels == segment, 0, labels))
        self.touch()

    def name(self, segment: int, name: str) -> None:
        """Give a segment a name."""
        self.names[segment] = name
        self.touch()

    def assign(self, segment: int, role: Role) -> None:
        """Say what a segment is: soft, rigid, or ignored, so that its neighbours share its voxels."""
        self.roles[segment] = role
        self.touch()

    def segments(self) -> Segments | None:
        """Segments as they are painted, without ignored ones; None when nothing is."""
        if self.painting is None:
            return None
        ignored = [s for s, role in self.roles.items() if role == "ignored"]
        labels = np.asarray(self.painting.labels.data).astype(np.int32)
        labels[(labels == 0) | np.isin(labels, ignored)] = -1
        ids = tuple((np.flatnonzero(np.bincount(labels.ravel() + 1)[1:])).tolist())
        names = {i: self.names[i] for i in ids if self.names.get(i)}
        return Segments(labels, ids, names) if ids else None

    # -- joints ------------------------------------------------------------------------------------

    def connect_segments(self, text: str) -> None:
        """Say which segments are joined, as text."""
        if text != self.connections:
            self.connections = text
            self.touch()

    def toggle(self, first: int, second: int) -> None:
        """Join two segments, or part them; when all that touch were joined, a tree that does is there first."""
        if self.draft is None:
            return
        sizes = {s.id: s.volume_A3 for s in self.draft.facts}
        try:
            pairs = parse_connections(self.connections, sizes)
        except InputError:
            pairs = self.draft.built.connections
        if pairs is None:
            pairs = suggested(self.draft.built)
            if frozenset((first, second)) not in map(frozenset, pairs):
                return self.connect_segments(toggled([*pairs, (first, second)], (first, second), sizes))
        return self.connect_segments(toggled(pairs, (first, second), sizes))

    def suggest(self) -> None:
        """Join what touches by a tree."""
        if self.draft is not None:
            self.connect_segments(write_connections(suggested(self.draft.built)))

    # -- drafts ------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Something has changed: the mesh follows in a moment."""
        self.changed.emit()
        if self.painting is not None:
            self._timer.start()

    def stage_values(self) -> dict[str, Any]:
        """What the painted segments are to the stage's parameters, except their file."""
        segments = self.segments()
        rigid = [s for s, role in self.roles.items() if role == "rigid" and segments and s in segments.ids]
        return {
            "connections": self.connections if segments else "",
            "rigid_segments": ", ".join(map(str, sorted(rigid))),
            "segment_names": write_names(segments.names) if segments else "",
        }

    def _ask(self) -> None:
        if self.painting is None or self.params is None:
            return
        if self._drafts is None:
            self._drafts = Mailbox(draft_of, self)
            self._drafts.answered.connect(self._on_draft)
        plain: dict[str, Any] = {"segments": None, "propose": "none", "train": None, "segment_names": ""}
        values = {k: v for k, v in self.stage_values().items() if k != "segment_names"}
        params = replace(self.params, **plain, **values)
        self._asked = Asked(self.painting.ground, params, self.segments())
        self._drafts.submit(self._asked)

    def _on_draft(self, answer: tuple[Asked, Draft | Exception]) -> None:
        self._answered, found = answer
        if self.painting is None or self._answered.ground is not self.painting.ground:
            return
        if isinstance(found, Exception):
            self.refused.emit(str(found))
        else:
            self.draft = found
            self.drafted.emit(found)

    @property
    def is_settled(self) -> bool:
        """Whether the mesh is that of what is painted and said now."""
        return not self._timer.isActive() and self._asked is self._answered

    # -- proposals ---------------------------------------------------------------------------------

    def propose(self, *, keep: bool = False, **source: Any) -> None:
        """Fill the segments from a file, the map or a training.

        Parameters
        ----------
        keep
            Whether the form's names, rigid segments and connections belong to them.
        source
            Parameters of the stage that say where from.
        """
        if self.painting is None or self.params is None:
            return
        if self._proposals is None:
            self._proposals = Mailbox(proposal_of, self)
            self._proposals.answered.connect(self._on_segments)
            self._proposals.failed.connect(lambda error: self.proposed.emit(str(error)))
        plain: dict[str, Any] = {"segments": None, "propose": "none", "train": None, "mesh": None}
        if not keep:
            plain |= {"segment_names": "", "rigid_segments": "", "connections": ""}
        self._proposals.submit(Asked(self.painting.ground, replace(self.params, **{**plain, **source}), None))

    def _on_segments(self, answer: tuple[Asked, Segments, list[str]]) -> None:
        asked, found, said = answer
        if self.painting is not None and asked.ground is self.painting.ground:
            self.take(found, parse_segments(asked.params.rigid_segments, found.ids), asked.params.connections)
            count = len(found.ids)
            self.proposed.emit(" ".join([f"{count} segment{'s' if count > 1 else ''}.", *said]))

    def take(self, found: Segments, rigid: Collection[int] = (), connections: str = "") -> None:
        """Put segments in the place of those that are there; where one is 0 all are numbered one higher."""
        assert self.painting is not None
        first = 1 if 0 in found.ids else 0
        self._begun = set()
        self.names = {i + first: found.names.get(i, "") for i in found.ids}
        self.roles = {i + first: "rigid" if i in rigid else "soft" for i in found.ids}
        self.connections = re.sub(r"\d+", lambda number: str(int(number[0]) + first), connections)
        labels = np.where(found.labels >= 0, found.labels + first, 0)
        self.painting.replace(labels.astype(np.uint16))
        self.selected = min(self.ids, default=1)
        self.touch()
