"""The stage "mesh" with segments: what it writes, and what it says."""

import json
import warnings

import mrcfile
import numpy as np
import pytest

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.mrc import read_map, write_map
from napari_flex3d.mesh import MeshParams, TetMesh, mesh

N, APIX = 32, 3.0


@pytest.fixture(scope="module")
def prep(tmp_path_factory):
    """A bar along x of density 1 in a mask that is a little wider, and labels of its thirds."""
    folder = tmp_path_factory.mktemp("prep")
    bar, mask = np.zeros((N, N, N)), np.zeros((N, N, N))
    bar[11:21, 11:21, 3:29] = 1
    mask[10:22, 10:22, 2:30] = 1
    labels = np.where(bar > 0, np.searchsorted([12, 20], np.arange(N), side="right"), -1)
    for name, data in (("map", bar), ("mask", mask), ("labels", labels)):
        write_map(folder / f"{name}.mrc", data, pixel_size=APIX)
    return folder


def run(prep, out, cells=10, **params):
    """Summary and all that was said; a warning is an error unless the test expects it."""
    out.mkdir()
    steps = mesh(MeshParams(prep=prep, cells=cells, **params), out)
    said = [step.message for step in steps]
    return json.loads((out / "summary.json").read_text()), said


def test_without_segments_there_is_one(prep, tmp_path):
    summary, _ = run(prep, tmp_path / "a")
    assert [s["id"] for s in summary["segments"]] == [0]
    assert summary["components"] == 1
    assert not (tmp_path / "a" / "labels.mrc").exists()


def test_what_is_written_of_three_segments(prep, tmp_path):
    out = tmp_path / "a"
    summary, said = run(prep, out, segments=prep / "labels.mrc", connections="1>0", rigid_segments="2")
    assert {p.name for p in out.iterdir()} == {
        "mesh.npz", "segments.mrc", "labels.mrc", "mesh.vtu", "mesh.png", "summary.json",
        "cryosparc_mesh.pkl", "cryosparc_segments.mrc", "mesh.bild", "mesh.cxc", "chimerax_segments.mrc",
    }  # fmt: skip
    made = TetMesh.load(out / "mesh.npz")
    assert (made.rigidity[made.segment == 2] == 20).all()
    assert (made.rigidity[made.segment != 2] <= 1).all()
    segments, mask = mrcfile.read(out / "segments.mrc"), mrcfile.read(prep / "mask.mrc") > 0.5
    assert (segments[~mask] == -1).all()
    assert set(np.unique(segments[mask])) == {0, 1, 2}
    assert summary["components"] == 2
    assert summary["connections"] == "1>0"
    assert summary["suggested_connections"] in ("1>0, 1>2", "0>1, 1>2", "2>1, 1>0")  # from the largest
    assert summary["shared_vertices"].keys() == {"0 and 1"}
    assert summary["touching_not_joined"].keys() == {"1 and 2"}
    assert sum(summary["volume_A3"].values()) == pytest.approx(made.volumes().sum(), rel=1e-5)
    assert any("Segments 1 and 2 touch" in text and "they may slide" in text for text in said)
    assert any(text.startswith("Segment 2: ") and text.endswith("rigid") for text in said)


def test_the_mass_of_a_segment_is_that_of_its_density(prep, tmp_path):
    summary, _ = run(prep, tmp_path / "a", segments=prep / "labels.mrc")
    total = sum(s["mass_kDa"] for s in summary["segments"])
    assert total == pytest.approx(10 * 10 * 26 * APIX**3 / 1210, rel=1e-6)
    labelled = {s["id"]: s["labelled_A3"] for s in summary["segments"]}
    assert labelled == {i: 12 * 12 * n * APIX**3 for i, n in ((0, 10), (1, 8), (2, 10))}


def test_segments_given_back_make_the_same_mesh(prep, tmp_path):
    run(prep, tmp_path / "a", segments=prep / "labels.mrc", connections="0>1")
    run(prep, tmp_path / "b", segments=tmp_path / "a" / "segments.mrc", connections="0>1")
    run(prep, tmp_path / "c", segments=tmp_path / "a" / "cryosparc_segments.mrc", connections="0>1")
    first = TetMesh.load(tmp_path / "a" / "mesh.npz")
    for again in "bc":
        other = TetMesh.load(tmp_path / again / "mesh.npz")
        np.testing.assert_array_equal(other.cells, first.cells)
        np.testing.assert_array_equal(other.segment, first.segment)


def test_segger_numbers_are_kept_and_told_to_cryosparc_from_zero(prep, tmp_path):
    labels = read_map(prep / "labels.mrc")
    write_map(tmp_path / "ids.mrc", np.where(labels.data >= 0, 900 + 7 * labels.data, -1), like=labels)
    summary, _ = run(prep, tmp_path / "a", segments=tmp_path / "ids.mrc", connections="907>900, 907>914")
    assert summary["connections"] == "907>900, 907>914"
    assert summary["cryosparc_connections"] == "1>0, 1>2"
    assert set(np.unique(mrcfile.read(tmp_path / "a" / "segments.mrc"))) == {-1, 900, 907, 914}
    assert set(np.unique(mrcfile.read(tmp_path / "a" / "cryosparc_segments.mrc"))) == {-1, 0, 1, 2}


