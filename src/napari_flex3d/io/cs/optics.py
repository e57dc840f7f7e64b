"""CTF and aberrations of a CryoSPARC dataset in RELION's terms."""

import warnings

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.cs.dataset import Dataset
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.table import Answers, Floats, Ints, OpticsGroup

_ASKED = {
    "voltage": "ctf/accel_kv",
    "spherical_aberration": "ctf/cs_mm",
    "amplitude_contrast": "ctf/amp_contrast",
}
_SMALL_SHIFT = 0.3
"""A fitted shift of the images (``ctf/shift_A``) below this is not worth a word, Å."""


def read_ctf(dataset: Dataset, answers: Answers) -> dict[str, Floats]:
    """Columns of the particle table that `napari_flex3d.ops.ctf.ctf` needs."""
    if "ctf/df1_A" not in dataset:
        raise InputError(f"{dataset.path} has no ctf/df1_A. A CTF estimate of every particle is needed.")
    u = dataset.number("ctf/df1_A")
    return {
        "defocus_u": u,
        "defocus_v": dataset.number("ctf/df2_A") if "ctf/df2_A" in dataset else u,
        "defocus_angle": dataset.number("ctf/df_angle_rad", default=0.0),
        "phase_shift": dataset.number("ctf/phase_shift_rad", default=0.0),
        "bfactor": dataset.number("ctf/bfactor", default=0.0),
        "ctf_scale": dataset.number("ctf/scale", default=1.0),
        **{name: _asked(dataset, name, getattr(answers, name)) for name in _ASKED},
    }


def read_groups(
    dataset: Dataset, ctf: dict[str, Floats], box_size: Ints, pixel_size: Floats, *, check: bool
) -> tuple[Ints, tuple[OpticsGroup, ...]]:
    """Optics group of each particle, and the groups: exposure groups, split further where their optics differ.

    Notes
    -----
    Beam tilt is asin(``tilt_A`` / Cs). ``anisomag`` plus the identity is the inverse of RELION's matrix M.
    """
    number = dataset.whole("ctf/exp_group_id", default=0.0)
    tilt = _beam_tilt(dataset, ctf["spherical_aberration"])
    anisomag = dataset.number("ctf/anisomag", (4,), default=0.0)
    if check:
        _warn_ignored(dataset)
    facts = np.column_stack([number, *(ctf[name] for name in _ASKED), tilt, anisomag, box_size, pixel_size])
    _, first, group = np.unique(facts, axis=0, return_index=True, return_inverse=True)
    is_split = len(first) > len(np.unique(number))
    groups = []
    for index, row in enumerate(first):
        name = index + 1 if is_split else int(number[row]) + 1
        groups.append(
            OpticsGroup(
                number=name,
                name=f"opticsGroup{name}",
                box_size=int(box_size[row]),
                pixel_size=float(pixel_size[row]),
                magnification=_magnification(dataset, anisomag[row], int(number[row])),
                beam_tilt=(float(tilt[row, 0]), float(tilt[row, 1])),
            )
        )
    return group.ravel().astype(np.int64), tuple(groups)


def _asked(dataset: Dataset, name: str, answer: float | None) -> Floats:
    """Read a number that the person must give when the file lacks it."""
    if answer is not None:
        return np.full(len(dataset), float(answer))
    if _ASKED[name] not in dataset:
        raise Question(f"{dataset.path} has no {_ASKED[name]}. Enter it.", "--" + name.replace("_", "-"))
    return dataset.number(_ASKED[name])


def _beam_tilt(dataset: Dataset, spherical_aberration: Floats) -> Floats:
    """Beam tilt (N, 2), mrad."""
    tilt = dataset.number("ctf/tilt_A", (2,), default=0.0)
    length = spherical_aberration[:, None] * 1e7
    wrong = np.flatnonzero((np.abs(tilt) > np.abs(length)).any(1))
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{dataset.path} row {dataset.rows[row] + 1}: ctf/tilt_A is {tilt[row]}, more than the spherical "
            f"aberration of {length[row, 0]:g} Å."
        )
    with np.errstate(invalid="ignore"):
        return 1e3 * np.arcsin(np.where(tilt == 0, 0.0, tilt / np.where(length == 0, 1.0, length)))


def _magnification(
    dataset: Dataset, anisomag: NDArray[np.float64], group: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = (np.eye(2) + anisomag.reshape(2, 2)).tolist()
    determinant = a * d - b * c
    if not determinant or not abs(1 / determinant - 1) <= 0.2:
        raise InputError(
            f"{dataset.path}: ctf/anisomag of group {group}: det {determinant:.3g}: not a magnification matrix."
        )
    return (d / determinant, -b / determinant), (-c / determinant, a / determinant)


def _warn_ignored(dataset: Dataset) -> None:
    ignored = [
        name
        for name, size in (("ctf/trefoil_A", 2), ("ctf/tetra_A", 4))
        if np.any(dataset.number(name, (size,), default=0.0))
    ]
    if ignored:
        text = f"{dataset.path}: {', '.join(ignored)} not zero; ignored, as they matter little below 4 Å."
        warnings.warn(text, InputWarning, stacklevel=4)
    shift = float(np.hypot(*dataset.number("ctf/shift_A", (2,), default=0.0).T).max())
    if shift > _SMALL_SHIFT:
        text = f"{dataset.path}: ctf/shift_A moves images by up to {shift:.2g} Å; ignored."
        warnings.warn(text, InputWarning, stacklevel=4)
