"""RELION's predicted images and ours, from one star file and one map.

`relion_project` has no magnification matrix in its projections and no odd phase; the whole forward model is that of
`relion_particle_subtract`, which takes the projection of everything that a mask does not keep away from the images.
"""

import re
import warnings

import mrcfile
import numpy as np
import pytest
import torch

from napari_flex3d.images import Frame, Recorded
from napari_flex3d.io.errors import InputWarning
from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.table import Answers
from napari_flex3d.ops.fourier import irfft2
from napari_flex3d.ops.projection import place, project, rigid_body
from napari_flex3d.particles import Optics
from tests.conftest import write_mrc
from tests.relion.conftest import BOX, PIXEL, tables, write

AGREE = 0.9999
"""Least correlation over all images; the issue asks for 0.999."""

OF_PARTICLE = {
    "phase plate": {"rlnPhaseShift": 60.0},
    "envelope": {"rlnCtfBfactor": 80.0, "rlnCtfScalefactor": 0.7},
}
OF_GROUP = {
    "magnification": {"rlnMagMat00": 1.02, "rlnMagMat01": 0.013, "rlnMagMat10": 0.004, "rlnMagMat11": 0.97},
    "beam tilt": {"rlnBeamTiltX": 6.0, "rlnBeamTiltY": -9.0},
    "odd aberrations": {"rlnOddZernike": "[3.1,-2.2,60,-35,90,25]"},
    "even aberrations": {"rlnEvenZernike": "[0.3,12,-9,18,120,200,-300,240,90]"},
    "premultiplied": {"rlnCtfDataAreCtfPremultiplied": 1},
}


def changed(count, name):
    """Tables of a case; "groups" has two optics groups with all of the above, each with its own values."""
    star = tables(count)
    optics, particles = star["optics"], star["particles"]
    particles |= {label: [value] * count for label, value in OF_PARTICLE.get(name, {}).items()}
    optics |= {label: [value] for label, value in OF_GROUP.get(name, {}).items()}
    if name == "groups":
        optics |= {label: 2 * values for label, values in optics.items()}
        optics |= {"rlnOpticsGroup": [7, 3], "rlnOpticsGroupName": ["a", "b"]}
        optics |= {"rlnVoltage": [300.0, 200.0], "rlnSphericalAberration": [2.7, 1.4]}
        optics |= {"rlnAmplitudeContrast": [0.1, 0.07]}
        optics |= {"rlnMagMat00": [1.02, 0.98], "rlnMagMat01": [0.013, -0.02]}
        optics |= {"rlnMagMat10": [0.004, 0.0], "rlnMagMat11": [0.97, 1.01]}
        optics |= {"rlnBeamTiltX": [6.0, -4.0], "rlnBeamTiltY": [-9.0, 2.0]}
        # next to a beam tilt RELION writes zero for the two terms that are a tilt's (and 3.1 takes them as zero)
        optics |= {"rlnOddZernike": ["[3.1,-2.2,60,0,0,25]", "[1,2,-50,0,0,40]"]}
        optics |= {"rlnEvenZernike": ["[0.3,12,-9,18]", "[-0.2,5,20,-12]"]}
        particles["rlnOpticsGroup"] = [3 if i % 3 else 7 for i in range(count)]
        particles |= {"rlnPhaseShift": [30.0 + i for i in range(count)], "rlnCtfBfactor": [40.0] * count}
    return star