@pytest.fixture(scope="module")
def block(tmp_path_factory):
    """A block that fills its lattice cells, from which CryoSPARC's frame can be told; labels of its thirds."""
    folder = tmp_path_factory.mktemp("block")
    mask = np.zeros((64, 64, 64))
    mask[16:48, 16:48, 8:56] = 1
    labels = np.where(mask > 0, np.searchsorted([24, 40], np.arange(64), side="right"), -1)
    density = mask * (1 + 0.2 * np.random.default_rng(0).random(mask.shape))
    for name, data in (("map", density), ("mask", mask), ("labels", labels)):
        write_map(folder / f"{name}.mrc", data, pixel_size=APIX)
    return folder


@pytest.mark.parametrize("name", ["mesh.npz", "cryosparc_mesh.pkl"])
def test_a_mesh_comes_back_from_its_file(block, tmp_path, name):
    run(block, tmp_path / "a", cells=8, segments=block / "labels.mrc", connections="0>1")
    summary, _ = run(block, tmp_path / "b", mesh=tmp_path / "a" / name)
    first, again = (TetMesh.load(tmp_path / k / "mesh.npz") for k in "ab")
    np.testing.assert_allclose(again.vertices, first.vertices, atol=1e-3)
    np.testing.assert_array_equal(np.sort(again.cells), np.sort(first.cells))
    np.testing.assert_array_equal(again.segment, first.segment)
    np.testing.assert_allclose(again.rigidity, first.rigidity)
    assert summary["components"] == 2
    assert "cell_size_A" not in summary
    before, after = (np.load(tmp_path / k / "mesh.npz")["tm_tetraidx_map"] for k in "ab")
    np.testing.assert_array_equal(after, before)


def test_weights_per_segment_and_per_cell(prep, tmp_path):
    (tmp_path / "w.csv").write_text("segment,weight\n0,3.5\n2, 7\n")
    run(prep, tmp_path / "a", segments=prep / "labels.mrc", weights=tmp_path / "w.csv")
    made = TetMesh.load(tmp_path / "a" / "mesh.npz")
    assert (made.rigidity[made.segment == 0] == 3.5).all()
    assert (made.rigidity[made.segment == 1] <= 1).all()
    assert (made.rigidity[made.segment == 2] == 7).all()
    own = np.linspace(1, 2, len(made.cells), dtype=np.float32)
    np.save(tmp_path / "w.npy", own)
    np.savez(tmp_path / "w.npz", tm_rweights=own, other=1)
    for kind in ("npy", "npz"):
        run(prep, tmp_path / kind, weights=tmp_path / f"w.{kind}")
        np.testing.assert_array_equal(TetMesh.load(tmp_path / kind / "mesh.npz").rigidity, own)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("w.csv", b"segment,weight\n9,1\n", "row 2: segment 9 is not in the segmentation 0"),
        ("w.csv", b"segment,weight\n0,-1\n", "row 2: weight -1; it must be above 0"),
        ("w.csv", b"segment,weight\n0\n", "row 2: "),
        ("w.csv", b"cell,w\n0,1\n", "has the columns cell, w; segment and weight are needed"),
        ("w.csv", b"\xff\xfe\x00", "is no table"),
        ("w.npy", np.ones(3), "3 numbers of type float64, the mesh has"),
        ("w.npy", b"nothing", "cannot be read"),
        ("none.npy", None, "no such file"),
    ],
)
def test_weights_that_do_not_fit_are_refused(prep, tmp_path, name, content, why):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(InputError, match=why):
        run(prep, tmp_path / "a", weights=tmp_path / name)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"connections": "0>1"}, "there are none: give --segments"),
        ({"segments": "labels.mrc", "propose": "parts"}, "--segments and --propose both say"),
        ({"segments": "labels.mrc", "mesh": "map.mrc"}, "--mesh and --segments both say"),
        ({"segments": "labels.mrc", "rigid_segments": "0, 5"}, '"5" is not in the segmentation 0, 1, 2'),
        ({"segments": "labels.mrc", "connections": "0>2"}, 'Connection "0>2": .* do not touch'),
        ({"segments": "labels.mrc", "connections": "0>1, 1>9"}, 'Connection "1>9": 9 is not in'),
    ],
)
def test_what_contradicts_itself_is_refused(prep, tmp_path, params, why):
    given = {k: prep / v if k in ("segments", "mesh") else v for k, v in params.items()}
    with pytest.raises(InputError, match=why):
        run(prep, tmp_path / "a", **given)


