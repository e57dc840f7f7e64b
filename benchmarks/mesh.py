"""How long the mesh of a map with painted segments takes, step by step.

Run: python benchmarks/mesh.py [--box 128] [--cells 20 40] [--segments 6]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from napari_flex3d.io.mrc import write_map
from napari_flex3d.mesh import MeshParams, mesh, voxel_positions
from napari_flex3d.mesh.build import lattice, segmented
from napari_flex3d.mesh.connections import suggest_connections, write_connections
from napari_flex3d.mesh.topology import borders


def painted(box: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ellipsoid, and balls painted in it that leave most of it without a label; its density."""
    axis = (np.arange(box) - box // 2) * 128 / box
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    mask = (x / 50) ** 2 + (y / 40) ** 2 + (z / 30) ** 2 < 1
    centres = np.random.default_rng(0).uniform(-1, 1, (count, 3)) * (35, 28, 20)
    distance = np.stack([np.hypot(np.hypot(x - a, y - b), z - c) for a, b, c in centres])
    labels = np.where(distance.min(0) < 9, distance.argmin(0), -1).astype(np.int32)
    density = mask * (1 + 0.3 * np.cos(x / 5) * np.cos(y / 6) * np.cos(z / 7))
    return mask, labels, density


def timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    start = time.process_time()
    result = function(*args)
    return result, time.process_time() - start


def stage(folder: Path, cells: int, connections: str, name: str) -> None:
    params = MeshParams(prep=folder, cells=cells, segments=folder / "labels.mrc", connections=connections)
    (folder / name).mkdir()
    for _ in mesh(params, folder / name):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--cells", type=int, nargs="+", default=[20, 40])
    parser.add_argument("--segments", type=int, default=6)
    given = parser.parse_args()
    mask, labels, density = painted(given.box, given.segments)
    pixel_size = 1.5 * 128 / given.box
    points = voxel_positions(np.argwhere(mask), given.box, pixel_size)
    print(f"box {given.box}, {mask.sum()} voxels, {given.segments} segments; seconds of processor time")
    print("cells  tetrahedra  lattice  segments + split  whole stage  voxels to cells by place")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, data in (("map", density), ("mask", mask), ("labels", labels)):
            write_map(folder / f"{name}.mrc", data, pixel_size=pixel_size)
        for cells in given.cells:
            regular, first = timed(lattice, mask, pixel_size, cells)
            joined, _ = timed(segmented, regular, labels)
            volumes = {s: float((joined.whole.segment == s).sum()) for s in np.unique(joined.whole.segment)}
            tree = suggest_connections(borders(joined.whole).shared(), volumes)[1:]
            text = write_connections(tree) if len({a for a, _ in tree}) else "none"
            split, second = timed(segmented, regular, labels, text)
            _, third = timed(stage, folder, cells, text, f"job{cells}")
            _, fourth = timed(split.mesh.locate, points)
            print(
                f"{cells:5d}  {len(split.mesh.cells):10d}  {first:7.2f}  {second:16.2f}  {third:11.2f}  {fourth:24.2f}"
            )


if __name__ == "__main__":
    main()
