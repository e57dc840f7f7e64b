"""The strip "Monitor": curves of the running or opened job, drawn from its ``metrics.csv``."""

from pathlib import Path
from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from napari_flex3d.jobs import Job, read_job, read_metrics
from napari_flex3d.ui.plot import Plot
from napari_flex3d.ui.scatter import INK, LatentScatter
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.tone import ToneLabel
from napari_flex3d.ui.unseen import WhenSeen

HEIGHT, LOWEST = 170, 110
"""Of the strip, px: as it opens, and what it can be pressed to where the window is 768 high."""
SOLID, DASHED = Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine

# column of metrics.csv: name in the legend, colour, line
LOSS = {
    "loss": ("flexible", "#4fc3e8", SOLID),
    "loss_held_out": ("held-out", "#ff8c42", SOLID),
    "rigid_loss": ("rigid", "#4fc3e8", DASHED),
    "rigid_loss_held_out": ("rigid held-out", "#ff8c42", DASHED),
}
GAIN = {
    "loss": ("trained on", "#4fc3e8", SOLID),
    "loss_held_out": ("held-out", "#ff8c42", SOLID),
}
MOTION = {
    "displacement_rms": ("rms", "#8bd17c", SOLID),
    "displacement_max": ("largest", "#d66ba0", SOLID),
}
LOSS_WORDS = (
    "How badly a pixel of a particle's image is explained (minus its log-likelihood, in units of noise), on average: "
    "by the flexible and by the rigid model, of particles that were trained on and of those held out. The first epochs "
    "take coarser images: they compare by the pixel only."
)
GAIN_WORDS = (
    "Loss of the rigid model minus that of the flexible one. Held-out particles were not trained on: when their curve "
    "falls, the model learns noise."
)
MOTION_WORDS = "Displacement of the mesh over the particles, Å: root of the mean square, and largest."
UNNAMED = "rigid held-out"
"""Its colour and its dashes say what it is; with its name, a plot in a small window would not fit its frame."""
HALVES = ("#4fc3e8", "#ff8c42")


