"""The star file of a made particle set."""

from pathlib import Path

import numpy as np
from numpy import ndarray

from ..io.files import atomic
from ..ops import rotations
from .imaging import AMPLITUDE_CONTRAST, SPHERICAL_ABERRATION, VOLTAGE


def write_star(path: Path, seen: dict[str, ndarray], box: int, pixel_size: float) -> None:
    """Write particles as RELION 3.1 does, from how each was seen."""
    count = len(seen["half"])
    optics = (
        f"opticsGroup1 1 {pixel_size:.6f} {VOLTAGE:.6f} {SPHERICAL_ABERRATION:.6f} {AMPLITUDE_CONTRAST:.6f} "
    )
    optics += f"{pixel_size:.6f} {box} 2"
    optics_labels = (
        "rlnOpticsGroupName rlnOpticsGroup rlnMicrographOriginalPixelSize rlnVoltage rlnSphericalAberration "
        "rlnAmplitudeContrast rlnImagePixelSize rlnImageSize rlnImageDimensionality"
    )
    labels = (
        "rlnImageName rlnMicrographName rlnOpticsGroup rlnRandomSubset rlnDefocusU rlnDefocusV "
        "rlnDefocusAngle rlnPhaseShift rlnAngleRot rlnAngleTilt rlnAnglePsi rlnOriginXAngst rlnOriginYAngst"
    )
    numbers = np.column_stack(
        [
            seen["defocus_u"],
            seen["defocus_v"],
            np.rad2deg(seen["defocus_angle"]),
            np.zeros(count),
            np.rad2deg(rotations.to_euler(seen["rotation"])),
            seen["shift"],
        ]
    )
    rows = [
        f"{i + 1:06d}@particles.mrcs mic_{seen['micrograph'][i]:04d}.mrc 1 {seen['half'][i] + 1} "
        + " ".join(f"{v:.6f}" for v in numbers[i])
        for i in range(count)
    ]
    with atomic(path) as temporary:
        temporary.write_text(
            f"# version 30001\n\ndata_optics\n\n{_loop(optics_labels, [optics])}\n\n"
            f"# version 30001\n\ndata_particles\n\n{_loop(labels, rows)}\n",
            encoding="utf-8",
        )


def _loop(labels: str, rows: list[str]) -> str:
    head = [f"_{label} #{number}" for number, label in enumerate(labels.split(), start=1)]
    return "\n".join(["loop_", *head, *rows])
