"""The model on show: the newest checkpoint of a training, which is followed while it runs."""

from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.io.errors import InputError, sentence_of
from napari_flex3d.io.mrc import read_map
from napari_flex3d.jobs import input_of, read_job
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.layers import grid_of

INTERVAL = 1000
"""Milliseconds between two looks at a training that runs elsewhere."""


class ModelOnShow(QObject):
    """The model that the docks of one viewer show, and where its box lies.

    Parameters
    ----------
    session
        The viewer's session.
    """

    changed = Signal(object)
    """The `FlexModel` on show; another object after each checkpoint of a training that is followed."""

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self._session = session
        self.model: Any = None
        self.grid: Grid | None = None
        self.job: Path | None = None
        self._checkpoint = ""
        self._wanted = 0
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self.follow)

    def open(self, train_job: Path) -> None:
        """Load the newest checkpoint of a training, and follow it for as long as it runs."""
        if train_job != self.job:
            self.model, self._checkpoint = None, ""
        self.job = train_job
        self.follow()

    def close(self) -> None:
        """Follow nothing any more, and forget the model."""
        self._timer.stop()
        self.model = None

    def follow(self) -> None:
        """Load the model again if the training has written another checkpoint."""
        job = self.job
        if job is None:
            return
        latest = job / "latest"
        newest = latest.read_text().strip() if latest.is_file() else ""
        if newest and newest != self._checkpoint:
            self._checkpoint = newest
            self._load(job / newest)
        self._timer.start() if self.is_followed else self._timer.stop()

    @property
    def is_followed(self) -> bool:
        """Whether the training of the model still runs, here or elsewhere."""
        if self._session.is_running and self._session.run_folder == self.job:
            return True
        try:
            return self.job is not None and read_job(self.job).state == "running"
        except InputError:
            return False

    def _load(self, checkpoint: Path) -> None:
        self._wanted += 1
        wanted = self._wanted
        before = None if self.model is None else (self.model, self.grid)
        worker: Any = create_worker(load, checkpoint, before, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(lambda loaded: self._on_loaded(wanted, *loaded))
        worker.errored.connect(lambda error: self._session.said.emit(sentence_of(error)))
        worker.start()

    def _on_loaded(self, wanted: int, model: Any, grid: Grid) -> None:
        if wanted != self._wanted or self._session.viewer is None:
            return  # overtaken, or the window is gone
        if self._session.is_running and self.model is not None:
            self._session.upkeep.begin(news=True)  # the first one is not counted: OpenGL compiles its shaders
            self._session.report()
        self.model, self.grid = model, grid
        self.changed.emit(model)
        if self._session.is_running:
            self._session.upkeep.look(news=True)  # its map in the same turn, if there is time


def load(checkpoint: Path, before: tuple[Any, Grid] | None = None) -> tuple[Any, Grid]:
    """Load a model, and where its box lies; the first call loads torch, so it belongs in a thread.

    What an earlier checkpoint of the same training, ``before``, has in common with it is taken from there: what was
    made from that still holds.
    """
    from napari_flex3d.model import load_model

    model = load_model(checkpoint)
    if before is not None:
        return model.with_parts_of(before[0]), before[1]
    try:
        prep = input_of(input_of(checkpoint.parent, "mesh"), "prep")
        whole = grid_of(read_map(prep / "map_train.mrc"))
    except InputError:  # a checkpoint that was copied without the jobs that it came from
        whole = Grid(model.box_size, model.pixel_size)
    return model, whole.same_centre(model.box_size, model.pixel_size)
