"""Runs the steps of a program, once each, in turns with others, and keeps what they cost."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

PIECE = 300.0
"""Seconds of a turn."""


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, processor seconds of all threads, and the highest load of the machine meanwhile."""

    wall: float = 0.0
    processor: float = 0.0
    load: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.processor + other.processor, max(self.load, other.load))

    def share(self, part: float) -> "Cost":
        """That of a part of the work."""
        return Cost(self.wall * part, self.processor * part, self.load)


@dataclass(frozen=True)
class Found:
    """What a program made of a particle set.

    Parameters
    ----------
    name
        Program, its mode, how long it was trained.
    cost
        Everything from the particles to the model that a user would wait for.
    latents
        One row a particle, in the order of the star file.
    maps
        One map for each state that the set has a true map of, at the mean latent of its particles, over the set's
        field.
    sd
        Posterior standard deviations of the latents, where the program gives them.
    moved
        Atoms of the reference state moved to each state, Å, where the program can move atoms.
    """

    name: str
    cost: Cost
    latents: np.ndarray
    maps: list[np.ndarray]
    sd: np.ndarray | None = None
    moved: np.ndarray | None = None


Steps = dict[str, list[str | Path]]


def run(steps: Steps, folder: Path, turn: str = "") -> dict[str, Cost]:
    """Run commands one after another, each only if it has not ended well before.

    Parameters
    ----------
    steps
        Name and command of each.
    folder
        Gets NAME.log and NAME.cost.json of each.
    turn
        Words before a command that wait for a turn, such as ``flock FILE``, where a machine is shared. A step is halted
        after `PIECE` seconds until it has its next turn, and only its turns count.

    Raises
    ------
    SystemExit
        A command failed; says which and where its log is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    costs = {}
    for name, step in steps.items():
        told = folder / f"{name}.cost.json"
        if not told.exists():
            cost = _run([*map(str, step)], folder / f"{name}.log", shlex.split(turn))
            told.write_text(json.dumps(asdict(cost)))
        costs[name] = Cost(**json.loads(told.read_text()))
    return costs


def _run(command: list[str], log: Path, turn: list[str]) -> Cost:
    used, load, wall = os.times(), os.getloadavg()[0], 0.0
    with log.open("w") as file:
        print(f"$ {shlex.join(command)}", file=file, flush=True)
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    if turn:
        os.killpg(process.pid, signal.SIGSTOP)
    threading.Thread(target=process.wait).start()  # so that its end is seen by a signal to it
    while process.poll() is None:
        watch = [*turn, sys.executable, __file__, str(process.pid)]
        wall += float(subprocess.run(watch, stdout=subprocess.PIPE, check=True).stdout)
        load = max(load, os.getloadavg()[0])
    if process.returncode:
        raise SystemExit(f"{shlex.join(command)}\nended with {process.returncode}; see {log}")
    now = os.times()
    processor = now.children_user + now.children_system - used.children_user - used.children_system
    return Cost(wall, processor, load)


def _watch(process: int) -> None:
    """Let a process and its children run until it ends or a piece of time is over; print how long that was."""
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGCONT)
        while time.monotonic() < began + PIECE:
            os.kill(process, 0)
            time.sleep(0.1)
        os.killpg(process, signal.SIGSTOP)
    print(time.monotonic() - began)


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
