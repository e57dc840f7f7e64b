"""What a running stage shows on the terminal."""

import shutil
import sys
import time
from collections.abc import Generator
from typing import Any

from napari_flex3d.progress import Progress

WIDTH = 24
"""Characters of the bar."""


class Screen:
    """Progress on stderr: a bar on a terminal, else one line per new message.

    Parameters
    ----------
    quiet
        Whether to show warnings only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._file = sys.stderr
        self._has_bar = self._file.isatty() and not quiet
        self._said = ""
        self._drawn = ""
        self._last = Progress(0, 0)
        self._since = time.monotonic()

    def follow(self, steps: Generator[Progress, None, Any]) -> Any:
        """Show every report of a stage and return the stage's result."""
        try:
            while True:
                self.show(next(steps))
        except StopIteration as end:
            return end.value
        finally:
            steps.close()
            self._clear()

    def show(self, event: Progress) -> None:
        """Show one report."""
        if event.step < self._last.step or event.total != self._last.total:
            self._since = time.monotonic()  # another piece of work: its own clock
        self._last = event
        if event.message and event.message != self._said:
            is_warning = event.message.startswith("Warning: ")
            if is_warning or not (self._quiet or self._has_bar):
                self.say(event.message)
            if not is_warning:
                self._said = event.message
        if self._has_bar:
            self._draw(event)

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self._clear()
        print(line, file=self._file, flush=True)

    def _draw(self, event: Progress) -> None:
        done = min(event.step / event.total, 1.0) if event.total > 0 else 0.0
        filled = round(WIDTH * done)
        line = f"[{'█' * filled}{'·' * (WIDTH - filled)}] {done:4.0%}{self._time_left(done)}  {self._said}"
        line = line[: shutil.get_terminal_size().columns - 1]
        if line != self._drawn:
            self._file.write(f"\r\x1b[K{line}")
            self._file.flush()
            self._drawn = line

    def _time_left(self, done: float) -> str:
        spent = time.monotonic() - self._since
        if done < 0.02 or spent < 2:
            return ""
        return f"  {duration(spent * (1 - done) / done)} left"

    def _clear(self) -> None:
        if self._drawn:
            self._file.write("\r\x1b[K")
            self._file.flush()
            self._drawn = ""


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
