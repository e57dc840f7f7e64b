import h5py
import numpy as np
import pytest

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.mrc import Volume, read_map
from napari_flex3d.io.seg import read_seg
from napari_flex3d.io.segments import read_segments

PIXEL, CORNER = 2.0, (-10.0, 4.0, 6.0)


def place(step=PIXEL, corner=CORNER):
    return np.column_stack([np.eye(3) * step, corner]).astype("f4")


def write_seg(
    path, mask, *, ids=(1, 2, 3, 4, 9), parents=(9, 9, 0, 0, 0), to_xyz=None, map_size=None, **attributes
):
    """A file as Segger writes it: leaves 1 to 4, of which 1 and 2 are joined to group 9."""
    with h5py.File(path, "w") as file:
        known = {"format": np.bytes_(b"segger"), "format_version": 2, "map_level": 0.5}
        if to_xyz is not None:
            known["ijk_to_xyz_transform"] = to_xyz
        if map_size is not None:
            known["map_size"] = np.array(map_size, "i4")
        for name, value in (known | attributes).items():
            if value is not None:
                file.attrs[name] = value
        file.create_dataset("mask", data=mask.astype("u4"), chunks=(1, *mask.shape[1:]), compression="gzip")
        file["region_ids"], file["parent_ids"] = np.array(ids, "i4"), np.array(parents, "i4")
        file["region_colors"] = np.linspace(0, 1, len(ids) * 4, dtype="f4").reshape(-1, 4)
        file["attributes"] = np.array([b"curvature float", b"Segment name string"])
        names = file.create_group("Segment name string")
        names.attrs["attribute_name"] = np.bytes_(b"Segment name")
        names["ids"], names["values"] = np.array([9, 3], "u4"), np.array([b"core", b"arm"])
    return path


@pytest.fixture
def mask():
    mask = np.zeros((8, 10, 12), int)
    mask[2:4, 2:5, 2:6], mask[4:6, 2:5, 2:6] = 1, 2
    mask[2:6, 5:8, 2:6], mask[2:6, 2:8, 6:9] = 3, 4
    return mask


@pytest.fixture
def volume(mask):
    return Volume(np.zeros(mask.shape, np.float32), PIXEL, CORNER)


def grouped(mask):
    return np.array([-1, 9, 9, 3, 4])[mask]


def test_groups_and_leaves_keep_the_numbers_of_the_file(tmp_path, mask, volume):
    path = write_seg(tmp_path / "a.seg", mask, to_xyz=place())
    groups, leaves = read_segments(path, volume), read_segments(path, volume, level="leaves")
    np.testing.assert_array_equal(groups.labels, grouped(mask))
    np.testing.assert_array_equal(leaves.labels, np.where(mask == 0, -1, mask))
    assert groups.ids == (3, 4, 9)
    assert leaves.ids == (1, 2, 3, 4)
    assert groups.names == {3: "arm", 9: "core"}
    assert groups.colors[9] == pytest.approx(np.linspace(0, 1, 20)[16:])
    assert groups.labels.dtype == np.int32


def test_groups_of_groups_end_at_the_top(tmp_path, mask, volume):
    count = 3000  # a chain as deep as that, the longest way first
    ids, parents = [*range(1, count)], [*range(2, count), 0]
    labels = read_segments(
        write_seg(tmp_path / "a.seg", mask, ids=ids, parents=parents, to_xyz=place()), volume
    ).labels
    np.testing.assert_array_equal(labels, np.where(mask == 0, -1, count - 1))


def test_a_cropped_segmentation_is_pasted_where_it_belongs(tmp_path, mask):
    big = Volume(
        np.zeros((20, 20, 20), np.float32), PIXEL, tuple(np.array(CORNER) - PIXEL * np.array([3, 2, 5]))
    )
    found = read_segments(write_seg(tmp_path / "a.seg", mask, to_xyz=place()), big)
    expected = np.full((20, 20, 20), -1)
    expected[5:13, 2:12, 3:15] = grouped(mask)
    np.testing.assert_array_equal(found.labels, expected)


def test_a_part_of_the_map_takes_its_part_and_says_so(tmp_path, mask):
    part = Volume(np.zeros((8, 10, 8), np.float32), PIXEL, CORNER)
    with pytest.warns(InputWarning, match="% of the labelled voxels lie outside"):
        found = read_segments(write_seg(tmp_path / "a.seg", mask, to_xyz=place()), part)
    np.testing.assert_array_equal(found.labels, grouped(mask)[:, :, :8])


