"""What `flex3d plan` predicts, and what then happens.

    python benchmarks/plan.py MESH_JOB ... [--epochs 3] [--latent-dims 1] [--cpu-time]

Every mesh job is planned, trained and reconstructed, each in a process of its own as on the command line. With
--cpu-time processor time on one thread is predicted and measured, for a machine that does other work.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def predicted(mesh_job: Path, epochs: int, dims: int, cpu_time: bool) -> None:
    """Plan, and print the stages as JSON."""
    import torch

    from napari_flex3d import plan
    from napari_flex3d.planning import pace

    if cpu_time:
        pace.now = time.process_time
        torch.set_num_threads(1)
    print(json.dumps(plan(mesh_job, latent_dims=dims, epochs=epochs).to_record()))


def run(command: list[str], cpu_time: bool) -> tuple[float, int]:
    """Seconds and largest memory of a process."""
    environment = os.environ | ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if cpu_time else {})
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    spent = used.ru_utime + used.ru_stime if cpu_time else time.perf_counter() - start
    return spent, used.ru_maxrss * 1024


def compare(job: Path, given: argparse.Namespace, folder: Path) -> None:
    """Plan and run the stages after a mesh job; print a line for each."""
    extra = ["--epochs", str(given.epochs), "--latent-dims", str(given.latent_dims)]
    worker = [sys.executable, __file__, str(job), *extra, "--worker", *["--cpu-time"] * given.cpu_time]
    start = time.perf_counter()
    record = json.loads(
        subprocess.run(worker, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    )
    took = time.perf_counter() - start
    program = [sys.executable, "-m", "napari_flex3d"]
    commands = {
        "train": [*program, "train", str(job), *extra, "-o", str(folder / "train")],
        "reconstruct": [*program, "reconstruct", str(folder / "train"), "-o", str(folder / "reconstruct")],
    }
    planned: dict[str, Any] = {stage["stage"]: stage for stage in record["stages"]}
    for stage, command in commands.items():
        spent, memory = run(command, given.cpu_time)
        files = sum(f.stat().st_size for f in (folder / stage).rglob("*"))
        of = planned[stage]
        time_said = f"{of['seconds']:7.1f} / {spent:7.1f} s = {of['seconds'] / spent:4.2f}"
        memory_said = f"{of['memory'] / 1e9:.2f} / {memory / 1e9:.2f} GB"
        disk = f"{of['disk'] / 1e6:.0f} / {files / 1e6:.0f} MB"
        print(f"{str(job)[-20:]:20s} {stage:12s} {time_said}  {memory_said:>17s}  {disk}", flush=True)
    print(
        f"{'':20s} planned in {took:.1f} s by the clock, load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mesh_jobs", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--latent-dims", type=int, default=1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        predicted(given.mesh_jobs[0], given.epochs, given.latent_dims, given.cpu_time)
        return
    print("job                  stage          predicted / took            memory           disk")
    for job in given.mesh_jobs:
        with tempfile.TemporaryDirectory() as folder:
            compare(job, given, Path(folder))


if __name__ == "__main__":
    main()
