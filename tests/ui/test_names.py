"""Every control of every dock has a name for those who do not see it, and says under the mouse what it does."""

import pytest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenu,
    QScrollBar,
)

from napari_flex3d.ui.plugin import DOCKS, STRIP, dock

CONTROLS = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)
LONG = 60_000


def parents(widget, last):
    while widget is not None and widget is not last:
        yield widget
        widget = widget.parentWidget()


def controls(dock):
    """Controls that a person can come to: no parts of boxes, no menus, nothing that Qt scrolls with."""
    for kind in CONTROLS:
        for control in dock.findChildren(kind):
            above = list(parents(control, dock))[1:]
            is_part = any(isinstance(p, (QAbstractSpinBox, QComboBox, QMenu)) for p in above)
            if not is_part and not isinstance(control, QScrollBar):
                yield control


def name_of(control, dock):
    """As Qt gives it to a screen reader: its own name, its words, or those of the label that belongs to it."""
    words = control.text() if isinstance(control, QAbstractButton) else ""
    labels = (label.text() for label in dock.findChildren(QLabel) if label.buddy() is control)
    return control.accessibleName() or words or next(labels, "")


@pytest.mark.parametrize("name", DOCKS + STRIP)
def test_every_control_has_a_name_and_a_tip(qtbot, session, toy_jobs, name):
    made = dock(name, session)
    session.viewer.window.add_dock_widget(made, name=name)
    if hasattr(made, "panel"):
        qtbot.waitUntil(lambda: made.panel.form is not None, timeout=LONG)
    session.open(toy_jobs["reconstruct"])
    qtbot.waitUntil(lambda: session.model is not None, timeout=LONG)
    found = list(controls(made))
    assert name in STRIP or len(found) > 10
    for control in found:
        where = [type(parent).__name__ for parent in parents(control, made)]
        assert name_of(control, made), where
        assert any(parent.toolTip() for parent in parents(control, made)), (name_of(control, made), where)
