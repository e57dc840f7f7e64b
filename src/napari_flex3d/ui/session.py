"""What the docks of one viewer share: project folder, jobs, the running stage and the open model."""

import atexit
import importlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication, QWidget

from napari_flex3d.io.errors import InputError, sentence_of
from napari_flex3d.jobs import Job, input_of, read_job
from napari_flex3d.params import Params
from napari_flex3d.progress import Progress
from napari_flex3d.stages import STAGES, Stage
from napari_flex3d.stages import run as driven
from napari_flex3d.ui.canvas_context import CanvasContext
from napari_flex3d.ui.closing import CloseQuestion
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.keys import Key, Keys
from napari_flex3d.ui.layers import FILE_KEY, JOB_KEY
from napari_flex3d.ui.model_on_show import ModelOnShow
from napari_flex3d.ui.process import FollowedRun, launch
from napari_flex3d.ui.project import Entry, Project
from napari_flex3d.ui.run import StageRun
from napari_flex3d.ui.settings import Settings
from napari_flex3d.ui.triton_apart import load_triton
from napari_flex3d.ui.upkeep import Upkeep
from napari_flex3d.ui.wording import in_window

ORDER = tuple(stage.name for stage in STAGES)
MAPS = (".mrc", ".map")
KINDS = {".star": "particles", ".cs": "particles", ".seg": "segments"}
"""Parameter that a file goes into, by its ending; all others are maps."""


