"""The box that says what the particles on the scatter are coloured by, and the legend of that."""

from pathlib import Path
from typing import Any

import numpy as np
from napari.qt.threading import create_worker
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox

from napari_flex3d.io.errors import sentence_of
from napari_flex3d.select import Columns
from napari_flex3d.ui.explore.color_scale import ColorScale
from napari_flex3d.ui.explore.explorer import Explorer
from napari_flex3d.ui.scatter import VALUES

DENSITY, MORE = "density", "columns of the file…"
OFFERED = (DENSITY, "displacement (Å)", "uncertainty", "half-set", "held out")


def values_of(name: str, model: Any, columns: Columns | None = None) -> np.ndarray:
    """Values of every particle (N); a million take seconds, so it belongs in a thread.

    Parameters
    ----------
    name
        One of `OFFERED`, or a column.
    model
        The model.
    columns
        The columns of the training's files.
    """
    if name == "displacement (Å)":
        from napari_flex3d.landscape import motion  # loads torch; the dock opens without it

        return motion(model, model.latents)
    if name == "uncertainty":
        return np.sqrt(np.square(model.latent_sd).mean(1))
    if name == "half-set":
        return model.half.astype(np.float32)
    if name == "held out":
        return model.held_out.astype(np.float32)
    if columns is None:
        raise KeyError(name)
    return np.asarray(columns[name], np.float32)


def limits_of(values: np.ndarray) -> tuple[float, float]:
    """Ends of the colours: 2 to 98 % of the values."""
    good = values[np.isfinite(values)]
    if not len(good):
        return 0.0, 1.0
    low, high = np.percentile(good, [2, 98])
    return (float(low), float(high)) if high > low else (float(good.min()), float(good.max()) + 1e-6)


class ColorBox(QComboBox):
    """Offers what there is to colour by, and works the values out in a thread.

    Parameters
    ----------
    explorer
        Has the model and its training.
    """

    chosen = Signal(object, object)
    """Values (N) and the ends of their colours; None and (0, 1) for the density."""
    said = Signal(str, bool)
    """A sentence, and whether it tells of something that went wrong."""

    def __init__(self, explorer: Explorer) -> None:
        super().__init__()
        self._explorer = explorer
        self._columns: Columns | None = None
        self.scale = ColorScale(VALUES[::16, :3] / 255)
        self.scale.hide()
        self.addItems([*OFFERED, MORE])
        self.currentIndexChanged.connect(self._on_choice)

    def take(self) -> None:
        """Work the values out anew: the model is another."""
        self._columns = None
        if self.currentText() in OFFERED:
            self._on_choice()
        else:
            self.setCurrentIndex(0)

    def _on_choice(self) -> None:
        name, model, job = self.currentText(), self._explorer.model, self._explorer.session.model_job
        if name == DENSITY or model is None:
            self._show_density()
        elif name == MORE and job is not None:
            self._work(_read_columns, job, then=self._on_columns)
        else:
            self._work(values_of, name, model, self._columns, then=lambda v: self._on_values(name, model, v))

    def _show_density(self) -> None:
        self.scale.hide()
        self.chosen.emit(None, (0.0, 1.0))

    def _on_columns(self, found: tuple[Columns, list[str]]) -> None:
        self._columns, names = found
        known = [self.itemText(k) for k in range(self.count())]
        self.blockSignals(True)
        self.removeItem(known.index(MORE))
        self.addItems([name for name in names if name not in known])
        self.setCurrentIndex(0)
        self.blockSignals(False)
        self._show_density()
        self.showPopup()

    def _on_values(self, name: str, model: Any, values: np.ndarray) -> None:
        if name != self.currentText() or model is not self._explorer.model:
            return
        low, high = limits_of(values)
        self.scale.set_ends(f"{low:.3g}", f"{high:.3g}")
        self.scale.setToolTip(f"Mean {name} of the particles in each place, 2 to 98 %.")
        self.scale.show()
        self.chosen.emit(values, (low, high))

    def _work(self, function: Any, *arguments: Any, then: Any) -> None:
        worker: Any = create_worker(function, *arguments, _start_thread=False, _ignore_errors=True)
        worker.returned.connect(then)
        worker.errored.connect(lambda error: self.said.emit(sentence_of(error), True))
        worker.start()


def _read_columns(train: Path) -> tuple[Columns, list[str]]:
    """Columns of the training's files, and the names of those that hold numbers."""
    columns = Columns(train)
    return columns, list(columns)