@pytest.mark.parametrize("own_place", [False, True])
def test_binned_labels_are_repeated(tmp_path, mask, own_place):
    """Segger's mask may be smaller by whole factors with a rest; then it writes the place of the whole map."""
    fine = Volume(np.zeros((17, 20, 25), np.float32), PIXEL, CORNER)
    to_xyz = place(PIXEL * (2 if own_place else 1))
    found = read_segments(write_seg(tmp_path / "a.seg", mask, to_xyz=to_xyz, map_size=(25, 20, 17)), fine)
    repeated = grouped(mask).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(found.labels[:16, :, :24], repeated)
    assert (found.labels[16:] == -1).all()
    assert (found.labels[..., 24:] == -1).all()


def test_another_voxel_size_takes_the_nearest_label_and_says_so(tmp_path, mask):
    coarse = Volume(np.zeros((5, 6, 7), np.float32), 3.5, CORNER)
    with pytest.warns(InputWarning, match="nearest label"):
        found = read_segments(write_seg(tmp_path / "a.seg", mask, to_xyz=place()), coarse)
    z, y, x = (np.rint(np.arange(n) * 3.5 / PIXEL).astype(int) for n in (5, 6, 7))
    inside = np.ix_(z[z < 8], y[y < 10], x[x < 12])
    part = found.labels[: len(inside[0]), : inside[1].size, : inside[2].size]
    np.testing.assert_array_equal(part, grouped(mask)[inside])


def test_a_turned_transform_is_followed(tmp_path, mask):
    """The segmentation lies turned by 90 degrees about z: its x runs along the map's y."""
    turned = np.array([[0, -PIXEL, 0, 0], [PIXEL, 0, 0, 0], [0, 0, PIXEL, 0]], "f4")
    big = Volume(np.zeros((8, 12, 10), np.float32), PIXEL, (-9 * PIXEL, 0.0, 0.0))
    with pytest.warns(InputWarning, match="nearest label"):
        found = read_segments(write_seg(tmp_path / "a.seg", mask, to_xyz=turned), big)
    np.testing.assert_array_equal(found.labels, grouped(mask)[:, ::-1].transpose(0, 2, 1))


def test_another_map_is_refused(tmp_path, mask, volume):
    path = write_seg(tmp_path / "a.seg", mask, to_xyz=place(corner=(200.0, 0.0, 0.0)))
    with pytest.raises(InputError, match=r"a\.seg: segmentation of 12 x 10 x 8 .* 0% .* made on another map"):
        read_segments(path, volume)


def test_without_a_transform_only_the_same_grid_is_read(tmp_path, mask, volume):
    path = write_seg(tmp_path / "a.seg", mask)
    np.testing.assert_array_equal(read_segments(path, volume).labels, grouped(mask))
    with pytest.raises(InputError, match=r"12 x 10 x 8 voxels, the map has 9 x 9 x 9"):
        read_segments(path, Volume(np.zeros((9, 9, 9), np.float32), PIXEL))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": np.bytes_(b"other")}, r'no Segger file \(format "other", version 2; segger 2 needed\)'),
        ({"format": None}, r'no Segger file \(format "", version 2'),
        ({"format_version": 1}, r"version 1; segger 2 needed"),
        ({"parents": (9, 9, 7, 0, 0)}, r"region 3 has parent 7, which does not exist"),
        ({"parents": (9, 9, 4, 3, 0)}, r"region [34] has parent [34] and is its own ancestor"),
        ({"parents": (9, 9, 0, 0, 9)}, r"region 9 has parent 9 and is its own ancestor"),
        ({"ids": (1, 2, 3, 5, 9)}, r"voxels of region 4, which region_ids does not name"),
        ({"ids": (1, 2, 3, 3, 9)}, r"5 region_ids, 5 parent_ids; each region once"),
        ({"ids": (0, 2, 3, 4, 9)}, r"regions are numbered 0 to 9"),
        ({"parents": (9, 9, 0)}, r"5 region_ids, 3 parent_ids"),
        ({"to_xyz": np.full((3, 4), np.nan, "f4")}, r"no \(3, 4\) matrix of finite numbers"),
        ({"to_xyz": np.zeros((3, 4), "f4")}, r"lets voxels coincide"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, mask, volume, changed, message):
    path = write_seg(tmp_path / "a.seg", mask, **({"to_xyz": place()} | changed))
    with pytest.raises(InputError, match=message):
        read_segments(path, volume)


