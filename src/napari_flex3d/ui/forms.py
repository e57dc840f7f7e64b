"""Forms made from the declaration of a stage's parameters."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSpinBox, LineEdit, SpinBox
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from napari_flex3d.params import ParamInfo, Params
from napari_flex3d.ui.job_edit import NO_JOB, JobEdit, JobList
from napari_flex3d.ui.reasons import name_whole
from napari_flex3d.ui.tone import Fold, ToneLabel
from napari_flex3d.ui.wording import DOCK_OF, is_folded, title_of


def label_of(info: ParamInfo) -> str:
    """Name of a parameter as the form shows it, with its unit."""
    text = title_of(info.name)
    return f"{text} ({info.unit})" if info.unit else text


def tooltip_of(info: ParamInfo) -> str:
    """Meaning, allowed values, and the parameter's name in CryoSPARC; rich text, so that Qt wraps it."""
    lines = [info.meaning]
    if info.allowed():
        lines.append(f"Allowed: {info.allowed()}.")
    if info.cryosparc:
        lines.append(f"In CryoSPARC: {info.cryosparc}.")
    lines.append(f"Command line: {info.name.upper() if info.positional else info.flag}")
    return "<qt>" + "<br>".join(lines) + "</qt>"


def missing(info: ParamInfo) -> str:
    """Say what to do about a required value that is not there."""
    if info.path == "job":
        return f"{label_of(info)}: choose a job; {DOCK_OF.get(info.name, info.name)} makes one."
    kind = {"folder": "a folder", "file": "a file"}.get(info.path or "", "a value")
    suffixes = f" ({', '.join(info.suffixes)})" if info.suffixes else ""
    return f"{label_of(info)}: choose {kind}{suffixes}."


class Row(QWidget):
    """The editor of one parameter: a magicgui widget, and a tick box where a value may be left out.

    Parameters
    ----------
    info
        The parameter.
    jobs
        Lists the jobs to offer when the parameter is a job folder.
    """

    changed = Signal()

    def __init__(self, info: ParamInfo, jobs: JobList = tuple) -> None:
        super().__init__()
        self.info = info
        self._tick: QCheckBox | None = None
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        if info.path == "job" and not info.many:
            self._editor: Any = JobEdit(jobs, is_optional=info.optional)
            native = self._editor
        else:
            self._editor = _editor(info)
            native = self._editor.native
        self._editor.changed.connect(lambda *_: self.changed.emit())
        if info.kind in (int, float) and not info.many and (info.auto or info.optional):
            self._tick = QCheckBox("auto" if info.auto else "")
            self._tick.toggled.connect(lambda _: self._on_tick())
            layout.addWidget(self._tick)
        layout.addWidget(native, 1)
        for part in (self, native):
            part.setToolTip(tooltip_of(info))
        name_whole(self, label_of(info))
        if not info.required:
            self.value = info.default

    @property
    def value(self) -> Any:
        """The value, as the parameter's declaration takes it; None where nothing is given."""
        if self._tick is not None and self._tick.isChecked() == self.info.auto:
            return "auto" if self.info.auto else None
        value = self._editor.value
        if self.info.many and self.info.kind is not Path:
            one = dataclasses.replace(self.info, many=False)
            return tuple(one.parse(text) for text in value.replace(",", " ").split())
        if self.info.optional and value in ("", NO_JOB):
            return None
        return value

    @value.setter
    def value(self, value: Any) -> None:
        if self._tick is not None:
            is_number = value not in (None, "auto")
            self._tick.setChecked(is_number != self.info.auto)
            self._on_tick()
            if not is_number:
                return
        if self.info.many and self.info.kind is not Path:
            value = ", ".join(str(v) for v in value)
        if value is None and isinstance(self._editor, LineEdit):
            value = ""
        if value is None and isinstance(self._editor, ComboBox):
            value = NO_JOB
        self._editor.value = value

    def refresh(self) -> None:
        """Look for new jobs, if this is a job's row."""
        if isinstance(self._editor, JobEdit):
            self._editor.refresh()

    def _on_tick(self) -> None:
        """Let the number be typed where the tick box says that there is one: not auto, or given at all."""
        assert self._tick is not None
        self._editor.enabled = self._tick.isChecked() != self.info.auto
        self.changed.emit()


