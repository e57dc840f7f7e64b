"""Motions before any training, in the dock "Train": their scree plot, and which of them training starts along."""

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QCheckBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_flex3d.io.errors import InputError
from napari_flex3d.jobs import Job, input_of
from napari_flex3d.ui.motion_surface import FARTHEST, MotionSurface
from napari_flex3d.ui.panel import StagePanel
from napari_flex3d.ui.scree import Scree
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.summary import read_columns
from napari_flex3d.ui.tone import Sentence, ToneLabel

TABLE = "motions.csv"


class MotionsRun(StagePanel):
    """Button, bar and sentence of the stage "motions", which takes its parameters from the training's form.

    Parameters
    ----------
    session
        The viewer's session.
    train
        Panel of the training.
    """

    def __init__(self, session: Session, train: StagePanel) -> None:
        self._train = train
        super().__init__(session, "motions", "Find motions")

    def start(self) -> None:
        """Run the stage where the training would run."""
        self.place_box.setCurrentIndex(self._train.place_box.currentIndex())
        super().start()

    def follow(self) -> None:
        """Take mesh, share of held-out particles, device and seed from the training's form."""
        if self.form is not None and self._train.form is not None:
            values = {
                name: row.value for name, row in self._train.form.rows.items() if name in self.form.rows
            }
            self.form.fill(values)

    def _build(self) -> None:
        super()._build()
        if self.form is not None:
            self.form.hide()
            self.follow()

    def _update(self) -> None:
        super()._update()
        self.place_box.hide()


