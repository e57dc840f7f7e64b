"""What is written for ChimeraX, the outline of a split mesh, and advice about micelles."""

from dataclasses import replace

import mrcfile
import numpy as np
from scipy.ndimage import gaussian_filter

from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.io.segments import Segments
from napari_flex3d.mesh.draft import Ground, draft
from napari_flex3d.mesh.export import write_for_chimerax, write_for_cryosparc
from napari_flex3d.mesh.outline import outline
from napari_flex3d.mesh.params import MeshParams
from napari_flex3d.ops.mask import automatic_mask

N, APIX, ORIGIN = 32, 2.5, (100.0, -20.0, 7.0)


def halves(connections, density=None):
    mask = np.zeros((N, N, N), np.float32)
    mask[10:22, 10:22, 4:28] = 1
    ground = Ground(Volume(mask if density is None else density, APIX, ORIGIN), mask)
    labels = np.where(mask > 0, np.arange(N) // 16, -1).astype(np.int32)
    params = MeshParams(prep="x", cells=8, connections=connections)
    return ground, draft(ground, params, Segments(labels, (0, 1))).built


def test_split_borders_are_told_from_the_outside():
    _, joined = halves("0>1")
    _, apart = halves("none")
    assert not outline(joined.mesh).is_split.any()
    seen = outline(apart.mesh)
    ends = apart.mesh.vertices[seen.edges]
    on_border = (np.abs(ends[:, :, 0]) < 1e-3).all(1)  # the halves meet at x = 0
    assert on_border[seen.is_split].all()
    assert seen.is_split.sum() > 0.95 * on_border.sum()  # some lie at its rim, on one side only
    sides = [
        {
            tuple(map(tuple, np.round(np.sort(line, axis=0), 2)))
            for line in ends[seen.is_split & (seen.segment == i)]
        }
        for i in (0, 1)
    ]
    assert sides[0] == sides[1]


def test_chimerax_gets_lines_and_labels_in_the_frame_of_the_map(tmp_path):
    ground, built = halves("none")
    write_for_chimerax(tmp_path, built, ground, tmp_path / "J1-prep" / "map.mrc")
    lines = (tmp_path / "mesh.bild").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {".comment", ".color", ".move", ".draw"}
    assert sum(line.startswith(".color") for line in lines) == 2
    drawn = np.array([line.split()[1:] for line in lines if line.startswith((".move", ".draw"))], float)
    centre = np.array(ORIGIN) + N // 2 * APIX
    for axis in range(3):
        low, high = drawn[:, axis].min() - centre[axis], drawn[:, axis].max() - centre[axis]
        assert (low, high) == (built.mesh.vertices[:, axis].min(), built.mesh.vertices[:, axis].max())
    with mrcfile.open(tmp_path / "chimerax_segments.mrc") as file:
        assert set(np.unique(file.data)) == {0, 1, 2}  # ChimeraX's 0 is none
        assert (file.data[ground.mask][:1] > 0).all()
    script = (tmp_path / "mesh.cxc").read_text().splitlines()
    assert [line for line in script if line.startswith("open")] == [
        'open "J1-prep/map.mrc"',
        'open "chimerax_segments.mrc"',
        'open "mesh.bild"',
    ]


def test_cryosparc_gets_segments_from_zero_and_their_connections(tmp_path):
    ground, built = halves("0>1")
    segment = built.mesh.segment + 7
    built = replace(built, mesh=replace(built.mesh, segment=segment), connections=[(8, 7)])
    assert write_for_cryosparc(tmp_path, built, ground) == "1>0"
    with mrcfile.open(tmp_path / "cryosparc_segments.mrc") as file:
        assert (file.data[~ground.mask] == -1).all()
        assert set(np.unique(file.data[ground.mask])) == {0, 1}
    assert (tmp_path / "cryosparc_mesh.pkl").is_file()


def membrane_protein(fine):
    """Rods through a belt of a third of their density, at 3 Å a voxel; ``fine`` is the rods' fine structure."""
    n, apix = 64, 3.0
    z, y, x = (np.mgrid[:n, :n, :n] - n // 2) * apix
    radius = np.hypot(x, y)
    rods = np.zeros((n, n, n))
    for angle in np.arange(6) * np.pi / 3:
        rods[np.hypot(x - 12 * np.cos(angle), y - 12 * np.sin(angle)) < 6] = 1
    rods = np.where((np.abs(z) < 60), rods, 0) * (1 + fine * np.sign(np.sin(z) * np.sin(x) * np.sin(y)))
    belt = (radius < 55) & (radius > 22) & (np.abs(z) < 20)
    density = gaussian_filter(rods + 0.35 * belt, 0.7).astype(np.float32)
    mask = gaussian_filter((density > 0.05).astype(float), 1) > 0.1
    return Ground(Volume(density, apix), mask.astype(np.float32)), belt


def test_a_micelle_in_one_piece_with_protein_is_pointed_out():
    ground, belt = membrane_protein(fine=0.5)
    core = ground.belt
    assert (core & belt).sum() / core.sum() > 0.9
    assert core.sum() > 0.4 * belt.sum()

    def said(labels, **params):
        made = draft(ground, MeshParams(prep="x", cells=16, **params), labels)
        return [text for text in made.warnings if "micelle" in text]

    (text,) = said(None)
    assert "and one piece with the protein of segment 0" in text
    parts = np.where(ground.mask, belt, -1).astype(np.int32)
    assert said(Segments(parts, (0, 1))) == []
    (text,) = said(Segments(parts, (0, 1)), rigid_segments="1")
    assert text.startswith("Segment 1 looks like a micelle or nanodisc and is rigid")


def test_no_micelle_is_seen_in_a_soluble_protein(fixtures):
    for name in ("emd_1832.map", "emd_1997.map"):
        density = read_map(fixtures / "map" / name)
        soft = automatic_mask(
            density.data, density.pixel_size, lowpass=20.0, threshold="auto", dilate=8.0, pad=6.0
        )
        assert not Ground(density, soft).belt.any(), name