class Session(QObject):
    """One viewer's work. It outlives the docks, which are views on it: closing a dock stops nothing.

    Parameters
    ----------
    viewer
        The viewer; a plugin's proxy of it will do.
    stages
        The stages by name.
    project
        Folder that new jobs are put into.
    """

    ready = Signal()
    """The stages and what they need are loaded."""
    jobs_changed = Signal()
    """A job was made, opened or has ended: lists of jobs are out of date."""
    job_shown = Signal(object)
    """The `Job` that the person wants to look at."""
    run_changed = Signal()
    """A stage was started, asked to stop, or is over."""
    reported = Signal(object)
    """The newest `Progress` of the running stage, as often as there is time for it (`Upkeep`)."""
    run_ended = Signal(str, str, object)
    """Name of the stage that is over, how it ended, and its result or error."""
    model_changed = Signal(object)
    """The `FlexModel` on show; another object after each checkpoint of a training that is followed."""
    file_dropped = Signal(str, object)
    """A file was opened in the viewer: "particles", "map" or "segments", and its path."""
    want_monitor = Signal()
    """The curves should be on show."""
    ending = Signal()
    """The window goes: threads and timers have to end now."""
    said = Signal(str)
    """A sentence about the model or a job, for the person."""

    def __init__(
        self, viewer: Any, stages: Mapping[str, Stage] | None = None, project: Path | None = None
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.stages = dict(stages or {stage.name: stage for stage in STAGES})
        self.settings = Settings()
        remembered = Path(self.settings["project"] or Path.home() / "flex3d")
        self._project = Project(project or remembered)
        self.run: StageRun | FollowedRun | None = None
        self.run_stage = ""
        self.run_folder: Path | None = None
        self.current: dict[str, Path] = {}
        self.is_ready = False
        self._loading = False
        self._windows: set[int] = set()
        self.shown = ModelOnShow(self)
        self.shown.changed.connect(self.model_changed)
        self.upkeep = Upkeep(self)
        self.upkeep.beat.connect(self.report)
        self._newest: Progress | None = None
        self.files: dict[str, Path] = {}
        self.keys = Keys(viewer, self)
        self.keys.bind(Key("Alt-.", "stops the running stage"), self.stop)
        self.docks: Any = None
        self._explorer: Any = None
        self._design: Any = None
        for layer in viewer.layers:  # opened before the first dock
            self._note(layer.metadata)
        viewer.layers.events.inserted.connect(self._on_layer)
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self.end)
        atexit.register(self.end)  # a script may end without a word, and Qt then takes the window apart

    # -- life --------------------------------------------------------------------------------------

    @staticmethod
    def of(viewer: Any) -> "Session":
        """Find the session of a viewer; it is made when it is first asked for."""
        key = id(getattr(viewer, "__wrapped__", viewer))
        if key not in _sessions:
            _sessions[key] = Session(viewer)
        return _sessions[key]

    @property
    def explorer(self) -> Any:
        """The explorer of this viewer, made when a dock first asks for it."""
        if self._explorer is None:
            from napari_flex3d.ui.explore.explorer import Explorer

            self._explorer = Explorer(self)
        return self._explorer

    @property
    def design(self) -> Any:
        """The mesh that is designed in this viewer, made when the dock "Mesh" first asks for it."""
        if self._design is None:
            from napari_flex3d.ui.studio.design import Design

            self._design = Design(self)
        return self._design

    def prepare(self) -> None:
        """Load the stages (and torch with them) in a thread, then emit `ready`."""
        if self.is_ready or self._loading:
            return
        self._loading = True
        worker: Any = create_worker(self._import_stages, _start_thread=False, _ignore_errors=True)
        worker.errored.connect(
            lambda error: self.said.emit(f"The stages cannot be loaded: {sentence_of(error)}")
        )
        worker.returned.connect(lambda _: self._on_ready())
        worker.start()

    def attach(self, window: QWidget | None) -> None:
        """End with this window, and look after it."""
        if window is not None and id(window) not in self._windows:
            self._windows.add(id(window))
            window.destroyed.connect(self.end)
            window.installEventFilter(CloseQuestion(self, window))
            CanvasContext.keep(self.viewer, window)
            self.upkeep.watch(window)

    def end(self) -> None:
        """Stop what runs, and forget the viewer."""
        if self.viewer is None:
            return
        self.upkeep.stop()
        if isinstance(self.run, FollowedRun):
            self.run.release()
        elif self.run is not None:
            self.run.stop()
        self.ending.emit()
        self.keys.release()
        self.viewer.layers.events.inserted.disconnect(self._on_layer)
        self.shown.close()
        self.viewer = None
        atexit.unregister(self.end)
        for key in [key for key, session in _sessions.items() if session is self]:
            del _sessions[key]

    def _import_stages(self) -> bool:
        load_triton()
        for stage in self.stages.values():
            _ = stage.params
        importlib.import_module("napari_flex3d.model")
        return True

    def _on_ready(self) -> None:
        self.is_ready, self._loading = True, False
        self.ready.emit()

    # -- jobs --------------------------------------------------------------------------------------

    @property
    def project(self) -> Path:
        """Folder that new jobs are put into."""
        return self._project.folder

    @project.setter
    def project(self, folder: Path) -> None:
        if folder != self._project.folder:
            self._project.folder = folder
            self.jobs_changed.emit()

    def choose_project(self, folder: Path) -> None:
        """Work in another project folder, in later windows too."""
        self.settings["project"] = str(folder)
        self.project = folder

    def entries(self) -> list[Entry]:
        """All known jobs, newest first: those of the project and those that were opened."""
        return self._project.entries()

    def jobs(self, stage: str) -> list[Path]:
        """List the known jobs of a stage, newest first."""
        return self._project.jobs(stage)

    def new_folder(self, stage: str) -> Path:
        """Name of the next job's folder in the project, such as ``J3-train``."""
        return self._project.new_folder(stage)

    def open(self, folder: Path) -> Job:
        """Look at a job: it and the jobs that it was made from become the current ones of their stages.

        Raises
        ------
        InputError
            If the folder is no job.
        """
        job = read_job(Path(folder).resolve())
        self._adopt(job.folder)
        self.jobs_changed.emit()
        if "train" in self.current and job.stage in ("train", "generate", "reconstruct"):
            self.shown.open(self.current["train"])
        if job.state == "running" and not self.is_running:
            self._take(FollowedRun(job.folder, None, self), job.stage, job.folder)
        self.job_shown.emit(job)
        return job

    def try_to(self, action: Callable[[], object]) -> bool:
        """Do something; what goes wrong is said in a sentence, with its details in the log of the program."""
        try:
            action()
        except Exception as error:
            logging.getLogger(__name__).debug("an action failed", exc_info=error)
            self.said.emit(sentence_of(error))
            return False
        return True

    def worded(self, text: str, own: str = "") -> str:
        """What a stage says, in the words of the window; ``own`` is the stage in whose dock it is said."""
        forms = {name: stage.params for name, stage in self.stages.items()} if self.is_ready else {}
        return in_window(text, forms, own)

    def _on_layer(self, event: Any) -> None:
        """Tell the docks that a file or a job folder was opened in the viewer, by menu or by drop."""
        self._note(event.value.metadata)
        if Path(event.value.metadata.get(FILE_KEY, "")).suffix in MAPS:
            QTimer.singleShot(0, lambda: self._show_middle(event.value))

    def _show_middle(self, layer: Any) -> None:
        """Go to the middle slice of a map: beside a stack of images napari shows the middle image, where no map is."""
        if self.viewer is not None and self.viewer.dims.ndisplay == 2 and layer in self.viewer.layers:
            for axis, (low, high) in enumerate(layer.extent.world.T):
                self.viewer.dims.set_point(axis, (low + high) / 2)

    def _note(self, metadata: Mapping[str, Any]) -> None:
        if JOB_KEY in metadata:
            job = Path(metadata[JOB_KEY])
            if job.resolve() not in self.current.values():
                QTimer.singleShot(0, lambda: self.viewer is not None and self.try_to(lambda: self.open(job)))
        elif FILE_KEY in metadata:
            path = Path(metadata[FILE_KEY])
            if path.suffix != ".mrcs":
                kind = KINDS.get(path.suffix, "map")
                self.files[kind] = path
                self.file_dropped.emit(kind, path)

    def _adopt(self, folder: Path) -> None:
        """Make a job and its inputs the current ones."""
        job = read_job(folder)
        self.current[job.stage] = folder
        self._project.add(folder)
        for name in job.record.get("inputs", {}):
            try:
                place = input_of(folder, name)
            except InputError:
                continue
            # a mesh may have been proposed by an earlier training, which had a mesh of its own
            if name in ORDER[: ORDER.index(job.stage)] and (place / "job.json").is_file():
                self._adopt(place)

    # -- running a stage ---------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the docks watch a stage that runs, here or elsewhere."""
        return self.run is not None and not self.run.is_over

    @property
    def is_busy(self) -> bool:
        """Whether a stage runs in this window; another one has to wait, or to run as its own process."""
        return self.run is not None and self.is_running and self.run.place == "window"

    def start(self, stage: str, params: Params, *, resume: Path | None = None, apart: bool = False) -> Path:
        """Run a stage in a new job of the project, or go on with a stopped one; returns the job's folder.

        Parameters
        ----------
        resume
            Folder of the stopped job.
        apart
            Whether to run it as its own process, which goes on when the window is closed.

        Raises
        ------
        InputError
            If a stage runs in this window.
        """
        if self.is_busy:
            raise InputError(f"{self.run_stage} is running; stop it first or wait.")
        folder = resume or self.new_folder(stage)
        entry = self.stages[stage]
        if apart:
            process = launch(stage, params, folder, resume=resume is not None)
            self._take(FollowedRun(folder, process, self), stage, folder)
        else:
            steps = partial(driven, entry, params, folder, resume=resume is not None)
            self._take(StageRun(steps, self), stage, folder)
        return folder

    def resume(self, folder: Path, stage: str, *, apart: bool = False) -> Path:
        """Go on with a stopped or failed job, with the parameters that it was begun with."""
        params = self.stages[stage].params.from_record(read_job(folder).params)
        return self.start(stage, params, resume=folder, apart=apart)

    def _take(self, run: StageRun | FollowedRun, stage: str, folder: Path) -> None:
        """Let the docks watch a run; one in another process that they watched before goes on by itself."""
        if isinstance(self.run, FollowedRun) and not self.run.is_over:
            self.run.release()
            self.run.reported.disconnect(self._on_report)
            self.run.ended.disconnect(self._on_ended)
        self.run, self.run_stage, self.run_folder = run, stage, folder
        run.reported.connect(self._on_report)
        run.ended.connect(self._on_ended)
        run.start()
        self.upkeep.start()
        if stage == "train":
            self.shown.open(folder)
        self.run_changed.emit()

    def stop(self) -> None:
        """Ask the running stage to stop."""
        if self.run is not None:
            self.run.stop()
            self.run_changed.emit()

    def _on_report(self, report: Progress) -> None:
        self._newest = report

    def report(self) -> None:
        """Tell the docks how far the stage is, if there is news."""
        report, self._newest = self._newest, None
        if report is not None:
            self.upkeep.begin()
            self.reported.emit(report)

    def _on_ended(self, outcome: str, result: Any) -> None:
        self.report()
        self.upkeep.stop()
        folder = self.run_folder
        if folder is not None and (folder / "job.json").is_file():
            if outcome == "done" or (folder / "latest").is_file():
                self._adopt(folder)
            self._project.add(folder)
        self.shown.follow()
        self.jobs_changed.emit()
        self.run_changed.emit()
        self.run_ended.emit(self.run_stage, outcome, result)

    # -- the model on show -------------------------------------------------------------------------

    @property
    def model(self) -> Any:
        """The `FlexModel` on show; None until one is loaded."""
        return self.shown.model

    @property
    def model_grid(self) -> Grid | None:
        """Where its box lies."""
        return self.shown.grid

    @property
    def model_job(self) -> Path | None:
        """The training that it comes from, which may have no checkpoint yet."""
        return self.shown.job


_sessions: dict[int, Session] = {}
