import io
import pickle
import struct
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.meshfile import (
    Calibration,
    MeshArrays,
    read_mesh_file,
    read_mesh_npz,
    read_mesh_pickle,
    write_mesh_pickle,
)
from napari_flex3d.io.mrc import Volume, write_map
from napari_flex3d.mesh import MeshParams
from napari_flex3d.mesh import mesh as make_mesh

BOX, PIXEL = 32, 1.7


@pytest.fixture(scope="module")
def mesh():
    """A lattice of 5 x 5 x 5 cubes of 5.3 voxels, each cut into five tetrahedra; every voxel inside knows its cell."""
    at = np.stack(np.meshgrid(*[np.arange(6)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vertices = (at * 5.3 - 13.1) * PIXEL
    corner = np.array(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]
    )
    even = np.array([[0, 1, 2, 4], [3, 1, 2, 7], [5, 1, 4, 7], [6, 2, 4, 7], [1, 2, 4, 7]])
    cells = []
    for cube in np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 3):
        corners = corner if cube.sum() % 2 == 0 else corner * [-1, 1, 1] + [1, 0, 0]
        cells.append(((cube + corners) @ [36, 6, 1])[even])
    cells = np.concatenate(cells).astype(np.int32)
    left = np.linalg.det(vertices[cells[:, 1:]] - vertices[cells[:, :1]]) < 0
    cells[left] = cells[left][:, [0, 1, 3, 2]]
    z, y, x = np.indices((BOX,) * 3)
    points = (np.stack([x, y, z], -1).reshape(-1, 3) - BOX // 2) * PIXEL
    index = np.full(BOX**3, -1, np.int32)
    for number, corners in enumerate(vertices[cells]):
        inner = (points - corners[0]) @ np.linalg.inv(corners[1:] - corners[0])
        index[(inner >= 0).all(1) & (inner.sum(1) <= 1)] = number
    radius = np.linalg.norm(points, axis=1)
    index[radius > 12 * PIXEL] = -1
    random = np.random.default_rng(0)
    return MeshArrays(
        vertices.astype(np.float32),
        cells,
        random.uniform(0.5, 1, len(cells)).astype(np.float32),
        random.integers(0, 3, len(cells)).astype(np.int32),
        index.reshape((BOX,) * 3),
    )


@pytest.fixture
def volume():
    return Volume(np.zeros((BOX,) * 3, np.float32), PIXEL)


@pytest.fixture
def held(mesh):
    return {
        "tm_points": mesh.vertices,
        "tm_cells": mesh.cells,
        "tm_rweights": mesh.rigidity,
        "tm_segmask": mesh.segment,
        "tm_tetraidx_map": mesh.cell_index,
        "N": BOX,
        "psize_A": PIXEL,
        "version": 1,
    }


def write_npz(path, held):
    np.savez_compressed(path, **held)
    return path


def write_pickle(path, held, protocol=4):
    path.write_bytes(pickle.dumps(held, protocol))
    return path


def in_voxels(held):
    """The same mesh as CryoSPARC might write it: points in voxels, z y x."""
    return held | {"tm_points": held["tm_points"][:, ::-1] / PIXEL}


def same(found, mesh):
    np.testing.assert_allclose(found.vertices, mesh.vertices, atol=1e-4)
    for name in ("cells", "rigidity", "segment", "cell_index"):
        np.testing.assert_array_equal(getattr(found, name), getattr(mesh, name))


def test_an_npz_comes_back(tmp_path, mesh, held, volume):
    same(read_mesh_file(write_npz(tmp_path / "a.npz", held), volume), mesh)


def test_segments_and_the_map_of_voxels_may_be_left_out(tmp_path, mesh, held, volume):
    del held["tm_segmask"], held["tm_tetraidx_map"], held["N"], held["psize_A"]
    found = read_mesh_file(write_npz(tmp_path / "a.npz", held), volume)
    assert found.cell_index is None
    assert not found.segment.any()
    np.testing.assert_array_equal(found.vertices, mesh.vertices)


def test_cells_get_positive_volume_and_unused_vertices_go(tmp_path, mesh, held, volume):
    held["tm_cells"] = mesh.cells[:, [1, 0, 2, 3]].copy()
    held["tm_points"] = np.concatenate([[[3, 3, 3]], mesh.vertices])
    held["tm_cells"] += 1
    with pytest.warns(InputWarning, match="1 vertices belong to no cell"):
        found = read_mesh_file(write_npz(tmp_path / "a.npz", held), volume)
    corners = found.vertices[found.cells].astype(float)
    assert (np.linalg.det(corners[:, 1:] - corners[:, :1]) > 0).all()
    np.testing.assert_array_equal(found.vertices, mesh.vertices)
    np.testing.assert_array_equal(np.sort(found.cells, axis=1), np.sort(mesh.cells, axis=1))


def flat(cells):
    return np.concatenate([cells[:-1], cells[-1:, [0, 1, 2, 2]]])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tm_cells": lambda m: m.cells + 1}, r"bad cells \(vertex outside 0\.\.215\)"),
        ({"tm_cells": lambda m: flat(m.cells)}, r"1 bad cells \(flat\), first 624 of 625"),
        ({"tm_points": lambda m: m.vertices * [1, 1, 0]}, r"625 bad cells \(flat\)"),
        ({"tm_points": lambda m: m.vertices + 40 * (np.arange(216) == 86)[:, None]}, r"bad cells \(inverted"),
        ({"tm_cells": lambda m: np.concatenate([m.cells[:-1], m.cells[:1]])}, r"\d bad cells \(inverted"),
        (
            {"tm_cells": lambda m: m.cells.astype(float)},
            r"tm_cells is 625 x 4 of type float64; any x 4 whole numbers",
        ),
        ({"tm_points": lambda m: m.vertices[:, :2]}, r"tm_points is 216 x 2 .* any x 3 numbers are needed"),
        (
            {"tm_points": lambda m: np.where(m.vertices < 0, np.nan, m.vertices)},
            r"values of tm_points are not finite",
        ),
        ({"tm_rweights": lambda m: m.rigidity[:-1]}, r"tm_rweights is 624 .* 625 numbers are needed"),
        ({"tm_rweights": lambda m: m.rigidity - 1}, r"tm_rweights go down to -0\.\d+; they must be positive"),
        ({"tm_segmask": lambda m: m.segment + 0.5}, r"tm_segmask holds numbers that are not whole"),
        (
            {"tm_tetraidx_map": lambda m: m.cell_index + 90},
            r"tm_tetraidx_map goes from 89 to \d+; -1 to 624",
        ),
        ({"tm_tetraidx_map": lambda m: m.cell_index[1:]}, r"box 31 x 32 x 32 of tm_tetraidx_map against 32"),
        ({"N": lambda m: 40}, r"box 40 against 32 of the map"),
        ({"psize_A": lambda m: 2.0}, r"pixel size 2 Å against 1\.7 Å of the map"),
        ({"psize_A": lambda m: [1.7, 1.7]}, r"psize_A is array.*; one number is needed"),
        (
            {"tm_cells": lambda m: np.array([{}])},
            r"cannot be read as \.npz \(tm_cells holds object, not numbers\)",
        ),
    ],
)
def test_what_is_no_mesh_of_this_map_is_refused(tmp_path, mesh, held, volume, changed, message):
    held |= {name: change(mesh) for name, change in changed.items()}
    with pytest.raises(InputError, match=rf"Mesh .*a\.npz.*{message}"):
        read_mesh_file(write_npz(tmp_path / "a.npz", held), volume)


