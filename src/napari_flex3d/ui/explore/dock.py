"""The dock "Explore": density of the latents, a slider for each, and the map that follows."""

from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton

from napari_flex3d.io.errors import InputError
from napari_flex3d.ui.dock import Dock
from napari_flex3d.ui.explore.compare import ComparePanel, Comparison
from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.explore.export_panel import ExportPanel
from napari_flex3d.ui.explore.extras_panel import ExtrasPanel
from napari_flex3d.ui.explore.histogram_slider import HistogramSlider
from napari_flex3d.ui.explore.look_panel import LookPanel
from napari_flex3d.ui.explore.pages import Pages
from napari_flex3d.ui.explore.path_panel import PathPanel
from napari_flex3d.ui.explore.player import PlayerRow
from napari_flex3d.ui.explore.scatter_panel import ScatterPanel
from napari_flex3d.ui.explore.selection import SelectionPanel
from napari_flex3d.ui.job_edit import JobEdit
from napari_flex3d.ui.keys import Key
from napari_flex3d.ui.panel import StagePanel
from napari_flex3d.ui.preview import Preview
from napari_flex3d.ui.reasons import name_whole
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.tone import Sentence
from napari_flex3d.ui.unseen import WhenSeen


class ExploreDock(Dock):
    """Scatter, sliders, player and everything that is done with the map of one viewer's explorer.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session, "")
        self.intro.hide()
        self.explorer: Explorer = session.explorer
        Preview.of(session)
        self.sliders: list[HistogramSlider] = []
        self.state = Sentence()
        self._build_top()
        self.player = PlayerRow(self.explorer.player)
        self.mean_button = QPushButton("Mean")
        self.mean_button.setToolTip("Go to the mean latent of the particles. Alt-0")
        row = QHBoxLayout()
        row.addWidget(self.player, 1)
        row.addWidget(self.mean_button)
        self.column.addLayout(row)
        self.column.addWidget(self.state)
        self._build_pages()
        self.column.addStretch(0)
        self._connect()
        self._bind_keys()
        if self.explorer.model is not None:
            self._on_model()
        else:
            self._say_what_is_missing()

    # -- building ----------------------------------------------------------------------------------

    def _build_top(self) -> None:
        row = QHBoxLayout()
        row.addWidget(QLabel("Training"))
        self.job_box = JobEdit(lambda: self.session.jobs("train"))
        self.job_box.setToolTip("A training job; one that still runs is followed, checkpoint by checkpoint.")
        name_whole(self.job_box, "Training")
        row.addWidget(self.job_box, 1)
        self.column.addLayout(row)
        self.scatter_panel = ScatterPanel(self.explorer)
        self.scatter = self.scatter_panel.scatter
        self.column.addWidget(self.scatter_panel, 1)
        self.sliders_form = QFormLayout()
        self.sliders_form.setVerticalSpacing(2)
        self.column.addLayout(self.sliders_form)

    def _build_pages(self) -> None:
        self.look = LookPanel(self.explorer, self._say)
        self.path_panel = PathPanel(self.explorer.path)
        self.selection_panel = SelectionPanel(self.explorer.selection, lambda: self.session.model_job)
        self.extras = ExtrasPanel(self.explorer)
        self.comparison = Comparison(self.explorer)
        self.compare_panel = ComparePanel(self.comparison)
        self.export_panel = ExportPanel(self.explorer, self.scatter_panel, self.extras.atoms)
        self.panel = StagePanel(self.session, "generate", "Write series")
        self.pages = Pages()
        self.pages.add("Map", "What is shown of the map.", self.look)
        self.pages.add("Extras", "Arrows, mesh and atomic model that move with the map.", self.extras)
        self.pages.add("Compare", "Two states, overlaid or side by side.", self.compare_panel)
        self.pages.add("Path", "A path through the latents, its length and its particles.", self.path_panel)
        self.pages.add("Select", "Particles chosen on the scatter.", self.selection_panel)
        self.pages.add("Export", "Movie, figure, moved model, volumes.", self.export_panel, self.panel)
        self.column.addWidget(self.pages)
        self._of_a_model = (
            *(self.scatter_panel, self.player, self.mean_button, self.look, self.extras),
            *(self.compare_panel, self.path_panel, self.selection_panel, self.export_panel),
        )

    def _connect(self) -> None:
        explorer = self.explorer
        self._keep_up = WhenSeen(self, self._on_model, self.session, lambda: explorer.is_watched)
        explorer.model_taken.connect(self._keep_up.want)
        explorer.latent_changed.connect(self._on_latent)
        explorer.measured.connect(self._on_measured)
        explorer.path.changed.connect(self._offer_courses)
        explorer.selection.changed.connect(self._on_selection)
        self.session.said.connect(self._say)
        self.session.jobs_changed.connect(self._on_jobs)
        self.session.run_changed.connect(self._on_run)
        self.session.run_ended.connect(self._on_end)
        self.job_box.changed.connect(self._on_job)
        self.player.course_box.currentIndexChanged.connect(self._on_course)
        self.mean_button.clicked.connect(explorer.go_to_mean)
        self.scatter_panel.said.connect(self._say)
        self.scatter_panel.path_drawn.connect(self._on_path_drawn)
        self.path_panel.go.connect(self._on_point)
        self.path_panel.add.connect(lambda: explorer.path.add(explorer.latent))
        self.path_panel.said.connect(self._say)
        for panel in (self.selection_panel, self.extras, self.export_panel):
            panel.said.connect(self._say)
        self.extras.model_opened.connect(self.export_panel.refresh)
        self.export_panel.series_wanted.connect(self._on_series)
        self.selection_panel.go.connect(self._on_chosen_mean)

    def _bind_keys(self) -> None:
        """Bind the keys that need the dock, over the canvas; and all of the dock's keys in the dock itself."""
        keys = self.session.keys
        take = self.scatter_panel.take
        keys.bind(Key("Alt-L", "takes the lasso", "Explore is open"), lambda: take("lasso"))
        keys.bind(Key("Alt-D", "draws a path", "Explore is open"), lambda: take("path"))
        for name in "AB":
            key = Key(f"Alt-{name}", f"keeps the latent on show as state {name}", "Explore is open")
            keys.bind(key, lambda name=name: self.comparison.set(name))  # type: ignore[misc]
        for k in range(1, 10):
            key = Key(f"Alt-{k}", f"chooses the slider of latent {k}; the arrows move it", "Explore is open")
            keys.bind(key, lambda k=k: self._choose_slider(k - 1))  # type: ignore[misc]
        for name, action in (
            ("Alt+P", lambda: self.explorer.play(not self.explorer.player.is_playing)),
            ("Alt+0", self.explorer.go_to_mean),
            ("Alt+Left", lambda: self.explorer.step_path(-1)),
            ("Alt+Right", lambda: self.explorer.step_path(1)),
            ("Alt+A", lambda: self.comparison.set("A")),
            ("Alt+B", lambda: self.comparison.set("B")),
            ("Alt+L", lambda: take("lasso")),
            ("Alt+D", lambda: take("path")),
            *((f"Alt+{k}", lambda k=k: self._choose_slider(k - 1)) for k in range(1, 10)),
        ):
            shortcut = QShortcut(QKeySequence(name), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    # -- the person does something -----------------------------------------------------------------

    def _on_job(self) -> None:
        job = self.job_box.value
        if job is not None and job != self.session.model_job:
            try:
                self.session.open(job)
            except InputError as error:
                self._say(str(error), bad=True)

    def _on_slider(self, k: int, value: float) -> None:
        latent = self.explorer.latent.copy()
        latent[k] = value
        self.explorer.go_to(latent)

    def _choose_slider(self, k: int) -> None:
        if k < len(self.sliders):
            self.sliders[k].track.setFocus(Qt.FocusReason.ShortcutFocusReason)
            self.ensureWidgetVisible(self.sliders[k])

    def _on_course(self, index: int) -> None:
        courses = self._courses()
        if 0 <= index < len(courses):
            self.explorer.play_along(courses[index])

    def _on_point(self, latent: np.ndarray) -> None:
        self.explorer.go_to(latent)
        self.explorer.settle()

    def _on_path_drawn(self) -> None:
        self.pages.turn_to("Path")
        self.player.course_box.setCurrentIndex(self.player.course_box.count() - 1)

    def _on_selection(self) -> None:
        if self.explorer.selection.count:
            self.pages.turn_to("Select")

    def _on_series(self, values: dict[str, Any]) -> None:
        self.pages.turn_to("Export")
        self.panel.fill_from(values)
        self.ensureWidgetVisible(self.panel)

    def _on_chosen_mean(self) -> None:
        self._on_point(self.explorer.model.latents[self.explorer.selection.chosen].mean(0))

    # -- something has changed ---------------------------------------------------------------------

    def _say(self, text: str, bad: bool = False) -> None:
        self.state.say(self.session.worded(text, "generate"), bad=bad)

    def _on_measured(self, text: str) -> None:
        self.state.say(text)

    def _on_run(self) -> None:
        self._say_what_is_missing()
        if self.panel.is_mine:
            self.ensureWidgetVisible(self.panel.sentence)  # below the form, which may reach out of the window

    def _on_end(self, stage: str, outcome: str, result: Any) -> None:
        if stage == "generate" and outcome == "done":
            self.state.say(
                f"Volumes, movie.mp4 and series.cxc for ChimeraX are in {self.session.run_folder}."
            )

    def _say_what_is_missing(self) -> None:
        for part in self._of_a_model:
            part.setEnabled(self.explorer.model is not None)
        if self.explorer.model is not None:
            return
        if self.session.model_job is not None:
            self.state.say(
                f"{self.session.model_job.name} has no checkpoint yet; the map appears after its first epoch."
            )
        else:
            self.state.say("Choose a training job to explore, or train one first.", quiet=True)

    def _on_jobs(self) -> None:
        self.job_box.blockSignals(True)
        self.job_box.refresh()
        if self.session.model_job is not None:
            self.job_box.value = self.session.model_job
        self.job_box.blockSignals(False)
        self._say_what_is_missing()

    def _on_model(self) -> None:
        model = self.explorer.model
        if model is None:
            return
        self._make_sliders(model.latent_dims)
        for k, slider in enumerate(self.sliders):
            slider.show_particles(model.latents[:, k], *map(float, self.explorer.limits[k]))
        self._offer_courses()
        self._on_latent(self.explorer.latent)
        self._on_jobs()

    def _make_sliders(self, dims: int) -> None:
        if len(self.sliders) == dims:
            return
        while self.sliders_form.rowCount():
            self.sliders_form.removeRow(0)
        self.sliders = []
        for k in range(dims):
            slider = HistogramSlider(f"Latent {k + 1}")
            slider.setToolTip(
                f"<qt>Latent coordinate {k + 1}, from the 1st to the 99th percentile of the particles, and how many "
                f"there are. Double click: the mean. Alt-{k + 1}, then the arrows.</qt>"
            )
            slider.valueChanged.connect(lambda value, k=k: self._on_slider(k, value))
            slider.sliderReleased.connect(self.explorer.settle)
            self.sliders_form.addRow(f"z{k + 1}", slider)
            self.sliders.append(slider)

    def _courses(self) -> list[Any]:
        path = self.explorer.path.course
        return [*self.explorer.courses, *([path] if path is not None else [])]

    def _offer_courses(self) -> None:
        """List what can be played along; the choice stays."""
        box, courses = self.player.course_box, self._courses()
        names = [course.name for course in courses]
        chosen = box.currentText()
        box.blockSignals(True)
        box.clear()
        box.addItems(names)
        box.setCurrentIndex(names.index(chosen) if chosen in names else 0)
        box.blockSignals(False)
        self._on_course(box.currentIndex())

    def _on_latent(self, latent: np.ndarray) -> None:
        for slider, value in zip(self.sliders, latent, strict=False):
            slider.show_value(value)
