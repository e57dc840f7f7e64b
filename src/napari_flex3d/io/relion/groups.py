"""Optics groups of a star file: aberrations, magnification, and what was done about the CTF."""

import warnings
from pathlib import Path

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.star import parse_integer, parse_numbers
from napari_flex3d.io.table import CtfState, OpticsGroup

_ZERNIKE_COUNTS = {"rlnOddZernike": (2, 6, 12, 20), "rlnEvenZernike": (1, 4, 9, 16)}


def warn_states(states: set[CtfState]) -> None:
    """Say what was done about the CTF in the images."""
    if "corrected" in states:
        _warn("Images are CTF-corrected; the CTF model is none.")
    if "phase-flipped" in states:
        _warn("Images are phase-flipped; the CTF model is abs.")
    if "premultiplied" in states:
        _warn("Images are CTF-premultiplied: CTF² is used.")


def read_group(path: Path, row: dict[str, str], state: CtfState, *, check: bool) -> OpticsGroup:
    """Read the row of one group, label to text; ``state`` is what was done about the CTF in its images."""
    number = parse_integer(row["rlnOpticsGroup"])
    where = f"{path} optics"
    tilt = [
        float(parse_numbers(where, f"rlnBeamTilt{axis}", [row.get(f"rlnBeamTilt{axis}", "0")])[0])
        for axis in "XY"
    ]
    return OpticsGroup(
        number=number,
        name=row.get("rlnOpticsGroupName", f"opticsGroup{number}"),
        box_size=parse_integer(row.get("rlnImageSize", "0")),
        magnification=_magnification(path, row, number, check),
        beam_tilt=(tilt[0], tilt[1]),
        odd=_zernike(path, row, number, "rlnOddZernike"),
        even=_zernike(path, row, number, "rlnEvenZernike"),
        ctf_state=state,
        columns=row,
    )


def _magnification(
    path: Path, row: dict[str, str], number: int, check: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    labels = [f"rlnMagMat{i}{j}" for i in "01" for j in "01"]
    if not all(label in row for label in labels):
        return OpticsGroup.magnification
    a, b, c, d = (float(parse_numbers(f"{path} optics", label, [row[label]])[0]) for label in labels)
    if a == b == c == d == 0:
        if check:
            _warn(f"rlnMagMat of group {number} is all zero, read as identity")
        return OpticsGroup.magnification
    determinant = a * d - b * c
    if abs(determinant - 1) > 0.2:
        raise InputError(
            f"{path}: rlnMagMat of group {number}: det {determinant:.3g}: not a magnification matrix."
        )
    return (a, b), (c, d)


def _zernike(path: Path, row: dict[str, str], number: int, label: str) -> tuple[float, ...]:
    text = row.get(label, "").strip("[]\"'")
    if not text or text in (".", "?", "None"):
        return ()
    values = text.split(",")
    allowed = _ZERNIKE_COUNTS[label]
    if len(values) not in allowed:
        expected = ", ".join(map(str, allowed[:-1])) + f" or {allowed[-1]}"
        raise InputError(f"{label} of group {number} has {len(values)} values; {expected} expected.")
    return tuple(parse_numbers(f"{path} optics", label, values).tolist())


def _warn(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=3)
