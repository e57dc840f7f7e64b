"""Latents, motion and maps of states against the truth, for this and other programs on the same particles.

Run: python benchmarks/accuracy.py SET... -o FOLDER [--cryodrgn PATH] [--recovar PATH]
with SET a folder of a shared set or of a made sample, or a kind that `write_sample` makes ("two motions"). The
other programs run where their path is given (bin/cryodrgn and bin/recovar in environments of their own) and are
skipped, which is said, where it is not. What FOLDER holds already is not run again.
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


def results(particles: ParticleSet, given: argparse.Namespace) -> Iterator[Found]:
    """Each program that is to be had, ours first."""
    out, turn = particles.out, given.turn
    gently = ["nice", "-n", str(given.nice)]
    boxes = sorted({given.box, given.train_box}, reverse=True)
    same = None
    for box in boxes:
        mine = programs.ours.found(
            particles,
            out / f"{given.ours}_{box}",
            box=box,
            reconstruct=given.reconstruct and box == boxes[0],
            turn=turn,
        )
        yield from mine
        same = same or mine[0].cost
    for mode in given.modes if given.cryodrgn else ():
        yield from programs.cryodrgn.found(
            particles,
            out / f"{mode}_{given.box}",
            program=[*gently, given.cryodrgn],
            mode=mode,
            box=given.box,
            zdim=given.zdim,
            epochs=given.epochs,
            turn=turn,
            same=same,
        )
    if given.recovar and given.cryodrgn:
        yield from programs.recovar.found(
            particles,
            out / f"recovar_{given.box}",
            program=[*gently, given.recovar],
            cryodrgn=[*gently, given.cryodrgn],
            box=given.box,
            zdim=given.recovar_zdim,
            turn=turn,
        )


def table(particles: ParticleSet, rows: list[dict], boxes: list[int]) -> str:
    """The rows as Markdown, with the references first."""
    wide = [f"FSC area, box {box}" for box in boxes]
    known = particles.simulated()
    wide += [f"the same, {len(known)} all-atom maps, box {box}" for box in boxes] if known else []
    head = [
        "program",
        "clock / processor s (load)",
        "R2",
        "Spearman",
        "neighbours",
        "error, Å",
        "within 2 sd",
        *wide,
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["name"], "", "", "", "", "", ""]
        if "wall" in row:
            cells[1] = f"{row['wall']:.0f} / {row['processor']:.0f} ({row['load']:.1f})"
            cells[2] = ", ".join(f"{v:.3f}" for v in row["R2"])
            cells[3] = f"{row['Spearman']:.3f}" if "Spearman" in row else ""
            cells[4] = f"{row['neighbours']:.3f}"
        if "error" in row:
            cells[5] = f"{row['error']:.2f} of {row['motion']:.2f}"
            cells[6] = ", ".join(f"{v:.1%}" for v in row["within 2 sd"])
        cells += [f"{row['areas'][box]:.4f}" for box in boxes]
        cells += [f"{row['all-atom areas'][box]:.4f}" for box in boxes] if known else []
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="SET", help=f"folder, or one of: {', '.join(KINDS)}")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--cryodrgn", type=Path, help="bin/cryodrgn of an environment that has cryoDRGN 4")
    parser.add_argument("--recovar", type=Path, help="bin/recovar of an environment that has RECOVAR 0.4.5")
    parser.add_argument("--modes", nargs="*", default=["train_vae", "train_dec"], help="cryoDRGN's trainings")
    parser.add_argument("--epochs", type=int, default=20, help="of cryoDRGN")
    parser.add_argument("--zdim", type=int, default=8, help="of cryoDRGN")
    parser.add_argument("--recovar-zdim", type=int, default=4)
    parser.add_argument("--box", type=int, default=32, help="of cryoDRGN's and RECOVAR's images")
    parser.add_argument("--train-box", type=int, default=64, help="of another training of ours")
    parser.add_argument("--reconstruct", action="store_true", help="also ours at full resolution")
    parser.add_argument("--particles", type=int, default=2400, help="of a made set")
    parser.add_argument("--ours", default="ours", help="folder of our jobs within that of the set")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the other programs")
    parser.add_argument(
        "--turn", default="", help="words that wait for a turn on a shared machine: 'flock FILE'"
    )
    given = parser.parse_args()
    for name in ("cryodrgn", "recovar"):
        if getattr(given, name) is None:
            print(f"{name}: skipped, no --{name} PATH was given")
    boxes = sorted({given.box, given.train_box})
    for name in given.sets:
        particles = opened(name, given.out, given.particles)
        rows = particles.references(boxes)
        kept = particles.out / "rows.json"
        for found in results(particles, given):
            rows.append(scores(particles, found, boxes))
            kept.write_text(json.dumps(rows, indent=1))
            print(f"{name}: {found.name}", flush=True)
        print(f"\n{name}\n\n{table(particles, rows, boxes)}\n", flush=True)


if __name__ == "__main__":
    main()
