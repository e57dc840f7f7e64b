"""The particle table as the tables of a star file in RELION 5's style."""

from collections.abc import Mapping, Sequence

import numpy as np

from napari_flex3d.io.columns import Texts, formatted
from napari_flex3d.io.relion.labels import (
    ANGLES,
    ASKED,
    OF_PREP,
    PARTICLE,
    RECORDED_BOX,
    RECORDED_PIXEL,
)
from napari_flex3d.io.table import Floats, OpticsGroup, ParticleTable
from napari_flex3d.ops.rotations import to_euler


def particle_columns(
    table: ParticleTable, image_names: Sequence[str]
) -> dict[str, Mapping[str, Sequence[object]]]:
    """Make the tables optics and particles in RELION 5's style, for `write_star`.

    Every column of the input is kept, and what the table has beyond them is added. Image names, groups, half
    sets and Å origins are written as we read them; the input's own image name and row stay in
    ``flexImageName`` and ``flexSourceRow``.
    """
    particles: dict[str, Sequence[object]] = {**table.columns}
    particles["flexImageName"] = table.columns.get("rlnImageName", image_names)
    shift = table.shift
    particles |= {
        "rlnImageName": image_names,
        "rlnOpticsGroup": formatted(np.array([group.number for group in table.groups])[table.group]),
        "rlnOriginXAngst": _numbers(shift[:, 0]),
        "rlnOriginYAngst": _numbers(shift[:, 1]),
        "rlnDefocusU": _numbers(table.defocus_u),
        "rlnDefocusV": _numbers(table.defocus_v),
        "rlnRandomSubset": formatted(table.half + 1),
        "flexSourceRow": formatted(table.row),
        "flexScale": _numbers(table.scale),
    }
    if table.source_particle is not None:
        particles[PARTICLE] = formatted(table.source_particle)
    for label, (name, _) in ASKED.items():
        if label in particles:
            particles[label] = _numbers(getattr(table, name))
    particles |= {label: _numbers(v) for label, v in _pose_and_ctf(table).items() if label not in particles}
    used = np.unique(table.group)
    groups = [table.groups[g] for g in used]
    rows = [{**new, **group.columns} for new, group in zip(_aberrations(groups), groups, strict=True)]
    labels = list(dict.fromkeys(label for row in rows for label in row))
    optics: dict[str, list[object]] = {label: [row.get(label, "0") for row in rows] for label in labels}
    optics |= {
        "rlnOpticsGroup": [table.groups[g].number for g in used],
        "rlnOpticsGroupName": [table.groups[g].name for g in used],
        "rlnImagePixelSize": [f"{table.pixel_size:.6f}" for _ in used],
        "rlnImageSize": [table.box_size for _ in used],
        "rlnImageDimensionality": [2 for _ in used],
    }
    if any(group.pixel_size != table.pixel_size for group in groups):
        optics[RECORDED_PIXEL] = [f"{group.pixel_size:.6f}" for group in groups]
    if any(group.box_size not in (0, table.box_size) for group in groups):
        optics[RECORDED_BOX] = [group.box_size or table.box_size for group in groups]
    first = [int(np.flatnonzero(table.group == g)[0]) for g in used]
    for label, (name, _) in ASKED.items():
        optics[label] = [f"{getattr(table, name)[row]:.6f}" for row in first]
    return {"optics": optics, "particles": particles}


def recorded_columns(table: ParticleTable) -> dict[str, Mapping[str, Sequence[object]]]:
    """Make the tables optics and particles about the recorded images, from those that prep wrote."""
    tables = particle_columns(table, table.columns["flexImageName"])
    groups = [table.groups[g] for g in np.unique(table.group)]
    optics = {label: column for label, column in tables["optics"].items() if label not in OF_PREP}
    optics["rlnImagePixelSize"] = [f"{group.pixel_size:.6f}" for group in groups]
    optics["rlnImageSize"] = [group.box_size for group in groups]
    particles = {label: column for label, column in tables["particles"].items() if label not in OF_PREP}
    return {"optics": optics, "particles": particles}


def _pose_and_ctf(table: ParticleTable) -> dict[str, Floats]:
    """Columns of poses, and of those CTF parameters that are not as when they are missing."""
    angles = dict(zip(ANGLES, np.rad2deg(to_euler(table.rotation)).T, strict=True))
    ctf = {
        "rlnDefocusAngle": np.rad2deg(table.defocus_angle),
        "rlnPhaseShift": np.rad2deg(table.phase_shift),
        "rlnCtfBfactor": table.bfactor,
    }
    angles |= {label: values for label, values in ctf.items() if values.any()}
    return angles | ({"rlnCtfScalefactor": table.ctf_scale} if np.any(table.ctf_scale != 1) else {})


def _aberrations(groups: Sequence[OpticsGroup]) -> list[dict[str, str]]:
    """Columns of magnification and beam tilt of each group, where one has them and the input has no columns."""
    rows: list[dict[str, str]] = [{} for _ in groups]
    with_columns = {label for group in groups for label in group.columns}
    if "rlnMagMat00" not in with_columns and any(
        g.magnification != OpticsGroup.magnification for g in groups
    ):
        for row, group in zip(rows, groups, strict=True):
            row |= {
                f"rlnMagMat{i}{j}": f"{group.magnification[i][j]:.7f}" for i in range(2) for j in range(2)
            }
    if "rlnBeamTiltX" not in with_columns and any(any(group.beam_tilt) for group in groups):
        for row, group in zip(rows, groups, strict=True):
            row |= {f"rlnBeamTilt{axis}": f"{group.beam_tilt[i]:.6f}" for i, axis in enumerate("XY")}
    return rows


def _numbers(values: Floats) -> Texts:
    return formatted(values, ".6f")