def _editor(info: ParamInfo) -> Any:
    """Make the magicgui widget of one parameter, with the range and decimals of its declaration."""
    if info.kind is Path:
        return _file_editor(info)
    if info.many or (info.kind is str and not info.choices):
        return LineEdit()
    if info.kind is bool:
        return CheckBox(text="")
    if info.choices:
        return ComboBox(choices=((NO_JOB,) if info.optional else ()) + info.choices)
    low, high = (-1e9 if info.low is None else info.low), (1e9 if info.high is None else info.high)
    start = min(max(0, low), high)
    if info.kind is int:
        return SpinBox(value=int(start), min=int(low), max=int(high), step=int(info.step or 1))
    return FloatSpinBox(value=start, min=low, max=high, step=info.step or step_for(info.default))


def step_for(default: Any) -> float:
    """Find a step that keeps every decimal of the default: magicgui rounds to the decimals of the step."""
    if not isinstance(default, int | float) or not math.isfinite(default):
        return 0.01
    exponent = Decimal(str(default)).as_tuple().exponent
    return 10.0 ** min(-2, exponent if isinstance(exponent, int) else -2)


def _file_editor(info: ParamInfo) -> FileEdit:
    mode = {"new file": "w", "folder": "d", "job": "d"}.get(info.path or "", "r")
    pattern = f"{label_of(info)} ({' '.join('*' + s for s in info.suffixes)})" if info.suffixes else None
    editor = FileEdit(FileDialogMode("rm" if info.many else mode), pattern, nullable=not info.many)
    editor.choose_btn.text = "Choose…"
    editor.choose_btn.native.setToolTip(f"Choose {label_of(info).lower()}")
    return editor


class ParamsForm(QWidget):
    """A form for the parameters of a stage: plain rows first, advanced ones folded away.

    Parameters
    ----------
    params
        The stage's parameters, declared once.
    jobs
        Lists the jobs to offer for a parameter (by name) that is a job folder.
    stage
        The stage, which may fold away more than the advanced ones.
    """

    changed = Signal()

    def __init__(
        self,
        params: type[Params],
        jobs: Callable[[str], Sequence[Path]] = lambda name: (),
        stage: str = "",
    ) -> None:
        super().__init__()
        self._params = params
        self.rows: dict[str, Row] = {}
        self._labels: dict[str, ToneLabel] = {}
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        plain, advanced = _grid(), _grid()
        outer.addLayout(plain)
        for info in params.describe():
            row = Row(info, partial(jobs, info.name))
            row.changed.connect(self._on_change)
            label = ToneLabel(label_of(info))
            label.setToolTip(tooltip_of(info))
            label.setBuddy(row)
            (advanced if is_folded(stage, info) else plain).addRow(label, row)
            self.rows[info.name], self._labels[info.name] = row, label
        if advanced.rowCount():
            fold = Fold("Advanced")
            fold.setToolTip("Show the rest of the parameters, or fold them away.")
            inside = QWidget()
            inside.setLayout(advanced)
            fold.addWidget(inside)
            outer.addWidget(fold)
        self._mark()

    def params(self) -> Params:
        """Give the parameters as they stand.

        Raises
        ------
        ValueError
            If one is missing or refused; the message names it and what is allowed.
        """
        for name, row in self.rows.items():
            if row.info.required and self.value_of(name) is None:
                raise ValueError(missing(row.info))
        return self._params(**{name: self.value_of(name) for name in self.rows})

    def problem(self) -> str:
        """Why the parameters cannot be used, or an empty text."""
        try:
            self.params()
        except ValueError as error:
            return str(error)
        return ""

    def absent(self) -> str:
        """Which file or folder that was named is not there, or an empty text."""
        for name, row in self.rows.items():
            value = self.value_of(name) if row.info.path in ("file", "folder", "job") else None
            for place in value if isinstance(value, tuple) else (value,):
                if place is not None and not Path(place).exists():
                    return f"{label_of(row.info)}: {place} is not there."
        return ""

    def value_of(self, name: str) -> Any:
        """Value of one row."""
        return self.rows[name].value

    def fill(self, values: Mapping[str, Any]) -> None:
        """Put values into the rows that they name; other rows and unknown names stay as they are."""
        for name, value in values.items():
            if name in self.rows:
                info = self.rows[name].info
                self.rows[name].value = info.check(value) if value is not None else None

    def refresh(self) -> None:
        """Look for new jobs."""
        for row in self.rows.values():
            row.refresh()

    def _on_change(self) -> None:
        self._mark()
        self.changed.emit()

    def _mark(self) -> None:
        """Colour the names of rows whose value is missing or refused."""
        for name, row in self.rows.items():
            try:
                value = row.value
                bad = row.info.required and value is None
                if value is not None:
                    row.info.check(value)
            except ValueError:
                bad = True
            self._labels[name].tone = "bad" if bad else "plain"


def _grid() -> QFormLayout:
    grid = QFormLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setVerticalSpacing(4)
    grid.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    grid.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return grid