def ours(path, density):
    """Transfer times projection of every particle, (N, n, n), by our reader, optics and kernel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        table = read_particles(path, check=False)
    optics, rows = Optics(table, BOX, PIXEL), np.arange(len(table))
    z, y, x = np.nonzero(density > 1e-6 * density.max())
    points = (np.stack([x, y, z], axis=-1) - BOX // 2) * PIXEL
    body = rigid_body(torch.from_numpy(points.astype(np.float32)))
    values = torch.from_numpy(density[z, y, x])[body.order]
    images = project(values, place(optics.rotation(rows), body.vertices[None], PIXEL), body, BOX, 2.0)
    return irfft2(optics.transfer(rows) * images).double().numpy()


def projected(relion, folder, path):
    """CTF times projection by relion_project."""
    relion("relion_project", folder, "--i", "map.mrc", "--ang", path.name, "--ctf", "--o", "projected")
    return stack(folder / "projected.mrcs")


def subtracted(relion, folder, path, count):
    """What relion_particle_subtract takes away from images that hold weak noise, in the order of the file."""
    noise = np.random.default_rng(0).normal(0, 1e-3, (count, BOX, BOX)).astype(np.float32)
    write_mrc(folder / "stack.mrcs", noise, PIXEL, stack=True)
    written, stacks = left_over(relion, folder, path)
    origin = [int(name.partition("@")[0]) - 1 for name in written.columns["rlnImageOriginalName"]]
    images = np.empty_like(noise, dtype=np.float64)
    for row, (number, image) in enumerate(zip(written.stack, written.image, strict=True)):
        images[origin[row]] = noise[origin[row]] - stacks[number][image]
    return images


def left_over(relion, folder, path):
    """The table and the stacks that relion_particle_subtract writes when nothing is to be kept."""
    write_mrc(folder / "nothing.mrc", np.zeros((BOX,) * 3, np.float32), PIXEL)
    refine = (
        "--iter 1 --skip_align --ctf --particle_diameter 120 --K 1 --dont_check_norm --firstiter_cc --o ./run"
    )
    relion("relion_refine", folder, "--i", path.name, "--ref", "map.mrc", *refine.split())
    # before the first iteration RELION has no sampling file, and its map stands at zero resolution
    (folder / "run_it001_sampling.star").rename(folder / "run_it000_sampling.star")
    model = folder / "run_it000_model.star"
    model.write_text(re.sub(r"_rlnCurrentImageSize +0", f"_rlnCurrentImageSize {BOX}", model.read_text()))
    subtract = "--i ./run_it000_optimiser.star --mask nothing.mrc --o subtracted/"
    relion("relion_particle_subtract", folder, "--data", path.name, *subtract.split())
    written = read_particles(folder / "subtracted" / "particles_subtracted.star", check=False)
    return written, [stack(folder / name) for name in written.stacks]


def stack(path):
    with mrcfile.open(path) as file:
        return np.asarray(file.data, dtype=np.float64)


def correlations(a, b):
    a, b = (i - i.mean((1, 2), keepdims=True) for i in (a, b))
    return (a * b).sum((1, 2)) / np.sqrt((a**2).sum((1, 2)) * (b**2).sum((1, 2)))


def scale(a, b):
    """Factor that brings images a to images b."""
    a, b = (i - i.mean((1, 2), keepdims=True) for i in (a, b))
    return (a * b).sum() / (a * a).sum()


def check_agreement(program, name, mine, theirs):
    least, factor = correlations(mine, theirs).min(), scale(mine, theirs)
    print(f"{program}, {name}: least correlation {least:.6f}, scale {factor:.5f}")  # shown by pytest -s
    assert least > AGREE
    assert abs(factor - 1) < 1e-3


@pytest.mark.parametrize("name", ["plain", "phase plate", "envelope", "even aberrations"])
def test_relion_project_makes_our_images(relion, tmp_path, density, name):
    path = write(tmp_path, density, changed(200, name))
    mine = ours(path, density)
    check_agreement("relion_project", name, mine, projected(relion, tmp_path, path))


@pytest.mark.parametrize("name", ["plain", *OF_PARTICLE, *OF_GROUP, "groups"])
def test_relion_particle_subtract_predicts_our_images(relion, tmp_path, density, name):
    star = changed(60, name)
    star["particles"] |= {"rlnClassNumber": [1] * 60, "rlnGroupNumber": [1] * 60}
    path = write(tmp_path, density, star)
    mine = ours(path, density)
    check_agreement("relion_particle_subtract", name, mine, subtracted(relion, tmp_path, path, 60))


@pytest.mark.parametrize("name", [*OF_PARTICLE, *OF_GROUP, "groups"])
def test_the_cases_differ(tmp_path, density, name):
    """Each of them changes the images by more than the agreement above allows."""
    images = [ours(write(tmp_path, density, changed(60, case)), density) for case in ("plain", name)]
    assert correlations(*images).mean() < 0.9995 or abs(scale(*images) - 1) > 0.1


def test_groups_of_other_pixels_and_boxes(relion, tmp_path, density):
    """RELION's images of each group, read by us and brought to one grid, are our projections on that grid."""
    star = changed(60, "groups")
    sizes = {7: (64, 2.0), 3: (52, 2.5)}
    for label in (
        "rlnDefocusU",
        "rlnDefocusV",
    ):  # rings that leave the field come back in another place on another box
        star["particles"][label] = [0.3 * value for value in star["particles"][label]]
    star["optics"] |= {"rlnImageSize": [64, 52], "rlnImagePixelSize": [2.0, 2.5]}
    groups = np.array(star["particles"]["rlnOpticsGroup"])
    number = np.array([np.count_nonzero(groups[:i] == g) + 1 for i, g in enumerate(groups)])
    names = [f"{n:06d}@stack{g}.mrcs" for n, g in zip(number, groups, strict=True)]
    star["particles"] |= {"rlnClassNumber": [1] * 60, "rlnGroupNumber": [1] * 60, "rlnImageName": names}
    path = write(tmp_path, density, star)
    noise = np.random.default_rng(0)
    for group, (box, pixel) in sizes.items():
        faint = noise.normal(0, 1e-5, (np.count_nonzero(groups == group), box, box)).astype(np.float32)
        write_mrc(tmp_path / f"stack{group}.mrcs", faint, pixel, stack=True)
    written, stacks = left_over(relion, tmp_path, path)
    origin = written.columns["rlnImageOriginalName"]
    for group, (box, pixel) in sizes.items():
        images = np.empty((np.count_nonzero(groups == group), box, box), np.float32)
        for row, name in enumerate(origin):
            place_, _, file = name.partition("@")
            if file == f"stack{group}.mrcs":
                images[int(place_) - 1] = -stacks[written.stack[row]][written.image[row]]
        write_mrc(tmp_path / f"stack{group}.mrcs", images, pixel, stack=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        table = read_particles(path, Answers(map_grid=(BOX, PIXEL)))
    assert (table.box_size, table.pixel_size) == (BOX, PIXEL)
    images, _ = Recorded(table, Frame(BOX, BOX, BOX, PIXEL, radius=28)).take(np.arange(60))
    agreement = correlations(ours(path, density), images.double().numpy())
    for group in sizes:
        print(f"group of {sizes[group]}: least correlation {agreement[groups == group].min():.6f}")
    assert agreement.min() > 0.999
