"""Latents, motion and maps of states against the truth, for this program and others on the same particles.

Run: python benchmarks/accuracy.py SET... -o FOLDER [--cryodrgn PATH [--recovar PATH]]
with SET a folder of a shared set or of a made sample, or a kind that `write_sample` makes ("two motions"). cryoDRGN and
RECOVAR run where their paths are given (bin/cryodrgn and bin/recovar, of environments of their own; cryoDRGN crops the
images for RECOVAR, too); that one is skipped otherwise is said. What FOLDER holds already is not run again. The area of
a true map is 0.5.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import programs.cryodrgn
import programs.ours
import programs.recovar
from programs.running import Found
from programs.scores import scores
from programs.sets import ParticleSet

from napari_flex3d.io.mrc import read_map
from napari_flex3d.synthetic import Kind, write_sample

KINDS = get_args(Kind)


def opened(name: str, out: Path, particles: int) -> ParticleSet:
    """A set by its folder, or made by the name of its kind."""
    if name not in KINDS:
        return ParticleSet(Path(name), out / Path(name).name)
    folder = out / name.replace(" ", "_")
    if not (folder / "set" / "truth.npz").exists():
        write_sample(folder / "set", particles=particles, kind=name)
    return ParticleSet(folder / "set", folder)


def ours(particles: ParticleSet, given: argparse.Namespace) -> Iterator[Found]:
    """A training that is there already, or new ones, the larger box first."""
    if given.trained:
        yield programs.ours.trained(particles, given.trained)
        if given.reconstructed:
            flex = read_map(given.reconstructed / "flex.mrc")
            yield programs.ours.trained(particles, given.trained, flex=flex)
        return
    boxes = sorted({given.box, given.train_box}, reverse=True)
    for box in boxes:
        yield from programs.ours.found(
            particles,
            particles.out / f"{given.ours}_{box}",
            box=box,
            reconstruct=given.reconstruct and box == boxes[0],
            turn=given.turn,
        )


def results(particles: ParticleSet, given: argparse.Namespace) -> Iterator[Found]:
    """Each program that is to be had, ours first."""
    out, turn = particles.out, given.turn
    gently = ["nice", "-n", str(given.nice)]
    same = None
    for mine in ours(particles, given):
        yield mine
        same = same or mine.cost
    for mode in given.modes if given.cryodrgn else ():
        yield from programs.cryodrgn.found(
            particles,
            out / f"{mode}_{given.box}_{given.width}",
            program=[*gently, given.cryodrgn],
            mode=mode,
            box=given.box,
            zdim=given.zdim,
            width=given.width,
            epochs=given.epochs,
            turn=turn,
            same=same,
        )
    if given.recovar:
        yield from programs.recovar.found(
            particles,
            out / f"recovar_{given.box}",
            python=[*gently, given.recovar.parent / "python"],
            cryodrgn=[*gently, given.cryodrgn],
            box=given.box,
            zdims=given.recovar_zdims,
            turn=turn,
        )


def table(rows: list[dict], boxes: list[int]) -> str:
    """The rows as Markdown, those of the references first."""
    head = [
        "program",
        "clock / processor s (load)",
        "R2",
        "Spearman",
        "neighbours",
        "error, Å",
        "within 2 sd",
    ]
    head += [f"FSC area, box {box}: whole / moving part" for box in boxes]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["name"], "", "", "", "", "", ""]
        if "wall" in row:
            cells[1] = f"{row['wall']:.0f} / {row['processor']:.0f} ({row['load']:.1f})".replace("nan", "?")
            cells[2] = ", ".join(f"{v:.3f}" for v in row["R2"])
            cells[3] = f"{row['Spearman']:.3f}" if "Spearman" in row else ""
            cells[4] = f"{row['neighbours']:.3f}"
        if "error" in row:
            cells[5] = f"{row['error']:.2f} of {row['motion']:.2f}"
            cells[6] = ", ".join(f"{v:.1%}" for v in row["within 2 sd"])
        cells += [f"{row['areas'][box]['whole']:.4f} / {row['areas'][box]['moving']:.4f}" for box in boxes]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="SET", help=f"folder, or one of: {', '.join(KINDS)}")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--cryodrgn", type=Path, help="bin/cryodrgn of an environment that has cryoDRGN 4")
    parser.add_argument("--modes", nargs="*", default=["train_vae", "train_dec"], help="cryoDRGN's trainings")
    parser.add_argument("--epochs", type=int, default=20, help="of cryoDRGN")
    parser.add_argument("--zdim", type=int, default=8, help="of cryoDRGN")
    parser.add_argument("--width", type=int, default=1024, help="units of a layer of cryoDRGN's networks")
    parser.add_argument("--recovar", type=Path, help="bin/recovar of an environment that has RECOVAR 0.4.5")
    parser.add_argument(
        "--recovar-zdims", type=int, nargs="+", default=[4], help="some of RECOVAR's 1, 2, 4, 10, 20"
    )
    parser.add_argument("--box", type=int, default=32, help="of the images of cryoDRGN and RECOVAR")
    parser.add_argument("--train-box", type=int, default=64, help="of another training of ours")
    parser.add_argument("--reconstruct", action="store_true", help="also ours at full resolution")
    parser.add_argument("--particles", type=int, default=2400, help="of a made set")
    parser.add_argument(
        "--trained", type=Path, help="score this training job of ours, of the one set, and make none"
    )
    parser.add_argument("--reconstructed", type=Path, help="and with the map of this reconstruction of it")
    parser.add_argument("--ours", default="ours", help="folder of our jobs within that of the set")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the other programs")
    parser.add_argument(
        "--turn", default="", help="words that wait for a turn on a shared machine: 'flock FILE'"
    )
    given = parser.parse_args()
    if given.recovar and not given.cryodrgn:
        parser.error("--recovar needs --cryodrgn too, which crops the images")
    for name in ("cryodrgn", "recovar"):
        if getattr(given, name) is None:
            print(f"{name}: skipped, no --{name} PATH was given")
    boxes = sorted({given.box, given.train_box})
    for name in given.sets:
        particles = opened(name, given.out, given.particles)
        same = [particles.consensus.data] * len(particles.mapped)
        rows = [{"name": "consensus map only", "areas": {box: particles.areas(same, box) for box in boxes}}]
        particles.out.mkdir(parents=True, exist_ok=True)
        kept = particles.out / "rows.json"
        for found in results(particles, given):
            rows.append(scores(particles, found, boxes))
            kept.write_text(json.dumps(rows, indent=1))
            print(f"{name}: {found.name}", flush=True)
        print(f"\n{name}\n\n{table(rows, boxes)}\n", flush=True)


if __name__ == "__main__":
    main()
