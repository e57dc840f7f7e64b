"""Parameters of prep."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from napari_flex3d.io.cs.container import field_names, is_cs
from napari_flex3d.io.cs.partners import find_partners
from napari_flex3d.io.errors import InputError
from napari_flex3d.params import REQUIRED, AutoFloat, AutoInt, Params, param


@dataclass(frozen=True, kw_only=True)
class PrepParams(Params):
    """Parameters of prep."""

    particles: Path = param(
        REQUIRED,
        "Particles with poses and CTF of a finished refinement.",
        positional=True,
        path="file",
        suffixes=(".star", ".cs"),
    )
    map: Path = param(
        REQUIRED,
        "Consensus map of the same refinement.",
        path="file",
        suffixes=(".mrc", ".map", ".ccp4", ".gz"),
    )
    mask: Path | None = param(
        None, "Solvent mask; made from the map when not given.", path="file", suffixes=(".mrc", ".map", ".gz")
    )
    project_dir: Path | None = param(
        None,
        "Folder that image paths in the particle file start from; looked for when not given.",
        path="folder",
    )
    passthrough: tuple[Path, ...] = param(
        (),
        "CryoSPARC's passthrough files of the particles; the one beside them when not given.",
        path="file",
        suffixes=(".cs",),
    )
    use_class: int | None = param(
        None,
        "Class whose particles and poses are used, from 0, where CryoSPARC's file has several.",
        low=0,
        high=9999,
        advanced=True,
    )
    optics_groups: str = param(
        "",
        "Optics groups whose particles are used, such as 1,3; all when not given.",
        advanced=True,
    )
    crop_box: int | None = param(
        None,
        "Box for the final reconstruction, cut from the middle of the images; the full box when not given.",
        unit="px",
        low=16,
        high=2048,
        cryosparc="box_size_pix",
    )
    train_box: AutoInt = param(
        "auto",
        "Box for training, by down-sampling; auto is 128 or the crop box if that is smaller.",
        unit="px",
        low=16,
        high=1024,
        cryosparc="bin_size_pix",
    )
    max_particles: int | None = param(
        None,
        "Use so many particles, drawn at random; all when not given.",
        low=1,
        cryosparc="keep_num_particles",
    )
    min_scale: float | None = param(
        None,
        "Leave out particles whose contrast scale is smaller.",
        low=0,
        high=10,
        step=0.01,
        cryosparc="alpha_min",
        advanced=True,
    )
    expand_symmetry: str = param(
        "C1",
        "Point group of the refinement, Cn or Dn: every particle is used once for each of its subunits, so that what "
        "one subunit does by itself is seen. Images are stored once.",
    )
    sign: Literal["auto", "bright", "dark"] = param(
        "auto",
        "Whether particles are brighter or darker than their surroundings; auto measures it. Where the particle "
        "file gives images of both kinds, it is about images that are turned as that file says.",
    )
    flip_hand: bool = param(
        False, "Mirror map and mask, where the map is the mirror image of what the poses belong to."
    )
    negate_shifts: bool = param(False, "Take shifts with the other sign.", advanced=True)
    invert_rotations: bool = param(False, "Take the inverse of every rotation.", advanced=True)
    ignore_check: bool = param(
        False, "Use particles and map as read although the check says that they do not fit.", advanced=True
    )
    seed: int = param(
        0,
        "Start of every random choice: particles drawn, half sets, check.",
        low=0,
        high=2**31 - 1,
        advanced=True,
    )
    mask_lowpass: float = param(
        10.0,
        "Filter the map to this resolution before making a mask.",
        unit="Å",
        low=1,
        high=200,
        step=0.1,
        cryosparc="mask_in_lowpass_A",
        advanced=True,
    )
    mask_threshold: AutoFloat = param(
        "auto",
        "Density of the filtered map above which it is protein.",
        step=0.0001,
        cryosparc="mask_in_threshold_level",
        advanced=True,
    )
    mask_dilate: float = param(
        2.0,
        "How far the mask reaches beyond that.",
        unit="Å",
        low=0,
        high=100,
        step=0.1,
        cryosparc="mask_dilate_A",
        advanced=True,
    )
    mask_pad: float = param(
        5.0,
        "Width of the mask's soft edge.",
        unit="Å",
        low=0,
        high=100,
        step=0.1,
        cryosparc="mask_pad_A",
        advanced=True,
    )
    pixel_size: float | None = param(
        None,
        "Pixel size of the images, where the particle file lacks it or is wrong.",
        unit="Å",
        low=0.1,
        high=100,
        step=0.0001,
        advanced=True,
    )
    voltage: float | None = param(
        None,
        "Accelerating voltage, where the particle file lacks it.",
        unit="kV",
        low=10,
        high=2000,
        step=1,
        advanced=True,
    )
    spherical_aberration: float | None = param(
        None,
        "Spherical aberration, where the particle file lacks it.",
        unit="mm",
        low=0,
        high=20,
        step=0.01,
        advanced=True,
    )
    amplitude_contrast: float | None = param(
        None, "Amplitude contrast, where the particle file lacks it.", low=0, high=1, step=0.01, advanced=True
    )
    defocus_unit: Literal["auto", "angstrom", "nanometre", "micrometre"] = param(
        "auto",
        "Unit of the defocus columns; auto takes angstrom and asks when that makes no sense.",
        advanced=True,
    )
    map_pixel_size: float | None = param(
        None,
        "Pixel size of the map, where its header is wrong.",
        unit="Å",
        low=0.1,
        high=100,
        step=0.0001,
        advanced=True,
    )
    resample_map: bool = param(
        False, "Bring a map or mask of another box or pixel size onto the particles' grid.", advanced=True
    )
    accept_map: bool = param(
        False,
        "Use a map although it looks like a stack (it is padded to a cube), like a half-map, or not symmetric.",
        advanced=True,
    )

    def completed(self) -> Self:
        """With CryoSPARC's passthrough files that lie beside the particle file and have what it lacks."""
        if self.passthrough or not is_cs(self.particles):
            return self
        try:
            found = find_partners(self.particles, field_names(self.particles))
        except InputError:
            return self  # the reader will say what is wrong
        return replace(self, passthrough=tuple(found))
