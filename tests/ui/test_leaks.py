import subprocess
import sys
from pathlib import Path


def test_napari_finds_nothing_left_behind():
    """Its own strict checks: no viewer, widget, timer, thread or layer outlives a window with all docks."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(Path(__file__).with_name("leaks.py")),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:]
