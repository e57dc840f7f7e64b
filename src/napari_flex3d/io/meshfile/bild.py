"""Meshes for ChimeraX: coloured lines in its BILD format, and a script that opens them with map and segments."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume


def write_bild(
    path: Path, lines: Mapping[str, NDArray[np.floating]], density: Volume, *, comment: str = ""
) -> None:
    """Write lines that ChimeraX opens, in the frame of a map.

    Parameters
    ----------
    lines
        By their colour (``#rrggbb``): both ends of each line (L, 2, 3), x y z in Å from the box centre.
    density
        The map, for its place.
    comment
        Of the file.

    Notes
    -----
    Instructions ``.color``, ``.move`` and ``.draw`` (ChimeraX user guide, BILD format).
    """
    centre = np.array(density.origin) + len(density.data) // 2 * density.pixel_size
    text = [f".comment {comment}"] if comment else []
    for color, ends in lines.items():
        red, green, blue = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
        text.append(f".color {red:.3f} {green:.3f} {blue:.3f}")
        for start, end in (np.asarray(ends, np.float64) + centre).tolist():
            text += [f".move {_xyz(start)}", f".draw {_xyz(end)}"]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="utf-8")


def write_mesh_script(path: Path, level: float, beside: Sequence[str]) -> None:
    """Write ChimeraX commands that open a map and what lies beside the script.

    Parameters
    ----------
    level
        Contour of the map.
    beside
        Names of files in the script's folder: the map first, then labels or ``.bild``.
    """
    first, *others = beside
    text = ["# ChimeraX: open this file.", f'open "{first}"', f"volume #1 level {level:.5g} transparency 0.6"]
    text += [f'open "{name}"' for name in others]
    with atomic(path) as temporary:
        temporary.write_text("\n".join([*text, "lighting soft", "view"]) + "\n", encoding="utf-8")


def _xyz(point: Sequence[float]) -> str:
    return " ".join(f"{value:.3f}" for value in point)