@pytest.mark.parametrize(
    "points", [lambda p: p / PIXEL, lambda p: p[:, ::-1], lambda p: p / 100, lambda p: p * 100]
)
def test_an_npz_in_another_frame_is_refused(tmp_path, held, volume, points):
    held["tm_points"] = points(held["tm_points"])
    with pytest.raises(InputError, match="must be x, y, z in Å from the box centre"):
        read_mesh_file(write_npz(tmp_path / "a.npz", held), volume)


def test_a_pixel_size_that_is_a_little_off_is_said(tmp_path, held, volume):
    held["psize_A"] = 1.706
    with pytest.warns(
        InputWarning, match=r"pixel size 1\.706 Å against 1\.7 Å of the map; the map's is used"
    ):
        read_mesh_file(write_npz(tmp_path / "a.npz", held), volume)


def test_what_is_no_archive_or_lacks_an_array_is_refused(tmp_path, held, volume):
    (tmp_path / "text.npz").write_text("PK no archive")
    with pytest.raises(InputError, match=r"text\.npz cannot be read as \.npz"):
        read_mesh_file(tmp_path / "text.npz", volume)
    del held["tm_cells"], held["tm_rweights"]
    with pytest.raises(InputError, match="has no tm_cells, tm_rweights; it holds N, psize_A"):
        read_mesh_npz(write_npz(tmp_path / "a.npz", held))
    with pytest.raises(InputError, match="no such file"):
        read_mesh_npz(tmp_path / "missing.npz")


