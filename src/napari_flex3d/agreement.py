"""Agreement of two independent halves as files: a map, a table, a picture, a sentence."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_flex3d.fit.halves import Agreement
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume, write_map


def write_agreement(out: Path, agreement: Agreement, mask: NDArray[np.bool_], like: Volume) -> None:
    """Write ``agreement.mrc``, ``motion.mrc``, ``agreement.csv``, ``agreement.png`` and ``agreement.txt``.

    Parameters
    ----------
    out
        Folder for the files.
    agreement
        Of both halves.
    mask
        Voxels that it is about (n, n, n).
    like
        The map that ours are to lie on.
    """
    for name, values in (("agreement", agreement.difference), ("motion", agreement.motion)):
        volume = np.zeros(mask.shape, dtype=np.float32)
        volume[mask] = values
        write_map(out / f"{name}.mrc", volume, like=like)
    with atomic(out / "agreement.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["displacement_A", "difference_rms_A", "count"])
        rows = zip(agreement.displacement, agreement.differing, agreement.count, strict=True)
        writer.writerows((f"{at:.4f}", f"{rms:.4f}", n) for at, rms, n in rows)
    with atomic(out / "agreement.txt") as temporary:
        temporary.write_text(agreement.in_words() + "\n", encoding="utf-8")
    _draw(out / "agreement.png", agreement)


def _draw(path: Path, agreement: Agreement) -> None:
    figure = Figure(figsize=(5, 4), layout="constrained")
    plot = figure.subplots()
    top = float(agreement.displacement.max())
    plot.plot([0, top], [0, top], "--", color="gray", label="as large as the motion")
    plot.plot(agreement.displacement, agreement.differing, marker=".", label="two halves")
    plot.set(
        xlabel="displacement (Å)", ylabel="difference of the halves, rms (Å)", xlim=(0, None), ylim=(0, None)
    )
    plot.legend()
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
