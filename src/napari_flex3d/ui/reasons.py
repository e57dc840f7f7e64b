"""A control that is off says why, under the mouse."""

from qtpy.QtWidgets import QWidget

WORDS = "what it does"


def allow(widget: QWidget, on: bool, reason: str) -> None:
    """Switch a control on, or off for a reason, which then stands in its tooltip below what it does.

    Parameters
    ----------
    widget
        The control; it has its tooltip.
    on
        Whether it can be used.
    reason
        What is missing, as a sentence that says what to do.
    """
    words = widget.property(WORDS)
    if words is None:
        words = widget.toolTip().removeprefix("<qt>").removesuffix("</qt>")
        widget.setProperty(WORDS, words)
    widget.setEnabled(on)
    widget.setToolTip(f"<qt>{words}</qt>" if on else f"<qt>{words}<p><i>{reason}</i></p></qt>")
