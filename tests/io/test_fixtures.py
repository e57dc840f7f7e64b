"""Every real file of other programs: read as a person's command would read it, or refused for the right reason."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.mrc import open_stack, read_map
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.seg import read_seg
from napari_flex3d.io.segments import read_segments
from napari_flex3d.io.table import Answers

Check = Callable[[Path, Path], None]
"""Looks at a file; is also given the folder of all of them."""


def particles(count: int, *, warns: str | None = None, missing: str | None = None, **answers: float) -> Check:
    """A table of so many particles; with its images, or saying which stacks are missing."""

    def check(path: Path, folder: Path) -> None:
        said = Answers(project_dir=folder / "stack", **answers)
        assert len(read_any_particles(path, said, check=False)) == count
        if missing:
            with pytest.raises(InputError, match=missing) as error:
                read_any_particles(path, said)
            assert "--project-dir" in str(error.value)
            return
        with pytest.warns(InputWarning, match=warns) if warns else nullcontext():
            table = read_any_particles(path, said)
        assert all(stack.is_file() for stack in table.stacks)
        assert np.allclose(np.linalg.det(table.rotation), 1)

    return check


def refused(why: str, flag: str | None = None) -> Check:
    """Particles that cannot be used, or leave a question that a flag answers."""

    def check(path: Path, folder: Path) -> None:
        with pytest.raises(Question if flag else InputError, match=why) as error:
            read_any_particles(path, Answers(project_dir=folder / "stack"))
        assert str(path) in str(error.value)
        assert flag is None or error.value.flag == flag

    return check


def a_map(box: int, voxel: float, corner: tuple[float, float, float]) -> Check:
    """A map of so many voxels a side, its voxel and where its corner lies, Å."""

    def check(path: Path, folder: Path) -> None:
        volume = read_map(path)
        assert volume.data.shape == (box,) * 3
        assert volume.pixel_size == pytest.approx(voxel)
        assert volume.origin == pytest.approx(corner)

    return check


def no_map(why: str) -> Check:
    def check(path: Path, folder: Path) -> None:
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{why}"):
            read_map(path)

    return check


def stack(count: int, box: int, kind: str = "f4") -> Check:
    def check(path: Path, folder: Path) -> None:
        images = open_stack(path)
        assert images.shape == (count, box, box)
        assert images.dtype == np.dtype(kind)
        assert np.isfinite(images[-1]).all()

    return check


def segments(groups: int, *, warns: str | None = None) -> Check:
    """So many groups of regions on the map of EMD-1832; a segmentation of another map says so."""

    def check(path: Path, folder: Path) -> None:
        volume = read_map(folder / "map" / "emd_1832.map")
        with pytest.warns(InputWarning, match=warns) if warns else nullcontext():
            found = read_segments(path, volume)
        assert found.labels.shape == volume.data.shape
        assert len(found.ids) == groups == len(np.unique(found.labels[found.labels >= 0]))

    return check


def made_on_another_map(path: Path, folder: Path) -> None:
    assert len(np.unique(read_seg(path).labels())) == 20 + 1
    with pytest.raises(InputError, match=r"6% of what it labels lies in the map .*: made on another map\?"):
        read_segments(path, read_map(folder / "map" / "emd_1832.map"))


NO_POSE = r"alignments3D/pose\. Use the particles of a 3D refinement"
CASES: dict[str, Check] = {
    "cs/cryosparc_J2_particles_exported.cs": refused(
        r"has alignments2D only\. Use the particles of a 3D ref"
    ),
    "cs/cryosparc_P12_J24_001_particles.cs": particles(
        2019, missing=r"50 of 50 stacks .* first J19/extract/"
    ),
    "cs/cryosparc_tools_4k_empty_dataset.cs": refused("has no particles"),
    "cs/empiar_10076_7.cs": refused(NO_POSE),
    "derived/J24_first64_csdat.cs": particles(64, missing="2 of 2 stacks are missing, first J19/extract/"),
    "derived/J24_first64_csdat_truncated_BAD.cs": refused(
        "is cut short: column ctf/df1_A needs 258 bytes, 171 are left"
    ),
    "derived/J24_first64_npy.cs": particles(64, missing="2 of 2 stacks are missing, first J19/extract/"),
    # its passthrough file, beside it, has the stacks' names
    "derived/J24_first64_particles.cs": particles(
        64, missing="2 of 2 stacks are missing, first J19/extract/"
    ),
    "derived/J24_first64_passthrough_particles.cs": refused(NO_POSE),
    "derived/empiar_10076_1image.mrcs": stack(1, 320, "f2"),
    "derived/empiar_10076_2_float16.mrcs": stack(2, 320, "f2"),
    "map/EMD-3001.map": no_map(r"cell angles 90 x 94\.33 x 90; a map with right angles is needed"),
    "map/EMD-3197.map": a_map(20, 11.4, (-22.8, 0, 0)),
    "map/EMD-3197.map.bz2": a_map(20, 11.4, (-22.8, 0, 0)),
    "map/emd_1832.map": a_map(64, 5.7, (-182.4, -182.4, -182.4)),
    "map/emd_1997.map": a_map(100, 2.02, (-101, -101, -101)),
    "map/emd_3197.map.gz": a_map(20, 11.4, (-22.8, 0, 0)),
    "map/emd_5625.map": a_map(56, 4.23, (-118.44, -118.44, -118.44)),
    "seg/emd_1014.seg": made_on_another_map,
    "seg/emd_1181.seg": segments(15, warns="voxels of 1.4 Å at .* each voxel of the map takes the nearest"),
    "seg/emd_1832.seg": segments(6),
    "seg/sfftk_cropped_test_data.seg": segments(1, warns="voxels of 2.7 Å at .8.1, -18.9, -5.4. Å"),
    "stack/ay19102021_L3_position6_ribo_it09_bin8_1.82A.mrcs": stack(220, 64),
    "stack/empiar_10076_7.mrc": stack(7, 320),
    "stack/relion31.mrcs": stack(5, 256),
    "star/FinalRefinement-OriginalParticles-PfCRT.star": refused(
        "has no rlnAmplitudeContrast; RELION would assume 0", "--amplitude-contrast"
    ),
    "star/aspire_sample_relion_data.star": particles(
        17, missing="1 of 1 stacks are missing, first sample.mrcs"
    ),
    "star/empiar_10076_7.star": refused("has no rlnAngleRot/Tilt/Psi. A finished 3D refinement is needed"),
    "star/one_loop.star": refused(
        r'row 1: "F:/WM5984.*" has no "index@stack"; subtomograms are not supported'
    ),
    "star/relion31.6opticsgroups.star": particles(
        139, missing="139 of 139 stacks are missing, first Polish/job520/Micrographs/0003_shiny.mrcs"
    ),
    "star/relion31.star": particles(5),
    "star/relion31.v2.star": particles(5),
    "star/relion5.star": particles(17, missing="2 of 2 stacks are missing, first toy_images_a.mrcs"),
    "star/rln3.1_data_style.star": refused(r"has tables block_1, block_2, block_3, none with rlnImageName"),
    "star/sta_testing_bin8.star": particles(219, warns="has no rlnOriginXAngst/YAngst; all shifts are taken"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_real_file_is_read_or_refused(fixtures, name):
    CASES[name](fixtures / name, fixtures)


def test_every_file_has_its_case(fixtures):
    files = {str(p.relative_to(fixtures)) for p in fixtures.rglob("*") if p.is_file()}
    assert files - {"SOURCES.md"} == set(CASES)


def test_the_question_of_a_real_file_can_be_answered(fixtures):
    check = particles(5, missing="stacks are missing", amplitude_contrast=0.1)
    check(fixtures / "star" / "FinalRefinement-OriginalParticles-PfCRT.star", fixtures)
