"""What a control is for those who do not see it, what it does under the mouse, and why where it is off."""

from qtpy.QtWidgets import QAbstractButton, QPushButton, QWidget

WORDS = "what it does"


def name_whole(widget: QWidget, name: str) -> None:
    """Name a control and what it is made of, for screen readers; parts that have a name or words keep them."""
    for part in (widget, *widget.findChildren(QWidget)):
        if not part.accessibleName() and not (isinstance(part, QAbstractButton) and part.text()):
            part.setAccessibleName(name)


def tipped_button(text: str, tip: str) -> QPushButton:
    """Make a button that says under the mouse what it does."""
    button = QPushButton(text)
    button.setToolTip(f"<qt>{tip}</qt>")
    return button


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