def test_a_file_that_is_no_hdf5_or_lacks_an_array_is_refused(tmp_path, mask, volume):
    (tmp_path / "text.seg").write_text("not a segmentation")
    with pytest.raises(InputError, match=r"text\.seg is no Segger file"):
        read_segments(tmp_path / "text.seg", volume)
    path = write_seg(tmp_path / "a.seg", mask)
    with h5py.File(path, "a") as file:
        del file["parent_ids"]
    with pytest.raises(InputError, match=r"has no parent_ids; it holds .*mask"):
        read_segments(path, volume)


def test_arrays_that_are_not_in_the_file_are_refused(tmp_path, mask, volume):
    """No other file is opened, no memory taken for voxels that were never written."""
    path = write_seg(tmp_path / "a.seg", mask)
    with h5py.File(path, "a") as file:
        del file["mask"]
        file.create_dataset("mask", shape=(4000, 4000, 4000), dtype="u4", chunks=(1, 4000, 4000))
    with pytest.raises(InputError, match="4000 x 4000 x 4000 is cut short"):
        read_segments(path, volume)
    with h5py.File(path, "a") as file:
        del file["mask"]
        file["mask"] = h5py.ExternalLink("/dev/zero", "mask")
    with pytest.raises(InputError, match="has no mask"):
        read_segments(path, volume)


def test_a_name_that_is_a_pickle_is_left_alone(tmp_path, mask, volume):
    path = write_seg(tmp_path / "a.seg", mask, name=np.bytes_(b"cos\nsystem\n(S'false'\ntR."))
    with h5py.File(path, "a") as file:
        del file["Segment name string/values"]
        file["Segment name string/values"] = np.array([b"cos\nsystem\n(S'false'\ntR.", b"arm"])
    assert read_segments(path, volume).names == {3: "arm"}


def test_emd_1832_lies_exactly_on_its_map(fixtures):
    density = read_map(fixtures / "map" / "emd_1832.map")
    found = read_segments(fixtures / "seg" / "emd_1832.seg", density)
    counts = {number: int((found.labels == number).sum()) for number in (*found.ids, -1)}
    assert counts == {85: 1681, 93: 619, 97: 646, 101: 800, 103: 917, 104: 1247, -1: 256234}
    np.testing.assert_array_equal(found.labels >= 0, density.data >= np.float32(0.42))
    assert found.names[97] == "DNA replication licensing factor MCM2"
    assert set(found.colors) == set(found.ids)


@pytest.mark.parametrize(
    ("name", "box", "pixel_size", "corner", "regions"),
    [("emd_1014.seg", 256, 3.39, -430.53, 7927), ("emd_1181.seg", 192, 1.4, -134.4, 3548)],
)
def test_real_segmentations_resolve_to_groups_on_a_map_of_their_grid(
    fixtures, name, box, pixel_size, corner, regions
):
    seg = read_seg(fixtures / "seg" / name)
    assert len(seg.parents) == regions
    volume = Volume(np.zeros((box,) * 3, np.float32), pixel_size, (corner,) * 3)
    found = read_segments(seg.path, volume)
    np.testing.assert_array_equal(found.labels >= 0, seg.mask > 0)
    assert all(seg.parents[number] == 0 for number in found.ids)


def test_the_cropped_real_segmentation_is_at_its_offset(fixtures):
    seg = read_seg(fixtures / "seg" / "sfftk_cropped_test_data.seg")
    found = read_segments(seg.path, Volume(np.zeros((60,) * 3, np.float32), 2.7, (-27.0,) * 3))
    x, y, z = 10 + 3, 10 - 7, 10 - 2
    part = found.labels[z : z + 30, y : y + 27, x : x + 26]
    np.testing.assert_array_equal(part >= 0, seg.mask > 0)
    assert (found.labels >= 0).sum() == (seg.mask > 0).sum()


def test_a_crash_of_the_reading_process_is_an_error_in_words(tmp_path, mask, volume, monkeypatch):
    """Seen about once in five thousand damaged files; here the process ends itself in the same way."""
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(crash))
    with pytest.raises(InputError, match="it makes the HDF5 library crash"):
        read_segments(write_seg(tmp_path / "a.seg", mask), volume)
