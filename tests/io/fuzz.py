"""Every reader and the real files that are damaged for it; as a script, a long run.

    python -m tests.io.fuzz --minutes 10 [--out FOLDER] [--only NAME ...]

Each reader gets its share of the time in a process of its own whose memory is limited. Damaged bytes that bring out
anything but our own errors are kept in the folder, with the traceback beside them.
"""

import argparse
import io
import multiprocessing
import os
import pickle
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from napari_flex3d.generate.series import read_latents
from napari_flex3d.io.consensus import read_consensus
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.meshfile import read_mesh_file
from napari_flex3d.io.models import coordinates, read_model
from napari_flex3d.io.mrc import Volume, open_stack, read_map
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.segments import read_segments
from napari_flex3d.io.table import Answers
from napari_flex3d.mesh import regular_mesh
from tests.io.mutations import BINARY, TEXT, Mutation, damaged, outcome

MEMORY = 6 * 2**30
SECONDS = 20.0


@dataclass(frozen=True)
class Target:
    """A reader.

    Parameters
    ----------
    originals
        Gives the bytes of files that it reads, from the folder of real files.
    suffix
        Of the files.
    mutations
        What is done to them.
    read
        Reads a path all the way to the numbers.
    examples
        Of the short run in the tests.
    """

    originals: Callable[[Path], list[bytes]]
    suffix: str
    mutations: Sequence[Mutation]
    read: Callable[[Path], object]
    examples: int = 40


