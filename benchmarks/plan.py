"""What `flex3d plan` predicts, and what then happens.

    python benchmarks/plan.py MESH_JOB ... [--epochs 3] [--cpu-time]

Every mesh job is planned, trained and reconstructed in a process of its own. With --cpu-time processor time on one
thread is predicted and measured, for a machine that does other work.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def compare(mesh_job: Path, epochs: int, cpu_time: bool, folder: Path) -> None:
    """Plan, run, and print both as JSON."""
    import torch

    from napari_flex3d import planning, stages
    from napari_flex3d.reconstruct import ReconstructParams
    from napari_flex3d.train import TrainParams

    now = time.process_time if cpu_time else time.perf_counter
    planning.now = now
    if cpu_time:
        torch.set_num_threads(1)
    start = now()
    planned = {s.stage: s for s in planning.plan(mesh_job, latent_dims=1, epochs=epochs).stages}
    took = {"plan": now() - start}
    start = now()
    stages.train_model(TrainParams(mesh=mesh_job, latent_dims=1, epochs=epochs), folder / "train")
    took["train"] = now() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = now()
    stages.reconstruct_maps(ReconstructParams(train=folder / "train"), folder / "reconstruct")
    took["reconstruct"] = now() - start
    for stage in ("train", "reconstruct"):
        row = {"stage": stage, "predicted": planned[stage].seconds, "took": took[stage]}
        row |= {"memory_predicted": planned[stage].memory, "memory": memory}
        files = (folder / stage).rglob("*")
        row |= {"disk_predicted": planned[stage].disk, "disk": sum(f.stat().st_size for f in files)}
        print(json.dumps(row | {"plan": took["plan"]}))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mesh_jobs", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        compare(given.mesh_jobs[0], given.epochs, given.cpu_time, given.worker)
        return
    print("job                  stage          predicted / took            memory           disk")
    for job in given.mesh_jobs:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, str(job), "--epochs", str(given.epochs), "--worker", folder]
            done = subprocess.run(
                command + ["--cpu-time"] * given.cpu_time, capture_output=True, text=True, check=False
            )
        if done.returncode:
            sys.exit(done.stderr)
        for line in done.stdout.splitlines():
            row = json.loads(line)
            ratio = row["predicted"] / row["took"]
            time_said = f"{row['predicted']:7.1f} / {row['took']:7.1f} s = {ratio:4.2f}"
            memory = f"{row['memory_predicted'] / 1e9:.2f} / {row['memory'] / 1e9:.2f} GB"
            disk = f"{row['disk_predicted'] / 1e6:.0f} / {row['disk'] / 1e6:.0f} MB"
            print(f"{str(job)[-20:]:20s} {row['stage']:12s} {time_said}  {memory:>17s}  {disk}", flush=True)
        print(f"{'':20s} planned in {row['plan']:.1f} s")


if __name__ == "__main__":
    main()
