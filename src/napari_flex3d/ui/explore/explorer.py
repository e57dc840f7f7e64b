"""The map at one latent: what is on show, kept apart from the widgets that steer it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_flex3d.io.errors import InputError
from napari_flex3d.ui.explore.courses import Course, straight_courses
from napari_flex3d.ui.explore.detail import Detail
from napari_flex3d.ui.explore.live_map import LiveMap, Shown
from napari_flex3d.ui.explore.maps import Subject, read_subject
from napari_flex3d.ui.explore.path import LatentPath
from napari_flex3d.ui.explore.player import Player
from napari_flex3d.ui.explore.selection import Selection
from napari_flex3d.ui.explore.support import Crowd, Support
from napari_flex3d.ui.isosurface import FINE, default_contour
from napari_flex3d.ui.keys import Key
from napari_flex3d.ui.session import Session

REST_DELAY = 250
"""Milliseconds after the last step, of a key or a script, at which the latent counts as let go."""


class Explorer(QObject):
    """The latent on show, the contour, and the layers that show the map there.

    Parameters
    ----------
    session
        The viewer's session, which owns the model.
    """

    model_taken = Signal(object)
    """A model (or the next checkpoint of it) is on show."""
    subject_taken = Signal(object)
    """Another map, or the same filtered otherwise, is moved."""
    latent_changed = Signal(object)
    """(K,) latent on show."""
    settled = Signal()
    """The latent was let go."""
    measured = Signal(str)
    """Numbers about the last frame, for the state line."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._job: Path | None = None
        self.session = session
        self.model: Any = None
        self.crowd: Crowd | None = None
        self._counted: np.ndarray | None = None
        self.support: Support | None = None
        self.latent = np.zeros(2)
        self.limits = np.array([[-1.0, 1.0]] * 2)
        self.whole: Subject | None = None
        self.subject: Subject | None = None
        self.low_pass = 0.0
        self.contour = 0.0
        self.courses: list[Course] = []
        self.live = LiveMap(session.viewer, self._state, self)
        self.live.measured.connect(self.measured)
        self._detail = Detail()
        self.is_stale = False
        self.is_watched = False
        """Whether the model is the next checkpoint of a training that goes on."""
        self.player = Player(self)
        self.player.moved.connect(self.go_to)
        self.player.playing_changed.connect(lambda on: None if on else self.settle())
        self.path = LatentPath(self)
        self.selection = Selection(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_DELAY)
        self._rest.timeout.connect(self.settle)
        self._bind_keys()
        session.model_changed.connect(self.take)
        session.run_ended.connect(lambda *_: self._on_end())
        session.ending.connect(self.close)
        if session.model is not None:
            self.take(session.model)

    def close(self) -> None:
        """End the thread and the timers."""
        self.player.play(False)
        self._rest.stop()
        self.session.keys.release("Alt-P", "Alt-0", "Alt-Left", "Alt-Right")
        self.live.close()
        self.model = None

    def _bind_keys(self) -> None:
        """Bind the keys over the canvas."""
        actions: tuple[tuple[str, str, Callable[[], object]], ...] = (
            ("Alt-P", "plays or pauses the motion", lambda: self.play(not self.player.is_playing)),
            ("Alt-0", "goes to the mean latent", self.go_to_mean),
            ("Alt-Left", "goes to the previous point of the path", lambda: self.step_path(-1)),
            ("Alt-Right", "goes to the next point of the path", lambda: self.step_path(1)),
        )
        for name, meaning, action in actions:
            self.session.keys.bind(Key(name, meaning), action)

    # -- the model and the map ---------------------------------------------------------------------

    def take(self, model: Any) -> None:
        """Show a model; the map of the next checkpoint of a training that runs is shown by `catch_up`."""
        is_next = self.model is not None and self._job == self.session.model_job
        self.is_watched = is_next and self.session.shown.is_followed
        self._job = self.session.model_job
        self.model, self.is_stale = model, True
        self.limits = np.percentile(model.latents, [1, 99], axis=0).T
        self.limits[:, 1] = np.maximum(self.limits[:, 1], self.limits[:, 0] + 1e-3)
        self.crowd = Crowd(model.latents)
        self.courses = [*straight_courses(model.latents)]
        self._keep_course()
        self.path.take(model)
        self.selection.take(len(model.latents))
        if not is_next or len(self.latent) != model.latent_dims:
            self.latent = np.zeros(model.latent_dims)
            self.low_pass = float(model.facts.get("training_limit_A") or 0.0)
            self.whole = None
        self._counted = None
        self.player.here = self.latent
        if not self.is_watched:
            self.catch_up()
        if not is_next and self.session.is_running and self.session.run_stage == "train":
            self.step_forward()  # the first map of a training that was started here
        self.model_taken.emit(model)
        self.latent_changed.emit(self.latent)
        if not self.is_watched:
            self.settle()

    def catch_up(self) -> None:
        """Show the map of the newest checkpoint, if it is not the one on show."""
        if not self.is_stale:
            return
        self.is_stale = False
        most = self.live.surface.most = self._detail.begin(
            self.whole is not None and self.session.shown.is_followed
        )
        if self.whole is None or (self.whole.path is None and self.whole.density is not self.model.canonical):
            is_first, self.whole = self.whole is None, self._canonical()
            self.subject = self.whole.filtered(self.low_pass)
            if is_first:
                self.contour = default_contour(self.subject.density, self.model.mask)
        self.live.take(self.model, self._subject)
        self._detail.end(most)

    def _on_end(self) -> None:
        """Show the newest map, and the whole surface: no training has to share the processor any more."""
        if self.model is not None:
            self.catch_up()
            if self.live.surface.most != FINE:
                self.live.surface.most = FINE
                self.live.recut()

    def take_map(self, path: Path | None) -> None:
        """Move another map in place of the canonical one, at the contour that encloses as much.

        Raises
        ------
        InputError
            If the file cannot be used.
        """
        if self.model is None:
            return
        self.catch_up()
        assert self.whole is not None
        if path == self.whole.path:
            return
        grid = self.session.model_grid
        assert grid is not None
        other = self._canonical() if path is None else read_subject(path, self.model, grid)
        limit = float(self.model.facts.get("training_limit_A") or 0.0)
        self.low_pass = limit if path is None else 0.0  # a reconstruction is sharp on purpose
        self.whole = other
        self._filter()
        self.live.forget_volumes()
        self.settle()

    def set_low_pass(self, resolution: float) -> None:
        """Filter the map to a resolution, Å; 0 shows it as it is. The contour goes on enclosing as much."""
        self.low_pass = resolution
        if self.model is not None:
            self.catch_up()
            self._filter()
            self.settle()

    def _canonical(self) -> Subject:
        grid = self.session.model_grid
        assert grid is not None
        return Subject(self.model.canonical, grid)

    @property
    def _subject(self) -> Subject:
        assert self.subject is not None
        return self.subject

    def _filter(self) -> None:
        assert self.whole is not None
        enclosed = self._subject.enclosed(self.contour)
        self.subject = self.whole.filtered(self.low_pass)
        if enclosed > 0:
            self.contour = self.subject.contour_of(enclosed)
        self.live.recut()
        self.subject_taken.emit(self.subject)

    # -- where and how -----------------------------------------------------------------------------

    def go_to(self, latent: np.ndarray) -> None:
        """Show another latent: at once if nothing is being drawn, else as soon as that is over."""
        self.latent = self.player.here = np.asarray(latent, float)
        if self.live.is_behind:
            self.step_forward()
        if self.model is not None:
            self.catch_up()
        self._rest.start()
        self.live.move()
        self.latent_changed.emit(self.latent)

    @property
    def is_held(self) -> bool:
        """Whether the latent is being moved, by hand or by playing."""
        return self.player.is_playing or self._rest.isActive()

    def go_to_mean(self) -> None:
        """Show the mean latent of the particles."""
        if self.model is not None:
            self.go_to(self.model.latents.mean(0))
            self.settle()

    def play(self, on: bool) -> None:
        """Go along the course, or stop."""
        self.player.play(on and self.model is not None)

    def play_along(self, course: Course | None) -> None:
        """Choose what to play along."""
        self.player.course = course

    def step_path(self, by: int) -> None:
        """Go to the next or the previous point of the path."""
        point = self.path.step(by)
        if point is not None:
            self.go_to(point)
            self.settle()

    def _keep_course(self) -> None:
        names = [course.name for course in self.courses]
        old = self.player.course.name if self.player.course is not None else ""
        if old in names or self.player.course is None:
            self.player.course = self.courses[names.index(old) if old in names else 0]

    def settle(self) -> None:
        """Show the whole volume, and make the surface's shape its layer's data: the latent was let go."""
        if self.model is None or self.player.is_playing:
            return
        self._rest.stop()
        self.live.settle()
        self.settled.emit()

    def step_back(self) -> None:
        """Leave the canvas to another stage, until the latent is moved again."""
        self.live.step_back()

    def step_forward(self) -> None:
        """Take the canvas: show the flexible map and hide what other stages have put there."""
        if self.session.viewer is not None and self.model is not None:
            self.live.step_forward()

    def set_contour(self, contour: float) -> None:
        """Cut the surface at another density."""
        self.contour = contour
        if self.model is not None:
            self.catch_up()
            self.live.recut()
            self.live.volume.set_contour(contour)

    def set_shown(self, shown: Shown) -> None:
        """Show the surface, the volume or both."""
        self.live.shown = shown
        if self.model is not None:
            self.settle()

    def _state(self) -> tuple[Any, Subject, float, np.ndarray, Support] | None:
        if self.model is None or self.subject is None or self.crowd is None:
            return None
        if self._counted is not self.latent:  # a frame asks once, a drag may go to many latents in between
            self.support, self._counted = self.crowd.at(self.latent), self.latent
        assert self.support is not None
        return self.model, self.subject, self.contour, self.latent, self.support


def open_map(explorer: Explorer, path: Path | None) -> str:
    """Move another map; what went wrong, in words, or nothing."""
    try:
        explorer.take_map(path)
    except InputError as error:
        return str(error)
    return ""
