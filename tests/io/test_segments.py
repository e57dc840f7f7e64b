import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.io.segments import Segments, read_segments, write_labels
from tests.io.mutations import BINARY, damaged, outcome

PIXEL, CORNER = 2.0, (-10.0, 4.0, 6.0)


@pytest.fixture
def labels():
    labels = np.full((8, 8, 8), -1)
    labels[2:4, 2:6, 2:6], labels[4:6, 2:6, 2:6] = 0, 5
    return labels


@pytest.fixture
def volume():
    return Volume(np.zeros((8, 8, 8), np.float32), PIXEL, CORNER)


def test_with_a_minus_one_segments_count_from_0(tmp_path, labels, volume):
    write_map(tmp_path / "a.mrc", labels, like=volume)
    found = read_segments(tmp_path / "a.mrc", volume)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.ids == (0, 5)


def test_without_one_0_is_none_and_that_is_said(tmp_path, labels, volume):
    write_map(tmp_path / "a.mrc", np.maximum(labels, 0) + (labels == 0), like=volume)
    with pytest.warns(InputWarning, match="has no -1, so 0 is read as no segment"):
        found = read_segments(tmp_path / "a.mrc", volume)
    np.testing.assert_array_equal(found.labels, np.where(labels == 0, 1, labels))
    assert found.ids == (1, 5)


@pytest.mark.parametrize("value", [0.5, -2, 3e7])
def test_what_is_no_map_of_labels_is_refused(tmp_path, labels, volume, value):
    data = labels.astype(np.float32)
    data[0, 0, 0] = value
    write_map(tmp_path / "a.mrc", data, like=volume)
    with pytest.raises(
        InputError, match="a map of labels has whole numbers, -1 or 0 where there is no segment"
    ):
        read_segments(tmp_path / "a.mrc", volume)


def test_a_map_without_any_label_is_refused(tmp_path, volume):
    write_map(tmp_path / "a.mrc", np.full((8, 8, 8), -1), like=volume)
    with pytest.raises(InputError, match="no voxel belongs to a segment"):
        read_segments(tmp_path / "a.mrc", volume)


def test_the_same_box_without_an_origin_is_the_same_grid(tmp_path, labels, volume):
    """CryoSPARC drops the origin of a map."""
    write_map(tmp_path / "a.mrc", labels, pixel_size=PIXEL)
    np.testing.assert_array_equal(read_segments(tmp_path / "a.mrc", volume).labels, labels)


def test_another_box_is_put_by_pixel_size_and_origin(tmp_path, labels, volume):
    write_map(tmp_path / "a.mrc", labels, like=volume)
    big = volume.on_grid(np.zeros((12, 12, 12), np.float32))
    np.testing.assert_array_equal(read_segments(tmp_path / "a.mrc", big).labels[2:10, 2:10, 2:10], labels)
    fine = volume.on_grid(np.zeros((16, 16, 16), np.float32), PIXEL / 2)
    with pytest.warns(InputWarning, match="nearest label"):
        found = read_segments(tmp_path / "a.mrc", fine)
    np.testing.assert_array_equal(found.labels[::2, ::2, ::2], labels)
    assert found.ids == (0, 5)


def test_another_box_of_unknown_place_is_refused(tmp_path, labels):
    write_map(tmp_path / "a.mrc", labels, pixel_size=0)
    with pytest.raises(InputError, match="8 x 8 x 8 voxels, the map has 9 x 9 x 9"):
        read_segments(tmp_path / "a.mrc", Volume(np.zeros((9, 9, 9), np.float32), PIXEL))


def test_labels_of_another_map_are_refused(tmp_path, labels, volume):
    write_map(tmp_path / "a.mrc", labels, pixel_size=PIXEL, origin=(90.0, 0.0, 0.0))
    with pytest.raises(InputError, match="made on another map"):
        read_segments(tmp_path / "a.mrc", volume)


@pytest.mark.parametrize("from_nstart", [False, True])
def test_written_labels_overlay_the_map_and_are_read_back(tmp_path, labels, volume, from_nstart):
    like = Volume(volume.data, PIXEL, CORNER, from_nstart)
    number = write_labels(tmp_path / "c.mrc", Segments(labels.astype(np.int32), (0, 5)), like)
    assert number == {0: 0, 5: 1}
    with mrcfile.open(tmp_path / "c.mrc") as file:
        assert file.data.dtype == np.int16
        assert set(np.unique(file.data)) == {-1, 0, 1}
    back = read_map(tmp_path / "c.mrc")
    assert (back.pixel_size, back.origin, back.from_nstart) == (PIXEL, CORNER, from_nstart)
    np.testing.assert_array_equal(
        read_segments(tmp_path / "c.mrc", like).labels, np.where(labels == 5, 1, labels)
    )
    assert mrcfile.validate(tmp_path / "c.mrc")


def test_labels_for_chimerax_keep_their_numbers_unless_one_is_0(tmp_path, labels, volume):
    kept = np.where(labels == 0, 948, labels).astype(np.int32)
    assert write_labels(tmp_path / "x.mrc", Segments(kept, (5, 948)), volume, style="chimerax") == {
        5: 5,
        948: 948,
    }
    with pytest.warns(InputWarning, match="0 is read as no segment"):
        np.testing.assert_array_equal(read_segments(tmp_path / "x.mrc", volume).labels, kept)
    number = write_labels(
        tmp_path / "y.mrc", Segments(labels.astype(np.int32), (0, 5)), volume, style="chimerax"
    )
    assert number == {0: 1, 5: 6}


def test_a_number_too_large_for_the_file_is_refused(tmp_path, labels, volume):
    large = np.where(labels == 5, 40_000, labels).astype(np.int32)
    with pytest.raises(InputError, match="segment 40000; a map of labels holds numbers up to 32767"):
        write_labels(tmp_path / "x.mrc", Segments(large, (40_000,)), volume, style="chimerax")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_labels_are_read_or_refused(tmp_path, volume, labels, data):
    write_labels(tmp_path / "a.mrc", Segments(labels.astype(np.int32), (0, 5)), volume)
    (tmp_path / "b.mrc").write_bytes(data.draw(damaged((tmp_path / "a.mrc").read_bytes(), BINARY)))
    outcome(lambda: read_segments(tmp_path / "b.mrc", volume))