def _warned(prep, tmp_path, labels, **params):
    path = tmp_path / "painted.mrc"
    write_map(path, labels, like=read_map(prep / "map.mrc"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(prep, tmp_path / "a", segments=path, **params)
    assert all(w.category is InputWarning for w in caught)
    return [str(w.message) for w in caught]


def test_advice_on_segments_that_will_not_work(prep, tmp_path):
    labels = read_map(prep / "labels.mrc").data.copy()
    labels[labels == 1] = 0
    labels[11:21, 11:21, 27:29] = 3  # a thin end of segment 2
    labels[16, 16, 16] = 4  # a single voxel
    labels[0:2] = 5  # outside the mask
    labels[11:21, 11:21, 3:5] = 2  # the other end
    said = _warned(prep, tmp_path, labels, rigid_segments="2")
    assert any(
        t.startswith("Segment 4 (1 voxels) is too small for the lattice: it owns no cell") for t in said
    )
    assert any(t == "Segment 5 has no voxel in the mask and is left out." for t in said)
    assert any(t.startswith("Segment 2: 2 pieces; the largest has 7") for t in said)
    assert any("shares" in t and "with the rigid segment 2, which will freeze it" in t for t in said)


def test_advice_on_a_segment_without_density(prep, tmp_path):
    mask = np.zeros((N, N, N))
    mask[10:22, 10:31, 2:30] = 1  # reaches far beyond the bar
    labels = np.where(mask, np.arange(N)[:, None] >= 22, -1)
    write_map(tmp_path / "mask.mrc", mask, pixel_size=APIX)
    said = _warned(prep, tmp_path, labels, mask=tmp_path / "mask.mrc")
    assert any("holds next to no density" in t for t in said)


def test_a_segment_per_chain_of_a_model(prep, tmp_path):
    import gemmi

    model = gemmi.Model(1)
    for name, xs in (("A", range(12, 48, 3)), ("B", range(48, 84, 3))):
        chain = gemmi.Chain(name)
        for number, x in enumerate(xs, 1):
            residue = gemmi.Residue()
            residue.name, residue.seqid = "ALA", gemmi.SeqId(number, " ")
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(x, 48, 48)
            residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.write_pdb(str(tmp_path / "model.pdb"))
    summary, _ = run(prep, tmp_path / "a", segments=tmp_path / "model.pdb", connections="none")
    assert [(s["id"], s["name"]) for s in summary["segments"]] == [(0, "A"), (1, "B")]
    segments = read_map(tmp_path / "a" / "segments.mrc").data
    assert (segments[16, 16, 4:14] == 0).all()
    assert (segments[16, 16, 18:28] == 1).all()
    ranges = "A:1-6; A:7-12, B:1-6; B:7-12"
    summary, _ = run(prep, tmp_path / "b", segments=tmp_path / "model.pdb", model_parts=ranges)
    assert [s["name"] for s in summary["segments"]] == ["A:1-6", "A:7-12, B:1-6", "B:7-12"]
    assert summary["suggested_connections"] == "1>0, 1>2"
    for parts, why in (("C", "is no chain of the model.*A, B"), ("A; B:90-99", 'Part "B:90-99" .* no atom')):
        with pytest.raises(InputError, match=why):
            run(prep, tmp_path / parts[0], segments=tmp_path / "model.pdb", model_parts=parts)


def _two_balls(tmp_path, apart):
    axis = np.arange(N) - N // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    density = sum(np.exp(-((x - c) ** 2 + y**2 + z**2) / 20) for c in (-apart, apart))
    write_map(tmp_path / "map.mrc", density, pixel_size=APIX)
    write_map(tmp_path / "mask.mrc", density > 0.02, pixel_size=APIX)
    return x


def test_a_watershed_parts_two_balls_where_they_meet(tmp_path):
    x = _two_balls(tmp_path, 6)
    summary, _ = run(tmp_path, tmp_path / "a", propose="watershed", propose_size=30, connections="none")
    assert [s["id"] for s in summary["segments"]] == [0, 1]
    labels = read_map(tmp_path / "a" / "labels.mrc").data
    inside = (labels >= 0) & (x != 0)
    assert len({(side, label) for side, label in zip(x[inside] > 0, labels[inside], strict=True)}) == 2
    summary, _ = run(tmp_path, tmp_path / "b", propose="watershed", propose_size=90)
    assert [s["id"] for s in summary["segments"]] == [0]  # larger than both together


def test_connected_parts_above_a_contour(tmp_path):
    _two_balls(tmp_path, 6)
    summary, _ = run(tmp_path, tmp_path / "a", propose="parts", propose_contour=0.6)
    assert [s["id"] for s in summary["segments"]] == [0, 1]
    summary, _ = run(tmp_path, tmp_path / "b", propose="parts", propose_contour=0.03)
    assert [s["id"] for s in summary["segments"]] == [0]
    with pytest.raises(InputError, match="above the contour 7"):
        run(tmp_path, tmp_path / "c", propose="parts", propose_contour=7)
