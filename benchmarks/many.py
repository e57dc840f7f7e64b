"""Memory of training does not grow with the images: millions of particles in a sparse stack, a few steps of training.

    python benchmarks/many.py [--particles 2000000] [--box 128] [--folder FOLDER]

A few particles are made and prepared as usual; then their table is repeated, and the training stack is made as long as
it has to be, without anything in the rest of it. The stack's pages are the system's to forget; what counts is RssAnon,
the memory that is the program's own.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

FEW = 64


def own_memory() -> int:
    """RssAnon of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Peak(threading.Thread):
    """Looks at the process's own memory again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self._since = time.perf_counter()
        self.start()

    def run(self) -> None:
        """Look."""
        while True:
            self.highest = max(self.highest, own_memory())
            time.sleep(0.02)

    def tell(self, what: str) -> None:
        """Print the present and the highest value so far."""
        took = time.perf_counter() - self._since
        print(
            f"{took:7.0f} s  {what:46s} {own_memory() / 1e9:6.2f} GB now, {self.highest / 1e9:6.2f} GB at most",
            flush=True,
        )


def make_many(folder: Path, particles: int, box: int) -> Path:
    """Prep and mesh jobs of so many particles; returns the mesh job."""
    from napari_flex3d import stages
    from napari_flex3d.mesh import MeshParams
    from napari_flex3d.prep import PrepParams
    from napari_flex3d.synthetic import write_sample

    made = write_sample(folder / "sample", particles=FEW, box=box, pixel_size=192 / box, snr=0.1, seed=0)
    prep = PrepParams(particles=made.particles, map=made.map, mask=made.mask)
    stages.prepare(prep, folder / "prep")
    stages.build_mesh(MeshParams(prep=folder / "prep"), folder / "mesh")
    _repeat_table(folder / "prep" / "particles.star", particles)
    stack = folder / "prep" / "particles_train.mrcs"
    with stack.open("r+b") as file:
        file.seek(8)
        file.write(np.int32(particles).tobytes())  # nz
        file.truncate(1024 + particles * box * box * 2)
    used = stack.stat().st_blocks * 512
    print(f"stack: {stack.stat().st_size / 1e9:.1f} GB long, {used / 1e6:.1f} MB on the disk")
    return folder / "mesh"


def _repeat_table(star: Path, particles: int) -> None:
    """Make the table longer; the image's number stays in step with the row."""
    lines = star.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if "@particles.mrcs" in line)
    rows = [line for line in lines[first:] if "@particles.mrcs" in line]
    parts = [line.split() for line in rows]
    name = next(i for i, field in enumerate(parts[0]) if "@" in field)
    with star.open("w") as file:
        file.write("\n".join(lines[:first]) + "\n")
        for number in range(particles):
            fields = parts[number % len(parts)]
            fields[name] = f"{number + 1:06d}@particles.mrcs"
            file.write(" ".join(fields) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--particles", type=int, default=2_000_000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--latent-dims", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        mesh_job = folder / "mesh"
        if not mesh_job.exists():
            mesh_job = make_many(folder, arguments.particles, arguments.box)
        drive(mesh_job, arguments.latent_dims, arguments.steps)


def drive(mesh_job: Path, latent_dims: int, count: int) -> None:
    """Open, set up, and take steps of an early and of a later epoch."""
    from napari_flex3d import fit
    from napari_flex3d.io.mrc import read_map
    from napari_flex3d.mesh import TetMesh
    from napari_flex3d.motions import in_image_units, train_mask
    from napari_flex3d.particles import Particles
    from napari_flex3d.train import TrainParams

    peak = Peak()
    peak.tell("program loaded")
    particles = Particles.open(mesh_job.parent / "prep", "train")
    peak.tell(f"{len(particles)} particles open")
    density = read_map(mesh_job.parent / "prep" / "map_train.mrc")
    mask = train_mask(mesh_job, density)
    numbers = {"rigidity": 2.0, "flow_lr": 1e-4, "flow_lr_final": 1e-5}  # else found first
    params = TrainParams(mesh=mesh_job, latent_dims=latent_dims, **numbers)
    setup = fit.set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, 0.05, params)
    state = fit.begin(setup, fit.at_rest(setup, in_image_units(density, mask, particles)), 6, 64)
    peak.tell(f"{mask.sum()} voxels tied to the mesh")
    for epoch in (0, params.epochs // 3):
        state.epoch = epoch
        steps = fit.fit(setup, state)
        for _ in range(count):
            next(steps)
        steps.close()
        peak.tell(f"{count} steps of {setup.batch_size} particles in epoch {epoch + 1}")


if __name__ == "__main__":
    main()
