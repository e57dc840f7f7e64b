"""What ``job.json`` says, read and compared: parameters, inputs, and whether the process still lives."""

import hashlib
import json
import math
import os
import socket
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_flex3d.io.errors import InputError
from napari_flex3d.params import Params

NEEDED = ("stage", "state")
"""What every ``job.json`` says."""

HELD: dict[str, Any] = {"params": dict, "inputs": dict, "warnings": list, "summary": dict}
"""What it may hold besides; the summary is null before the end."""

SMALL_FILE = 1_000_000
"""Inputs below this size, in bytes, are recorded with their sha256."""


def plain(value: Any) -> Any:
    """Turn a value into data that JSON can hold: arrays into lists, numbers that are not finite into null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str | None) else str(value)


def now() -> str:
    """Tell the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00") + "Z"


def record_of(folder: Path) -> dict[str, Any] | None:
    """Read a folder's ``job.json``; None when there is none.

    Raises
    ------
    InputError
        If the file cannot be read, or is not what a stage writes.
    """
    path = folder / "job.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in NEEDED):
        wrong = "what no stage wrote"
    else:
        bad = [name for name, kind in HELD.items() if not isinstance(record.get(name), kind | None)]
        wrong = f"a damaged {bad[0]}" if bad else ""
    if wrong:
        raise InputError(
            f"{path} has {wrong} in it. Put the old file back, or run the stage again in another folder."
        )
    return record


def inputs_of(params: Params, folder: Path) -> dict[str, Any]:
    """Files and folders that the parameters name, relative to the job's folder."""
    start = folder.resolve()

    def relative(path: Path) -> str:
        place = path.parent.resolve() / path.name  # a link stays the link that the person gave
        try:
            return Path(os.path.relpath(place, start)).as_posix()
        except ValueError:  # another drive
            return place.as_posix()

    found: dict[str, Any] = {}
    for info in params.describe():
        value = getattr(params, info.name)
        if info.path in ("file", "folder", "job") and value is not None and value != ():
            found[info.name] = [relative(p) for p in value] if info.many else relative(value)
    return found


def checksums(inputs: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """sha256 of every small input file; of a job, that of its ``job.json``."""
    sums = {}
    for places in inputs.values():
        for place in [places] if isinstance(places, str) else places:
            path = place_of(folder, place)
            path = path / "job.json" if path.is_dir() else path
            if path.is_file() and path.stat().st_size < SMALL_FILE:
                with path.open("rb") as file:
                    sums[place] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def place_of(folder: Path, place: str) -> Path:
    """Find a recorded input of the job in a folder."""
    return Path(os.path.normpath(folder.resolve() / place))


def without(record: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out some names of a record."""
    return {k: v for k, v in record.items() if k not in names}


def process_lives(record: Mapping[str, Any]) -> bool:
    """Whether the process of a running job is there; on another machine nobody can tell, so yes."""
    pid = record.get("pid")
    if record.get("host") != socket.gethostname() or not pid:
        return bool(pid)
    if sys.platform == "win32":  # there os.kill(pid, 0) would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return start_of_process(pid) == record.get("pid_started")  # else a new process has got the old number


def start_of_process(pid: int) -> int | None:
    """Start of a process in ticks since boot; None where the system does not tell, -1 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] == "Z" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
