"""Time and error of the Triton kernels on a GPU, next to plain torch there.

    python benchmarks/gpu.py [--box 64 128 256] [--images 64] [--latent-dims 2] [--rounds 20]

Needs a CUDA GPU. Errors are of the images up to 0.8 of the Nyquist frequency, relative to a direct sum in double
precision.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from projection import LIMIT, PIXEL, Problem, direct_sum, error, make_problem
from torch import Tensor

from napari_flex3d.ops.projection import _torch, _triton, fine_box, place, project

VOXELS = {64: 25_000, 128: 200_000, 256: 1_600_000}


def milliseconds(run: Callable[[], object], rounds: int) -> float:
    """Median time on the device."""
    run()
    took = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        took.append(start.elapsed_time(end))
    return float(np.median(took))


def copy_rate() -> float:
    """Bytes a second that a large copy reads and writes."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / (milliseconds(lambda: target.copy_(source), 20) / 1e3)


def products(problem: Problem, dims: int) -> dict[str, Callable[[object], Callable[[], object]]]:
    """The three products for an implementation; all of a batch."""
    box, fine = problem.box, fine_box(problem.box, 1.5)
    body, values = problem.body.to("cuda"), problem.values.cuda()
    seen = place(problem.rotation, problem.vertices, PIXEL).cuda()
    random = torch.Generator().manual_seed(1)
    motion = torch.randn(len(seen), dims, *seen.shape[1:], generator=random).cuda()
    grid = torch.randn(len(seen), fine, fine, generator=random).cuda()
    common = values, seen, body, box, fine
    return {
        "spread": lambda module: lambda: module.spread(*common),
        "gather, for values": lambda module: lambda: module.gather(grid, *common, True, False),
        "gather, for both": lambda module: lambda: module.gather(grid, *common, True, True),
        f"tangent, {dims} directions": lambda module: (
            lambda: module.tangent(values, seen, motion, body, box, fine)
        ),
    }


def images(problem: Problem, few: int) -> Tensor:
    """Transforms of the first few images by the GPU."""
    seen = place(problem.rotation, problem.vertices, PIXEL)[:few].cuda()
    return project(problem.values.cuda(), seen, problem.body.to("cuda"), problem.box).cpu()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--box", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--images", type=int, default=64, help="a batch")
    parser.add_argument("--latent-dims", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20, help="the median counts")
    arguments = parser.parse_args()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; a copy moves {copy_rate() / 1e12:.2f} TB/s"
    )
    print(
        f"{'box':>4s} {'voxels':>8s} {'cells':>6s}  {'product':24s} {'µs / image':>10s} {'torch / this':>12s}"
    )
    for box in arguments.box:
        problem = make_problem(box, VOXELS.get(box, int(0.0954 * box**3)), arguments.images)
        exact = torch.stack([direct_sum(problem, image) for image in range(2)])
        wrong = error(images(problem, 2), exact, box)
        for name, product in products(problem, arguments.latent_dims).items():
            ours = milliseconds(product(_triton), arguments.rounds)
            plain = milliseconds(product(_torch), 3)
            size = f"{box:4d} {len(problem.values):8d} {len(problem.body.cells):6d}"
            print(f"{size}  {name:24s} {1e3 * ours / arguments.images:10.2f} {plain / ours:12.1f}")
        print(f"     error to {LIMIT / 0.5:g} Nyquist {wrong:.2e}")


if __name__ == "__main__":
    main()