class WholeAxis(pg.AxisItem):
    """An axis of epochs or iterations: there is no epoch 2.5."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:
        """Give the spacings of the ticks, none below 1."""
        wide = [(max(1.0, round(spacing)), 0.0) for spacing, _ in super().tickSpacing(low, high, size)]
        return list(dict.fromkeys(wide))


class Curves(Plot):
    """Curves that grow.

    Parameters
    ----------
    bottom, left
        Titles of the axes.
    """

    def __init__(self, bottom: str, left: str) -> None:
        super().__init__()
        self.showGrid(x=True, y=True, alpha=0.15)
        self.setAxisItems({"bottom": WholeAxis("bottom")})
        for side, title in (("bottom", bottom), ("left", left)):
            self.getAxis(side).setPen(INK)
            self.getAxis(side).setTextPen(INK)
            self.getAxis(side).enableAutoSIPrefix(False)  # "(x0.001)" has no room in a strip
            self.setLabel(side, title, color=INK, **{"font-size": "7pt"})  # a strip has no room for more
        self.lines: dict[str, pg.PlotDataItem] = {}
        self._names: list[str] = []

    def sizeHint(self) -> QSize:
        """Low enough for a strip."""
        return QSize(300, 240)

    def clear_lines(self) -> None:
        """Forget all curves."""
        for line in self.lines.values():
            self.removeItem(line)
        self.lines.clear()
        self._names.clear()
        self.setTitle(None)

    def draw(self, name: str, x: np.ndarray, y: np.ndarray, color: str, style: Any) -> None:
        """Draw one curve, or redraw it; a single point is a dot."""
        if not np.isfinite(y).any():
            return
        if name not in self.lines:
            pen = pg.mkPen(color, width=2, style=style)
            self.lines[name] = self.plot([], [], pen=pen, connect="finite", symbolBrush=color, symbolPen=None)
            mark = "╍╍" if style == DASHED else "━━"
            if name != UNNAMED:
                self._names.append(f'<span style="color:{color}">{mark}</span>&nbsp;{name}')
            # the names stand above the curves, where a legend inside would hide them
            self.setTitle("&nbsp; ".join(self._names), size="7pt", color=INK)
            self.getPlotItem().titleLabel.setMinimumWidth(
                0
            )  # else a narrow plot is laid out wider than it is
        self.lines[name].setData(x, y, symbol="o" if len(x) == 1 else None, symbolSize=6)


class Monitor(QWidget):
    """Loss, motion and latents of a training; or the objective of a reconstruction.

    Parameters
    ----------
    session
        The viewer's session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.folder: Path | None = None
        self._written = -1
        self._model: Any = None  # one that is not shown yet
        self.loss = Curves("epoch", "loss per pixel")
        self.gain = Curves("epoch", "gain")
        self.motion = Curves("epoch", "motion (Å)")
        for plot, words in ((self.loss, LOSS_WORDS), (self.gain, GAIN_WORDS), (self.motion, MOTION_WORDS)):
            plot.setToolTip(f"<qt>{words}</qt>")
        self.latents = LatentScatter()
        self.latents.setMinimumHeight(60)
        self.latents.setEnabled(False)
        self.title = ToneLabel(
            "Curves appear here when a training or a reconstruction runs or is opened.", "quiet"
        )
        plots = QHBoxLayout()
        plots.setContentsMargins(0, 0, 0, 0)
        for plot, stretch in ((self.loss, 9), (self.gain, 7), (self.motion, 5), (self.latents, 4)):
            plot.setMinimumHeight(70)
            plots.addWidget(plot, stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 2, 6, 2)
        layout.setSpacing(2)
        layout.addWidget(self.title)
        layout.addLayout(plots, 1)
        self.setMinimumHeight(LOWEST)
        self.latents.hide()
        self._timer = QTimer(self)
        self._timer.setInterval(1000)
        self._timer.timeout.connect(lambda: None if session.is_running else session.try_to(self.redraw))
        self._keep_up = WhenSeen(
            self, lambda: session.try_to(self._catch_up), session, lambda: session.is_running
        )
        session.upkeep.beat.connect(self._keep_up.want)
        session.run_changed.connect(self._on_run)
        session.run_ended.connect(self._on_end)
        session.job_shown.connect(self._on_job)
        session.model_changed.connect(self._on_model)
        session.ending.connect(self._timer.stop)
        if session.is_running:
            self._on_run()
        elif session.model_job is not None:
            self.follow(session.model_job)
        if session.model is not None:
            self._on_model(session.model)

    def follow(self, folder: Path) -> None:
        """Show the curves of a job, and keep them up to date while it runs."""
        if folder != self.folder:
            self.folder, self._written = folder, -1
            self.loss.clear_lines()
            self.gain.clear_lines()
            self.motion.clear_lines()
        self.redraw()
        self._timer.start()

    def redraw(self) -> None:
        """Read the metrics again, if the file has grown."""
        if self.folder is None:
            return
        path = self.folder / "metrics.csv"
        size = path.stat().st_size if path.is_file() else 0
        if size != self._written:
            self._written = size
            if self.session.is_running:
                self.session.upkeep.begin()
            columns = {name: np.array(values) for name, values in read_metrics(self.folder).items()}
            self.title.setText(f"{self.folder.name} · {self._state()}")
            if "epoch" in columns:
                self._draw_training(columns)
            elif "objective" in columns:
                self._draw_reconstruction(columns)
            for plot in (self.loss, self.gain, self.motion):
                plot.settle()
        elif not self.session.is_running and self._timer.isActive() and self._state() != "running":
            self.title.setText(f"{self.folder.name} · {self._state()}")
            self._timer.stop()

    def _state(self) -> str:
        folder = self.folder
        return (
            read_job(folder).state if folder is not None and (folder / "job.json").is_file() else "starting"
        )

    def _draw_training(self, columns: dict[str, np.ndarray]) -> None:
        self.gain.show()
        self.motion.show()
        self.loss.name_axis("bottom", "epoch")
        self.loss.name_axis("left", "loss per pixel")
        pixels = columns["box"] ** 2 if "box" in columns else 1.0
        for plot, wanted, unit in ((self.loss, LOSS, pixels), (self.motion, MOTION, 1.0)):
            for column, (name, color, style) in wanted.items():
                if column in columns:
                    plot.draw(name, columns["epoch"], columns[column] / unit, color, style)

        for column, (name, color, style) in GAIN.items():
            if f"rigid_{column}" in columns:
                gain = columns[f"rigid_{column}"] - columns[column]
                self.gain.draw(name, columns["epoch"], gain, color, style)

    def _draw_reconstruction(self, columns: dict[str, np.ndarray]) -> None:
        self.gain.hide()
        self.motion.hide()
        self.latents.hide()
        self.loss.name_axis("bottom", "iteration")
        self.loss.name_axis("left", "objective")
        for rigid in (0, 1):
            for number, half in enumerate(np.unique(columns["half"])):
                rows = (columns["half"] == half) & (columns["rigid"] == rigid)
                if rows.any():
                    name = f"{'rigid' if rigid else 'flexible'}, half {number + 1}"
                    style = DASHED if rigid else SOLID
                    self.loss.draw(
                        name,
                        columns["iteration"][rows],
                        columns["objective"][rows],
                        HALVES[number % 2],
                        style,
                    )

    def _on_run(self) -> None:
        if self.session.is_running and self.session.run_stage in ("train", "reconstruct"):
            assert self.session.run_folder is not None
            self.follow(self.session.run_folder)

    def _on_end(self, stage: str, outcome: str, result: Any) -> None:
        self.latents.hide()  # Explore has them, larger
        self.redraw()

    def _on_job(self, job: Job) -> None:
        if job.stage == "reconstruct":
            self.follow(job.folder)
        elif self.session.model_job is not None:
            self.follow(self.session.model_job)

    def _on_model(self, model: Any) -> None:
        self._model = model
        self._keep_up.want()

    def _catch_up(self) -> None:
        """Show the newest rows; while the training goes on, the density of the latents too: later Explore has it."""
        model, self._model = self._model, None
        if model is not None:
            self.latents.setVisible(self.session.is_running)
            if self.session.is_running and len(model.latents):
                self.session.upkeep.begin()
                self.latents.show_latents(np.asarray(model.latents))
        self.redraw()
