"""What else moves with the map: arrows, mesh, atomic model."""

from pathlib import Path

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QPushButton, QWidget

from napari_flex3d.io.errors import InputError
from napari_flex3d.ui.explore.atoms import MovingAtoms
from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.explore.followers import Arrows, MovingMesh
from napari_flex3d.ui.reasons import allow


class ExtrasPanel(QWidget):
    """Checks for what moves with the map, and the button that opens a model.

    Parameters
    ----------
    explorer
        Moves them.
    """

    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""
    model_opened = Signal()

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self.explorer = explorer
        viewer = explorer.session.viewer
        self.arrows, self.mesh, self.atoms = Arrows(viewer), MovingMesh(viewer), MovingAtoms(viewer)
        self.arrows_check, self.mesh_check = QCheckBox("Arrows"), QCheckBox("Mesh")
        self.arrows_check.setToolTip(
            "Arrows from where parts of the map rest to where they are, when you let go."
        )
        self.mesh_check.setToolTip("The border of the mesh, coloured by rigidity; it moves with the map.")
        self.atoms_check = QCheckBox("Model")
        self.atoms_check.setToolTip("Show the atomic model as ribbons that move with the map.")
        allow(self.atoms_check, False, "Open a model first.")
        self.atoms_button = QPushButton("Open model…")
        self.atoms_button.setToolTip(
            "<qt>A PDB or mmCIF file fitted into the consensus map, as ChimeraX overlays them.</qt>"
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for column, widget in enumerate(
            (self.arrows_check, self.mesh_check, self.atoms_check, self.atoms_button)
        ):
            grid.addWidget(widget, 0, column)
        self.arrows_check.toggled.connect(lambda on: explorer.live.follow(self.arrows, on))
        self.mesh_check.toggled.connect(lambda on: explorer.live.follow(self.mesh, on))
        self.atoms_check.toggled.connect(lambda on: explorer.live.follow(self.atoms, on))
        self.atoms_button.clicked.connect(self._open)

    def _open(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Open an atomic model", "", "Atomic models (*.pdb *.ent *.cif *.mmcif)"
        )
        if not name:
            return
        try:
            self.explorer.live.follow(self.atoms, True)
            problem = self.atoms.open(Path(name))
        except InputError as error:
            self.said.emit(str(error), True)
            return
        allow(self.atoms_check, True, "")
        self.atoms_check.setChecked(True)
        self.explorer.live.follow(self.atoms, True)
        self.explorer.live.surface.see_through()
        if problem:
            self.said.emit(problem, True)
        self.model_opened.emit()
