"""The question before the window is closed over a stage that runs."""

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMessageBox, QWidget

if TYPE_CHECKING:
    from napari_flex3d.ui.session import Session

STOP, GO_ON, CANCEL = "Stop it and close", "Let it go on", "Keep the window"


class CloseQuestion(QObject):
    """Ask what becomes of the stage that runs, when a person closes the window.

    A program that closes its viewer (``viewer.close()``) is not asked: by then napari has taken the viewer apart.

    Parameters
    ----------
    session
        The viewer's session.
    window
        The window.
    """

    def __init__(self, session: "Session", window: QWidget) -> None:
        super().__init__(window)
        self.session, self.window = session, window
        self.box: QMessageBox | None = None
        self._answered = False

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Hold a close event back while the question is open."""
        if event is None or watched is not self.window or event.type() != QEvent.Type.Close:
            return False
        if self._answered or not self._is_ours() or not self._has_canvas():
            return False
        event.ignore()
        if self.box is None:
            self._ask()
        return True

    def _is_ours(self) -> bool:
        """Whether the stage that runs was started here; one from elsewhere is not this window's business."""
        session = self.session
        return session.viewer is not None and session.is_running and session.run.place != "elsewhere"  # type: ignore[union-attr]

    def _has_canvas(self) -> bool:
        centre: Any = self.window.centralWidget()  # type: ignore[attr-defined]
        return any(child.isVisible() for child in centre.children() if isinstance(child, QWidget))

    def _ask(self) -> None:
        session = self.session
        name = session.run_folder.name if session.run_folder is not None else session.run_stage
        resumable = session.stages[session.run_stage].resumable
        box = QMessageBox(self.window)
        box.setWindowTitle("A stage is running")
        box.setText(f"{name} is running.")
        later = (
            "what is finished is kept, and Resume goes on from there"
            if resumable
            else "it has to be begun anew"
        )
        words = f"Stopped, {later}."
        if session.is_busy and resumable:
            words += " It can also go on without the window, as its own process, from its newest checkpoint."
        elif not session.is_busy:
            words += " Its process can also go on without the window."
        box.setInformativeText(words)
        box.addButton(STOP, QMessageBox.ButtonRole.DestructiveRole)
        if resumable or not session.is_busy:
            box.addButton(GO_ON, QMessageBox.ButtonRole.AcceptRole)
        box.setDefaultButton(box.addButton(CANCEL, QMessageBox.ButtonRole.RejectRole))
        box.finished.connect(lambda _: self._on_answer())
        self.box = box
        box.open()

    def _on_answer(self) -> None:
        box, session = self.box, self.session
        assert box is not None
        button: Any = box.clickedButton()
        answer = button.text() if button is not None else CANCEL
        self.box = None
        box.deleteLater()
        if answer == CANCEL or session.viewer is None:
            return
        self._answered = True
        if not session.is_running or (answer == GO_ON and not session.is_busy):
            self.window.close()
            return
        session.run_ended.connect(lambda stage, outcome, result: self._on_stopped(answer, outcome))
        session.stop()

    def _on_stopped(self, answer: str, outcome: str) -> None:
        """Close, now that nothing runs in the window any more."""
        session = self.session
        if answer == GO_ON and outcome == "stopped" and session.run_folder is not None:
            folder, stage = session.run_folder, session.run_stage
            session.try_to(lambda: session.resume(folder, stage, apart=True))
        self.window.close()