def test_an_array_that_promises_more_than_it_holds_is_refused(tmp_path, held, volume):
    path = write_npz(tmp_path / "a.npz", held)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 3)}
    )
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, header.getvalue() if name == "tm_points.npy" else old.read(name))
    with pytest.raises(InputError, match="longer than the archive says"):
        read_mesh_file(tmp_path / "b.npz", volume)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle_is_read(tmp_path, mesh, held, volume, protocol):
    held |= {
        "mask": np.asfortranarray(mesh.cell_index >= 0),
        "segfuses": [(0, 1), (0, 2)],
        "N": np.int64(BOX),
    }
    held |= {
        "psize_A": np.float32(PIXEL),
        "map_r": None,
        "note": "made",
        "big": 2**70,
        "tm_segmask": mesh.segment[:],
    }
    same(read_mesh_file(write_pickle(tmp_path / "a.pkl", held, protocol), volume), mesh)


@pytest.mark.parametrize("columns", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("unit", [1.0, 1 / PIXEL, float(BOX), BOX / 2, 0.371])
@pytest.mark.parametrize("centre", [BOX // 2, (BOX - 1) / 2])
def test_unit_order_and_centre_are_learned_from_the_file(tmp_path, mesh, volume, columns, unit, centre):
    frame = Calibration(columns, unit, (centre,) * 3)
    path = tmp_path / "a.pkl"
    mask = mesh.cell_index >= 0
    write_mesh_pickle(path, replace(mesh, calibration=frame), mask, mask, PIXEL)
    found = read_mesh_file(path, volume)
    assert found.calibration.columns == columns
    if unit == 0.371:  # a unit that nobody would choose is known to the precision of the fit only
        assert found.calibration.scale == pytest.approx(unit, rel=0.02)
        assert np.abs(found.vertices - mesh.vertices).max() < 0.3 * PIXEL
    else:
        same(found, mesh)


def test_a_file_is_written_back_in_its_own_frame(tmp_path, held, volume):
    found = read_mesh_file(write_pickle(tmp_path / "a.pkl", in_voxels(held)), volume)
    assert found.calibration == Calibration((2, 1, 0), 1.0, (16.0, 16.0, 16.0))
    mask = found.cell_index >= 0
    write_mesh_pickle(tmp_path / "b.pkl", found, mask, mask, PIXEL)
    back = pickle.loads((tmp_path / "b.pkl").read_bytes())
    np.testing.assert_allclose(back["tm_points"], in_voxels(held)["tm_points"], atol=1e-5)


def test_a_mesh_job_gives_cryosparc_its_own_frame_back(tmp_path, held):
    (tmp_path / "prep").mkdir()
    mask = (held["tm_tetraidx_map"] >= 0).astype(np.float32)
    write_map(tmp_path / "prep" / "map.mrc", mask, pixel_size=PIXEL)
    write_map(tmp_path / "prep" / "mask.mrc", mask, pixel_size=PIXEL)
    given = write_pickle(tmp_path / "a.pkl", in_voxels(held))
    (tmp_path / "job").mkdir()
    for _ in make_mesh(MeshParams(prep=tmp_path / "prep", mesh=given), tmp_path / "job"):
        pass
    back = pickle.loads((tmp_path / "job" / "cryosparc_mesh.pkl").read_bytes())
    for name in ("tm_points", "tm_cells", "tm_rweights", "tm_tetraidx_map"):
        np.testing.assert_allclose(back[name], in_voxels(held)[name], atol=1e-5)


@pytest.mark.parametrize(
    "points",
    [
        lambda p: p * [1, 1, 1.1],
        lambda p: p * [1, 1, -1],
        lambda p: p @ np.array([[0.9, 0.1, 0], [-0.1, 0.9, 0], [0, 0, 0.9]]),
    ],
)
def test_points_that_do_not_lie_where_their_voxels_do_are_refused(tmp_path, held, volume, points):
    held["tm_points"] = points(held["tm_points"])
    said = r"Voxel index \(x; y; z\) = \[[-\d. e;]+\] of the points, residual [\d.]+ voxels"
    with pytest.raises(InputError, match=said):
        read_mesh_file(write_pickle(tmp_path / "a.pkl", held), volume)


def test_shuffled_cells_are_refused(tmp_path, held, volume):
    held["tm_cells"] = np.random.default_rng(0).permutation(held["tm_cells"])
    with pytest.raises(InputError, match="do not lie where tm_tetraidx_map has the cells"):
        read_mesh_file(write_pickle(tmp_path / "a.pkl", held), volume)


def test_too_few_voxels_to_calibrate_are_refused(tmp_path, held, volume):
    index = held["tm_tetraidx_map"]
    held["tm_tetraidx_map"] = np.where((index > 300) & (index < 306), index, -1)
    with pytest.raises(InputError, match=r"\d of 625 cells have 20 voxels; 12 are needed"):
        read_mesh_file(write_pickle(tmp_path / "a.pkl", held), volume)


def test_the_written_pickle_is_plain_and_loads_under_either_numpy(tmp_path, mesh):
    """Seen to load under NumPy 1.26 as well (measurements.md); here its bytes name nothing that NumPy 1 lacks."""
    path = tmp_path / "cryosparc_mesh.pkl"
    mask = mesh.cell_index >= 0
    write_mesh_pickle(path, mesh, mask, mask * 0.5, PIXEL)
    raw = path.read_bytes()
    assert raw[:2] == b"\x80\x02"
    assert b"numpy._core" not in raw
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in raw
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        back = pickle.loads(raw)
    assert (type(back["N"]), type(back["psize_A"]), back["version"]) == (int, float, 1)
    assert (back["N"], back["psize_A"]) == (BOX, PIXEL)
    np.testing.assert_allclose(back["tm_points"], mesh.vertices / PIXEL, atol=1e-5)
    np.testing.assert_array_equal(back["tm_tetraidx_map"], mesh.cell_index)
    assert set(back) >= {"mask", "mask_soft", "tm_cells", "tm_rweights"}


class Foreign:
    def __reduce__(self):
        return print, ("this must not run",)


def nested(opening, closing, depth=50_000):
    return b"\x80\x04" + opening * depth + closing * depth + b"."


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            pickle.dumps({"N": Foreign()}, 0),
            r"holds __builtin__\.print; not a plain mesh file\. It was not opened\.",
        ),
        (
            pickle.dumps({"N": Foreign()}, 4),
            r"holds builtins\.print; not a plain mesh file\. It was not opened\.",
        ),
        (b"(S'true'\nios\nsystem\n.", r"holds os\.system; not a plain mesh file"),
        (b"\x80\x04cnumpy\nload\n(X\x01\x00\x00\x00atR.", r"holds numpy\.load"),
        (b"\x80\x04cnumpy\nndarray\n(I99999999999\ntR.", "a call of numpy.ndarray"),
        (pickle.dumps([1, 2]), "holds a list, not the dictionary of a mesh"),
        (
            pickle.dumps({"N": 1}),
            "has no tm_points, tm_cells, tm_rweights, tm_tetraidx_map, psize_A; it holds N",
        ),
        (pickle.dumps({"N": np.array([{}])}), "an array of type O8"),
        (pickle.dumps({1: 2}), "no dictionary with names"),
        (b"", "no plain mesh file"),
        (b"\x80\x04N", "no plain mesh file"),
        (b"\x80\x04B\xff\xff\xff\x7fabc.", "no plain mesh file"),  # two billion bytes announced
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.", "no plain mesh file"),
        (b"\x80\x04Nr\xff\xff\xff\xff.", "holds a NoneType"),  # place two billion of the memory
        (nested(b"(", b"t"), "holds a tuple"),
        (nested(b"]", b"a")[:-1] + b"0.", "no plain mesh file"),
        (
            b"\x80\x04}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns.",
            "no dictionary with names",
        ),  # 2^60 to be hashed
        (b"\x80\x04]" * 150_000 + b".", "more than 200000 parts"),
        (
            b"\x80\x02X\x00\x00\x10\x00"
            + b"a" * 2**20
            + b"q\x00]("
            + b"c_codecs\nencode\nh\x00\x85R" * 4000
            + b"e.",
            "more bytes than the file has",
        ),
    ],
)
def test_a_hostile_pickle_is_refused_without_harm(tmp_path, volume, capsys, raw, message):
    (tmp_path / "a.pkl").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        read_mesh_pickle(tmp_path / "a.pkl", volume)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_pickle_that_is_cut_short_is_refused(tmp_path, held, volume, share):
    raw = pickle.dumps(in_voxels(held), 2)
    (tmp_path / "a.pkl").write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(InputError, match=r"a\.pkl is no plain mesh file, or damaged .* Copy it again"):
        read_mesh_file(tmp_path / "a.pkl", volume)
