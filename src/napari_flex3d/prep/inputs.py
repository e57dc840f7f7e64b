"""What prep reads: the particles wanted, map and mask on their grid."""

import re
import warnings
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flex3d.io.consensus import mirrored, on_grid, read_mask
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.mrc import Volume
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.relion.labels import ANGLES
from napari_flex3d.io.table import Answers, ParticleTable
from napari_flex3d.ops.fourier import resample3
from napari_flex3d.ops.mask import automatic_mask
from napari_flex3d.ops.symmetry import likeness, symmetry_rotations
from napari_flex3d.prep.params import PrepParams

Floats = NDArray[np.float32]

_COARSE, _ALIKE = 48, 0.9
"""Box on which a map is compared with itself turned, and the correlation that a symmetric one has at least."""


def read_table(params: PrepParams, own: Volume) -> ParticleTable:
    """Particles that are wanted, in the conventions that the person says they have.

    Parameters
    ----------
    own
        The consensus map as its file has it.
    """
    table = read_any_particles(params.particles, _answers(params, own))
    if params.min_scale is not None:
        table = table.take(table.scale >= params.min_scale)
        if not len(table):
            raise InputError(f"{params.particles}: no particle has a scale of {params.min_scale} or more.")
    if params.max_particles is not None and params.max_particles < len(table):
        drawn = np.random.default_rng(params.seed).choice(len(table), params.max_particles, replace=False)
        table = table.take(np.sort(drawn))
    if params.negate_shifts:
        table = replace(table, shift=-table.shift)
    if params.invert_rotations:
        kept = {label: values for label, values in table.columns.items() if label not in ANGLES}
        table = replace(table, rotation=table.rotation.transpose(0, 2, 1), columns=kept)
    return table


def map_and_mask(params: PrepParams, own: Volume, table: ParticleTable) -> tuple[Volume, Floats]:
    """Consensus map and mask on the particles' grid, of the hand that the poses belong to."""
    volume = on_grid(params.map, own, table.box_size, table.pixel_size, resample=params.resample_map)
    mask = _mask(params, own, volume)
    if params.flip_hand:
        warnings.warn(
            "Map and mask are mirrored in z; all results have this hand, and atomic models must have it too.",
            InputWarning,
            stacklevel=2,
        )
        return replace(volume, data=mirrored(volume.data)), mirrored(mask)
    return volume, mask


def symmetry_of(params: PrepParams, volume: Volume) -> NDArray[np.float64]:
    """Rotations (M, 3, 3) of the symmetry that copies are made by; the map must look the same after each of them."""
    group = params.expand_symmetry
    try:
        rotations = symmetry_rotations(group)
    except ValueError:
        raise InputError(f"expand_symmetry = {group}: Cn or Dn is needed, such as C3 or D7.") from None
    coarse = resample3(torch.from_numpy(volume.data), min(_COARSE, len(volume.data)))
    alike = likeness(coarse, group)
    if alike < _ALIKE and not params.accept_map:
        raise Question(
            f"{params.map} does not look the same after the rotations of {group} (correlation {alike:.2f}). The "
            "refinement must have imposed the symmetry, with the main axis along z and a two-fold axis of Dn along x, "
            "through the middle of the box. Use it nevertheless?",
            "--accept-map",
        )
    return rotations


def _answers(params: PrepParams, own: Volume) -> Answers:
    return Answers(
        project_dir=params.project_dir,
        pixel_size=params.pixel_size,
        voltage=params.voltage,
        spherical_aberration=params.spherical_aberration,
        amplitude_contrast=params.amplitude_contrast,
        defocus_unit=params.defocus_unit,
        passthrough=params.passthrough,
        use_class=params.use_class,
        optics_groups=_numbers(params.optics_groups),
        map_grid=(len(own.data), own.pixel_size),
    )


def _numbers(text: str) -> tuple[int, ...]:
    words = re.split(r"[\s,;]+", text.strip(" ,;"))
    if not all(word.isdecimal() for word in words if word):
        raise InputError(f'optics_groups = "{text}": numbers of optics groups are needed, such as 1,3.')
    return tuple(int(word) for word in words if word)


def _mask(params: PrepParams, own: Volume, volume: Volume) -> Floats:
    if params.mask is not None:
        return read_mask(params.mask, volume, own, resample=params.resample_map, accept=params.accept_map)
    mask = automatic_mask(
        volume.data,
        volume.pixel_size,
        lowpass=params.mask_lowpass,
        threshold=params.mask_threshold,
        dilate=params.mask_dilate,
        pad=params.mask_pad,
    )
    share = 100 * float((mask > 0.5).mean())
    if not 0 < share < 95:
        raise InputError(
            f"{params.map}: the automatic mask fills {share:.1f} % of the box. "
            "Give a mask (--mask) or another threshold (--mask-threshold)."
        )
    return mask
