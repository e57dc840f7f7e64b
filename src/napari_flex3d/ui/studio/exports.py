"""The design for other programs: a menu, and what it writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.segments import write_labels
from napari_flex3d.mesh.export import (
    LABELS,
    LINES,
    PICKLE,
    SCRIPT,
    SEGMENTS,
    write_for_chimerax,
    write_for_cryosparc,
)
from napari_flex3d.ui.reasons import allow
from napari_flex3d.ui.studio.design import Design

PAINTED = "painted_segments.mrc"
NO_DRAFT = "The preview of a mesh comes first: paint, or propose segments."


class ExportButton(QPushButton):
    """A button with a menu of other programs.

    Parameters
    ----------
    design
        The design.
    say
        Takes a sentence, and whether it is an error.
    """

    def __init__(self, design: Design, say: Callable[[str, bool], Any]) -> None:
        super().__init__("Export")
        self.design, self._say = design, say
        self.setToolTip("Write segments and mesh for CryoSPARC or ChimeraX.")
        menu = QMenu(self)
        self.actions_by_name: dict[str, Any] = {
            name: menu.addAction(text)
            for name, text in (
                ("cryosparc", "For CryoSPARC: mesh and segments…"),
                ("chimerax", "For ChimeraX: mesh, segments and a script…"),
                ("painted", "Segments as painted (.mrc)…"),
            )
        }
        for name, action in self.actions_by_name.items():
            action.triggered.connect(lambda _=False, name=name: self.choose(name))
        self.setMenu(menu)
        for signal in (design.drafted, design.opened):
            signal.connect(lambda *_: allow(self, design.draft is not None, NO_DRAFT))
        allow(self, design.draft is not None, NO_DRAFT)

    def choose(self, kind: str) -> None:
        """Choose a folder and write into it."""
        folder = QFileDialog.getExistingDirectory(self, "Folder to write into")
        if folder:
            self.write(kind, Path(folder))

    def write(self, kind: str, folder: Path) -> None:
        """Write what is there for a program: "cryosparc", "chimerax", or the labels as "painted"."""
        try:
            self._say(_write(self.design, kind, folder), False)
        except (InputError, OSError) as error:
            self._say(f"Not written: {error}", True)


def _write(design: Design, kind: str, folder: Path) -> str:
    draft, painting = design.draft, design.painting
    if draft is None or painting is None or design.place is None:
        raise InputError("there is no mesh yet; paint or propose segments first.")
    ground = painting.ground
    if kind == "cryosparc":
        pairs = write_for_cryosparc(folder, draft.built, ground)
        joined = f" and {SEGMENTS}; connections in its numbers, from 0: {pairs}" if pairs else ""
        return f"{folder}: {PICKLE}{joined}."
    if kind == "chimerax":
        write_for_chimerax(folder, draft.built, ground, design.place[0] / "map.mrc")
        return f"{folder}: {SCRIPT}, which opens map, {LABELS} and {LINES}."
    segments = design.segments()
    if segments is None:
        raise InputError("nothing is painted.")
    write_labels(folder / PAINTED, segments, ground.density, style="chimerax")
    return f"{folder}: {PAINTED}, segments from 1, 0 for none."
