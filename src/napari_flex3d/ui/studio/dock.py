"""The dock "Mesh": the studio, the stage's form and button, and what its newest job has given.

Importing this loads no torch: the studio itself comes when the stages are loaded.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QGridLayout

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.jobs import Job, input_of
from napari_flex3d.ui.docks import StageDock
from napari_flex3d.ui.layers import grid_of, mesh_layers, surface_layer
from napari_flex3d.ui.panel import StagePanel
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.summary import facts
from napari_flex3d.ui.tone import Sentence

if TYPE_CHECKING:
    from napari_flex3d.mesh import MeshParams
    from napari_flex3d.ui.studio.design import Design
    from napari_flex3d.ui.studio.workbench import Workbench


class MeshPanel(StagePanel):
    """Form, button, bar and sentence of the stage, which takes the painted segments."""

    starting = Signal()
    """The stage is about to start: the form can still be filled."""

    def start(self) -> None:
        """Run the stage with the painted segments, or with those that the form says."""
        self.starting.emit()
        super().start()


class MeshDock(StageDock):
    """The dock "Mesh": the tetrahedra that carry the motion, and the segments they are split into."""

    panel_kind = MeshPanel
    panel: MeshPanel

    def __init__(self, session: Session) -> None:
        intro = "Fill the mask with tetrahedra, which carry the motion. Paint parts that should slide or stay rigid."
        super().__init__(session, "mesh", "Build mesh", intro)
        self.bench: Workbench | None = None
        layout = QGridLayout(self.results)
        layout.setContentsMargins(0, 4, 0, 0)
        self.verdict = Sentence()
        layout.addLayout(
            self._buttons(
                ("Show mesh", "The mesh over the map.", self.show_layers),
                ("Edit its segments", "Paint on with the segments of this job.", self.edit),
            ),
            0,
            0,
        )
        layout.addWidget(self.verdict, 1, 0)
        self.panel.starting.connect(self._give_segments)
        self.panel.formed.connect(self._on_formed)
        self._on_formed()

    @property
    def design(self) -> "Design":
        """The mesh that is designed in this viewer."""
        return self.session.design

    # -- form and studio ---------------------------------------------------------------------------

    def _on_formed(self) -> None:
        """Open the studio, now that the stages are loaded."""
        if self.panel.form is None or self.bench is not None:
            return
        from napari_flex3d.ui.studio.workbench import Workbench

        self.bench = Workbench(self.session, self._open)
        self.panel.insert(self.bench)
        self.design.changed.connect(self._on_design)
        self.panel.form.changed.connect(self._on_form)
        self._on_form()

    def _params(self) -> "MeshParams | None":
        """The form's parameters, if they can be used."""
        from napari_flex3d.mesh import MeshParams

        form = self.panel.form
        if form is None or form.problem():
            return None
        params = form.params()
        return params if isinstance(params, MeshParams) else None

    def _on_form(self) -> None:
        params = self._params()
        assert self.bench is not None
        self.bench.setEnabled(params is not None)
        if params is None or params == self.design.params:
            return
        self.design.params = params
        self.design.connections = params.connections
        if self.design.painting is not None and self.design.place != (params.prep, params.mask):
            self.design.leave()
        self.design.touch()

    def _on_design(self) -> None:
        form = self.panel.form
        if self.design.painting is not None and form is not None and self.design.params is not None:
            text = self.design.connections
            if form.value_of("connections") != text:
                self.design.params = replace(self.design.params, connections=text)
                form.fill({"connections": text})

    def _open(self) -> bool:
        """Take the map of the prep job into the studio; say why if that cannot be."""
        params = self._params()
        try:
            if params is None:
                raise InputError(
                    self.panel.form.problem() if self.panel.form else "The form is still loading."
                )
            self.design.params = params
            self.design.open(params.prep, params.mask).show()
        except InputError as error:
            self._say(str(error), bad=True)
            return False
        return True

    def _say(self, text: str, *, bad: bool = False) -> None:
        if self.bench is not None:
            self.bench.say(text, bad=bad)

    def _give_segments(self) -> None:
        """Write the painted segments to a file of the project, and put it into the form."""
        form = self.panel.form
        if self.bench is None or form is None or self.design.painting is None or self.design.place is None:
            return
        segments = self.design.segments()
        if segments is None or form.value_of("prep") != self.design.place[0]:
            return  # nothing is painted, or on another map
        path = self.session.project / "segments" / f"{self.session.new_folder('mesh').name}.mrc"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_map(path, segments.labels, like=self.design.painting.ground.density)
        values: dict[str, Any] = {"segments": path, "propose": "none", "train": None, "mesh": None}
        form.fill(values | self.design.stage_values())

    # -- the newest job ----------------------------------------------------------------------------

    def show_results(self, job: Job) -> None:
        """Say how many vertices and cells there are, in how many parts."""
        self.verdict.say(self.worded(*facts(job.summary)))

    def show_layers(self) -> None:
        """Show the mesh over the map."""
        if self.job is None:
            return
        from napari_flex3d.mesh import TetMesh

        volume = read_map(input_of(self.job.folder, "prep") / "map.mrc")
        mesh = TetMesh.load(self.job.folder / "mesh.npz")
        inside = surface_layer(volume.data, grid_of(volume), "Map surface", gray=0.75)
        self._put([inside, *mesh_layers(mesh, grid_of(volume))])

    def edit(self) -> None:
        """Bring the segments of the shown job into the studio, with roles, names and joints."""
        if self.job is None or not self._open() or self.design.params is None:
            return
        given = self.job.params.get("segments")
        grown = self.job.folder / "labels.mrc"
        source = Path(given) if given and Path(given).is_file() else grown
        if not source.is_file():
            self._say("This mesh has no segments: paint some.")
            return
        self.design.propose(keep=True, segments=source)