class MotionsPanel(QWidget):
    """Finds motions, plays them, and lets a person take or drop each.

    Which are taken stands in the training's form (``motions`` and ``start``); the ticks only show it.

    Parameters
    ----------
    session
        The viewer's session.
    train
        Panel of the training.
    """

    def __init__(self, session: Session, train: StagePanel) -> None:
        super().__init__()
        self.session, self._train = session, train
        self.folder: Path | None = None
        self._mesh: Path | None = None
        self._columns: dict[str, np.ndarray] = {}
        self.surface = MotionSurface(session, self)
        self.run = MotionsRun(session, train)
        self.scree = Scree()
        self.sentence = Sentence()
        self.ticks: list[QCheckBox] = []
        self.show_buttons: list[QPushButton] = []
        self.found = QWidget()
        self._rows = QGridLayout()
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setVerticalSpacing(1)
        self._rows.setColumnStretch(3, 1)
        inside = QVBoxLayout(self.found)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.scree)
        inside.addWidget(self.sentence)
        inside.addLayout(self._rows)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        title = Sentence()
        title.say(
            "Motions before any training. Without this, Start training looks for them itself.", quiet=True
        )
        for widget in (title, self.run, self.found):
            layout.addWidget(widget)
        self.found.hide()
        self.surface.changed.connect(self._on_surface)
        session.job_shown.connect(self._on_job)
        session.run_ended.connect(self._on_end)
        session.model_changed.connect(self._on_news)
        train.formed.connect(self._on_form_made)
        self._on_form_made()

    @property
    def supported(self) -> tuple[int, ...]:
        """Numbers of the motions that the particles support, from 1."""
        return tuple(int(n) for n in self._columns["motion"][self._columns["supported"] > 0])

    def clear(self) -> None:
        """Show no motions."""
        self.surface.stop()
        self.folder, self._mesh = None, None
        self.found.hide()

    def take(self, folder: Path) -> None:
        """Show the motions of a job, a search for them or a training.

        Raises
        ------
        InputError
            If it has none, or the job of its mesh is gone.
        """
        mesh, columns = input_of(folder, "mesh"), read_columns(folder / TABLE)
        self.surface.stop()
        self.surface.folder = None  # the same folder may have been written anew
        self.folder, self._mesh, self._columns = folder, mesh.resolve(), columns
        self.scree.take(columns)
        self._fill()
        count, total = len(self.supported), len(columns["motion"])
        said = (
            f"{count} of {total} motions {'is' if count == 1 else 'are'} supported"
            if count
            else "None stands out"
        )
        self.sentence.say(f"{folder.name}: {said}. Training starts along those that are ticked.", quiet=True)
        self.found.show()
        self._on_form()

    def _fill(self) -> None:
        """Make a row for every motion."""
        while self._rows.count():
            item: Any = self._rows.takeAt(0)
            item.widget().hide()
            item.widget().deleteLater()
        self.ticks, self.show_buttons = [], []
        for place, title in enumerate(("take", "size (Å)", "gain")):
            self._rows.addWidget(ToneLabel(title, "quiet"), 0, place)
        c = self._columns
        for i, number in enumerate(c["motion"].astype(int)):
            tick = QCheckBox(str(number))
            tick.setAccessibleName(f"Take motion {number}")
            tick.setToolTip("Start the training along this motion.")
            tick.toggled.connect(self._on_tick)
            button = QPushButton("Show")
            button.setCheckable(True)
            button.setToolTip(
                f"<qt>Play the map along motion {number}, from -{FARTHEST:g} to {FARTHEST:g} standard deviations of "
                "the particles; once more puts the canvas back.</qt>"
            )
            button.setAccessibleName(f"Show motion {number}")
            button.clicked.connect(lambda on, i=i: self._on_show(i, on))
            gain = ToneLabel(f"{c['gain'][i]:z.2f} ± {c['gain_error'][i]:.2f}")
            gain.setToolTip(
                "<qt>What it adds to the log-likelihood of a particle that it was not found from, with its standard "
                "error.</qt>"
            )
            size = ToneLabel(f"{c['size_A'][i]:.2f}")
            size.setToolTip(f"Displacement, rms over the particles; {c['internal_A'][i]:.2f} Å of it bend.")
            verdict = ToneLabel("not supported", "quiet")
            if c["supported"][i]:
                verdict = ToneLabel("supported", "good")
            for place, widget in enumerate((tick, size, gain, verdict, button)):
                self._rows.addWidget(widget, i + 1, place)
            self.ticks.append(tick)
            self.show_buttons.append(button)

    # -- the training's form -----------------------------------------------------------------------

    def _on_form_made(self) -> None:
        if self._train.form is not None:
            self._train.form.changed.connect(self._on_form)
            self._on_form()
            self._look()

    def _on_form(self) -> None:
        """Follow the form: its mesh, and the motions that it names."""
        self.run.follow()
        if self.folder is None or self._train.form is None:
            return
        mesh = self._train.form.value_of("mesh")
        if mesh is not None and Path(mesh).resolve() != self._mesh:
            self.clear()
            self._train.form.fill({"motions": (), "start": "motions"})
            return
        try:
            named = self._train.form.value_of("motions")
        except ValueError:  # it is being typed
            return
        taken = named or self.supported if self._train.form.value_of("start") == "motions" else ()
        for number, tick in enumerate(self.ticks, 1):
            tick.blockSignals(True)
            tick.setChecked(number in taken)
            tick.blockSignals(False)

    def _on_tick(self) -> None:
        """Put what is ticked into the form; what is supported is taken without being named."""
        if self._train.form is None:
            return
        ticked = tuple(number for number, tick in enumerate(self.ticks, 1) if tick.isChecked())
        is_default = ticked == self.supported
        self._train.form.fill(
            {
                "start": "motions" if ticked or is_default else "random",
                "motions": () if is_default else ticked,
            }
        )

    # -- jobs --------------------------------------------------------------------------------------

    def _look(self, *first: Path) -> None:
        """Show the motions of a job that was made from the mesh in the form, if there is one."""
        form = self._train.form
        mesh = form.value_of("mesh") if form is not None else None
        if mesh is None:
            return
        known = self.session.current
        for folder in (*first, known.get("motions"), known.get("train"), self.session.model_job):
            if folder is not None and _mesh_of(folder) == Path(mesh).resolve():
                self.take(folder)
                return

    def _on_job(self, job: Job) -> None:
        if job.stage in ("motions", "train") or self.folder is None:
            self._look(job.folder)

    def _on_news(self, *_: object) -> None:
        if self.folder is None:
            self._look()

    def _on_end(self, stage: str, outcome: str, result: object) -> None:
        if stage in ("motions", "train") and self.session.run_folder is not None:
            self._look(self.session.run_folder)

    # -- the canvas --------------------------------------------------------------------------------

    def _on_show(self, number: int, on: bool) -> None:
        if not on:
            self.surface.stop()
        elif self.folder is not None:
            self.surface.play(self.folder, number)

    def _on_surface(self) -> None:
        for number, button in enumerate(self.show_buttons):
            button.setChecked(number == self.surface.playing)
            button.setText("Stop" if number == self.surface.playing else "Show")

    def hideEvent(self, event: Any) -> None:
        """Give the canvas back when the dock is left."""
        if not event.spontaneous():
            self.surface.stop()
        super().hideEvent(event)


def _mesh_of(folder: Path) -> Path | None:
    """Mesh job that the motions in a folder were found with; None where there are none, or the mesh is gone."""
    try:
        return input_of(folder, "mesh").resolve() if (folder / TABLE).is_file() else None
    except InputError:
        return None