def files(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [(folder / name).read_bytes() for name in names]


def _particles(path: Path) -> None:
    answers = Answers(amplitude_contrast=0.1, project_dir=path.parent)
    read_any_particles(path, answers, check=False)
    with suppress(InputError):  # of the images, which are not there
        read_any_particles(path, answers)


def _stack(path: Path) -> None:
    images = open_stack(path)
    np.asarray(images[-1], dtype=np.float32)


def _map(path: Path) -> None:
    for accept in (True, False):
        read_consensus(path, accept=accept)


def _model(path: Path) -> None:
    coordinates(read_model(path))


VOLUME = Volume(np.zeros((24,) * 3, np.float32), 3.0)


@cache
def _mesh() -> dict[str, Any]:
    """A small mesh under CryoSPARC's names."""
    z, y, x = np.indices((24,) * 3) - 12
    mask = z**2 + y**2 + 1.5 * x**2 < 100
    mesh, cell_index = regular_mesh(mask, VOLUME.pixel_size, 4)
    arrays = {
        "tm_points": mesh.vertices,
        "tm_cells": mesh.cells,
        "tm_tetraidx_map": cell_index,
        "tm_rweights": mesh.rigidity,
        "mask": mask,
    }
    return {name: np.asarray(a) for name, a in arrays.items()} | {"N": 24, "psize_A": 3.0, "version": 1}


def _npz(_: Path) -> list[bytes]:
    files = [io.BytesIO(), io.BytesIO()]
    np.savez(files[0], **_mesh())
    np.savez_compressed(files[1], **_mesh())
    return [file.getvalue() for file in files]


def _pickles(_: Path) -> list[bytes]:
    return [pickle.dumps(_mesh(), protocol) for protocol in (2, 4)]


def _atoms(kind: str) -> Callable[[Path], list[bytes]]:
    def made(_: Path) -> list[bytes]:
        structure = gemmi.read_pdb_string(_PDB)
        structure.setup_entities()
        if kind == "pdb":
            return [structure.make_pdb_string().encode()]
        return [structure.make_mmcif_document().as_string().encode()]

    return made


_PDB = "CRYST1   60.000   60.000   60.000  90.00  90.00  90.00 P 1           1\n" + "".join(
    f"ATOM  {i:5d}  CA  ALA A{i:4d}    {3.8 * i:8.3f}{np.sin(i):8.3f}{np.cos(i):8.3f}  1.00 20.00           C\n"
    for i in range(1, 13)
)
_CSV = "particle,z1,z2,sd1,sd2,held_out,half\n" + "".join(
    f"{i},{np.sin(i):.4f},{np.cos(i):.4f},0.1,0.2,0,{i % 2}\n" for i in range(20)
)

TARGETS: dict[str, Target] = {
    "star": Target(
        files(
            *("star/relion31.v2.star", "star/relion31.6opticsgroups.star", "star/relion5.star"),
            *("star/aspire_sample_relion_data.star", "star/FinalRefinement-OriginalParticles-PfCRT.star"),
        ),
        ".star",
        TEXT,
        _particles,
    ),
    "cs npy": Target(files("derived/J24_first64_npy.cs"), ".cs", BINARY, _particles),
    "cs CSDAT": Target(files("derived/J24_first64_csdat.cs"), ".cs", BINARY, _particles),
    "map": Target(
        files("map/EMD-3197.map"),
        ".map",
        BINARY,
        _map,
    ),
    "map gz": Target(files("map/emd_3197.map.gz"), ".map.gz", BINARY, read_map),
    "map bz2": Target(files("map/EMD-3197.map.bz2"), ".map.bz2", BINARY, read_map),
    "stack": Target(files("derived/empiar_10076_1image.mrcs"), ".mrcs", BINARY, _stack),
    "latents csv": Target(lambda _: [_CSV.encode()], ".csv", TEXT, lambda path: read_latents(path, dims=2)),
    "pdb": Target(_atoms("pdb"), ".pdb", TEXT, _model),
    "mmcif": Target(_atoms("cif"), ".cif", TEXT, _model),
    "mesh npz": Target(_npz, ".npz", BINARY, lambda path: read_mesh_file(path, VOLUME)),
    "mesh pickle": Target(_pickles, ".pkl", BINARY, lambda path: read_mesh_file(path, VOLUME)),
    "seg": Target(
        files("seg/emd_1832.seg", "seg/sfftk_cropped_test_data.seg"),
        ".seg",
        BINARY,
        lambda path: read_segments(path, Volume(np.zeros((64,) * 3, np.float32), 5.7, (-182.4,) * 3)),
        examples=8,  # a process each
    ),
}


def examine(target: Target, data: bytes, folder: Path) -> str:
    """Give damaged bytes to the reader; see `outcome`."""
    path = folder / f"damaged{target.suffix}"
    path.write_bytes(data)
    return outcome(lambda: target.read(path), SECONDS)


def campaign(name: str, originals: Path, out: Path, seconds: float) -> Counter[str]:
    """Damage files of one reader until the time is up; keep what brings out a foreign error."""
    target = TARGETS[name]
    sources = target.originals(originals)
    counts: Counter[str] = Counter()
    found: set[str] = set()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(10**6):
            if time.monotonic() > end:
                return counts

            @seed(round_)
            @settings(
                max_examples=200,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(st.sampled_from(sources).flatmap(lambda data: damaged(data, target.mutations)))
            def attack(data: bytes) -> None:
                if time.monotonic() > end:
                    return
                try:
                    counts[examine(target, data, Path(folder))] += 1
                except Exception as error:
                    counts["foreign"] += 1
                    _keep(name, data, error, out, found)

            attack()
    return counts


def _keep(name: str, data: bytes, error: Exception, out: Path, found: set[str]) -> None:
    """Write down bytes and traceback of an error that was not seen yet."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    key = f"{name.replace(' ', '-')}-{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
    if key in found:
        return
    found.add(key)
    (out / f"{key}.bin").write_bytes(data)
    (out / f"{key}.txt").write_text("".join(traceback.format_exception(error)))


def _alone(name: str, originals: Path, out: Path, seconds: float, say: Any) -> None:
    """Run one reader in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    counts = campaign(name, originals, out, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    say.send(", ".join(f"{count} {what}" for what, count in sorted(counts.items())) + f"; {peak} MB")


def main() -> None:
    """Run all readers, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS))
    arguments = parser.parse_args()
    beside = Path(__file__).parents[3] / "shared" / "fixtures"
    originals = Path(os.environ.get("FLEX3D_FIXTURES", beside)).resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    share = 60 * arguments.minutes / len(arguments.only)
    fork = multiprocessing.get_context("fork")
    for name in arguments.only:
        hear, say = fork.Pipe(duplex=False)
        child = fork.Process(target=_alone, args=(name, originals, arguments.out, share, say))
        child.start()
        child.join(share + 120)
        if child.is_alive():
            child.kill()
            print(f"{name:12s} HANGS")
        elif child.exitcode:
            print(f"{name:12s} DIED, exit status {child.exitcode}")
        else:
            print(f"{name:12s} {hear.recv()}", flush=True)


if __name__ == "__main__":
    main()
