import bz2
import gzip
import warnings
from itertools import permutations

import mrcfile
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import open_stack, read_map, write_map, write_stack


@pytest.fixture
def volume():
    return np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.mrcs"
    with mrcfile.new(path) as file:
        file.set_data(np.arange(3 * 64, dtype=np.float32).reshape(3, 8, 8))
    return path


def patch(path, offset, raw):
    data = bytearray(path.read_bytes())
    data[offset : offset + len(raw)] = raw
    path.write_bytes(data)


def test_a_map_comes_back_with_pixel_size_and_origin(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, pixel_size=1.31, origin=(1.0, -2.0, 3.0))
    back = read_map(tmp_path / "a.mrc")
    assert_array_equal(back.data, volume)
    assert back.pixel_size == 1.31
    assert back.origin == (1.0, -2.0, 3.0)


def test_other_programs_find_our_files_valid(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, pixel_size=2.0)
    with write_stack(tmp_path / "s.mrcs", 8, 2.0) as writer:
        writer.append(np.random.default_rng(0).normal(size=(3, 8, 8)))
        writer.append(np.ones((1, 8, 8)))
    assert mrcfile.validate(tmp_path / "a.mrc")
    assert mrcfile.validate(tmp_path / "s.mrcs")
    with mrcfile.open(tmp_path / "s.mrcs") as file:
        assert file.data.dtype == np.float16
        assert file.data.shape == (4, 8, 8)
        assert file.is_image_stack()
        assert_allclose(file.voxel_size.x, 2.0)


@pytest.mark.parametrize("box", [4, 5, 12])
def test_a_map_on_another_grid_overlays_its_input(tmp_path, box):
    cube = np.zeros((8, 8, 8), np.float32)
    write_map(tmp_path / "a.mrc", cube, pixel_size=2.0, origin=(10.0, 20.0, 30.0))
    old = read_map(tmp_path / "a.mrc")
    write_map(tmp_path / "b.mrc", np.zeros((box,) * 3), like=old, pixel_size=3.0)
    new = read_map(tmp_path / "b.mrc")
    centres = [np.array(v.origin) + (len(v.data) // 2) * v.pixel_size for v in (old, new)]
    assert_allclose(centres[1], centres[0], atol=1e-4)


def test_axes_are_put_in_order_whatever_the_file_does(tmp_path, volume):
    with mrcfile.new(tmp_path / "a.mrc") as file:  # columns z, rows x, sections y: as EMD-3001 has them
        file.set_data(volume.transpose(1, 2, 0).copy())
        file.header.mapc, file.header.mapr, file.header.maps = 3, 1, 2
        file.header.mx, file.header.my, file.header.mz = 10, 8, 6
        file.header.cella = (20.0, 16.0, 12.0)
        file.header.nxstart, file.header.nystart, file.header.nzstart = 0, -21, -12
    back = read_map(tmp_path / "a.mrc")
    assert_array_equal(back.data, volume)
    assert back.origin == (-42.0, -24.0, 0.0)


@pytest.mark.parametrize(
    ("name", "box", "pixel_size", "origin"),
    [
        ("emd_1832.map", 64, 5.7, -182.4),
        ("emd_1997.map", 100, 2.02, -101.0),
        ("emd_5625.map", 56, 4.23, -118.44),
    ],
)
def test_maps_of_the_data_bank_start_at_minus_half_the_box(fixtures, tmp_path, name, box, pixel_size, origin):
    emdb = read_map(fixtures / "map" / name)
    assert emdb.data.shape == (box,) * 3
    assert emdb.pixel_size == pixel_size
    assert_allclose(emdb.origin, origin)
    write_map(tmp_path / "again.mrc", emdb.data, like=emdb)
    with mrcfile.open(tmp_path / "again.mrc") as file:
        assert file.header.nxstart == -box // 2  # for programs that look only there
        assert file.header.origin.x == 0


@pytest.mark.parametrize("name", ["EMD-3197.map.bz2", "emd_3197.map.gz"])
def test_compressed_maps_are_the_same_map(fixtures, name):
    assert_array_equal(
        read_map(fixtures / "map" / name).data, read_map(fixtures / "map" / "EMD-3197.map").data
    )


def test_a_skewed_cell_is_refused(fixtures):
    with pytest.raises(InputError, match=r"cell angles 90 x 94\.33 x 90"):
        read_map(fixtures / "map" / "EMD-3001.map")


@pytest.mark.parametrize(
    ("name", "count", "box"),
    [
        ("stack/empiar_10076_7.mrc", 7, 320),
        ("stack/relion31.mrcs", 5, 256),
        ("stack/ay19102021_L3_position6_ribo_it09_bin8_1.82A.mrcs", 220, 64),
        ("derived/empiar_10076_2_float16.mrcs", 2, 320),
        ("derived/empiar_10076_1image.mrcs", 1, 320),
    ],
)
def test_stacks_of_other_programs_open_in_place(fixtures, name, count, box):
    images = open_stack(fixtures / name)
    assert isinstance(images, np.memmap)
    assert images.shape == (count, box, box)


def test_half_precision_images_are_those_of_the_float_stack(fixtures):
    full = open_stack(fixtures / "stack" / "empiar_10076_7.mrc")
    half = open_stack(fixtures / "derived" / "empiar_10076_2_float16.mrcs")
    assert_allclose(half, full[:2], atol=2e-3)


def test_big_endian_files_are_read(tmp_path):
    data = np.arange(2 * 16, dtype=">f4").reshape(2, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.new(tmp_path / "a.mrcs") as file:
            file.set_data(data)
    assert (tmp_path / "a.mrcs").read_bytes()[212] == 0x11
    assert_array_equal(open_stack(tmp_path / "a.mrcs"), data)


def raw_mrc(path, data, mode, order, *, stamp=True, axes=(1, 2, 3), nstart=(0, 0, 0)):
    """A file put together byte by byte, in either byte order; ``data`` is [section, row, column]."""
    header = bytearray(1024)

    def put(word, values, kind="i4"):
        values = np.asarray(values, order + kind).tobytes()
        header[4 * (word - 1) : 4 * (word - 1) + len(values)] = values

    put(1, data.shape[::-1])
    put(4, mode)
    put(5, nstart)
    counts = np.zeros(3, int)
    counts[np.array(axes) - 1] = data.shape[::-1]  # mx, my, mz follow x, y, z
    put(8, counts)
    put(11, 2.0 * counts, "f4")
    put(14, (90, 90, 90), "f4")
    put(17, axes)
    if stamp:
        header[208:216] = b"MAP " + (b"DD\0\0" if order == "<" else b"\x11\x11\0\0")
    path.write_bytes(bytes(header) + data.astype(data.dtype.newbyteorder(order)).tobytes())
    return path


MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


@pytest.mark.parametrize("stamp", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", MODES)
def test_every_number_type_in_either_byte_order_with_and_without_stamp(tmp_path, mode, order, stamp):
    low = 0 if mode == 6 else -100
    data = np.random.default_rng(mode).integers(low, 100, (4, 4, 4)).astype(MODES[mode])
    path = raw_mrc(tmp_path / "a.mrc", data, mode, order, stamp=stamp)
    assert_array_equal(read_map(path).data, data.astype(np.float32))
    assert read_map(path).pixel_size == 2.0
    assert_array_equal(open_stack(path), data)


@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))))
def test_every_order_of_axes_gives_z_y_x(tmp_path, axes):
    """The file's columns, rows and sections run along the axes that mapc, mapr and maps name (1 is x)."""
    density = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("f4")  # z, y, x
    turned = density.transpose([3 - axis for axis in axes[::-1]])  # sections, rows, columns
    start = np.array([-1, -2, -3])  # of x, y, z
    path = raw_mrc(tmp_path / "a.mrc", turned, 2, "<", axes=axes, nstart=start[np.array(axes) - 1])
    back = read_map(path)
    assert_array_equal(back.data, density)
    assert back.origin == (-2.0, -4.0, -6.0)


def test_bytes_of_imod_that_are_unsigned_are_read_so(tmp_path):
    data = np.arange(64, dtype="i1").reshape(4, 4, 4) * 4  # 128 and more are negative as signed bytes
    path = raw_mrc(tmp_path / "a.mrc", data, 0, "<")
    assert read_map(path).data.min() < 0
    patch(path, 152, (1146047817).to_bytes(4, "little"))  # IMOD's stamp, its flag of signed bytes not set
    assert_array_equal(read_map(path).data.ravel(), 4.0 * np.arange(64))
    patch(path, 156, (1).to_bytes(4, "little"))
    assert read_map(path).data.min() < 0


@pytest.mark.parametrize("ending", [".gz", ".bz2"])
def test_compressed_stacks_are_refused_in_words(tmp_path, stack, ending):
    path = tmp_path / f"stack.mrcs{ending}"
    path.write_bytes(stack.read_bytes())
    with pytest.raises(InputError) as caught:
        open_stack(path)
    expected = f"{path}: compressed stacks cannot be read in place; decompress it first."
    assert str(caught.value) == expected


def test_symmetry_records_are_skipped(stack):
    raw = stack.read_bytes()
    stack.write_bytes(raw[:1024] + bytes(160) + raw[1024:])
    patch(stack, 92, (160).to_bytes(4, "little"))
    assert open_stack(stack)[2, 7, 7] == 191


def test_symmetry_records_that_are_announced_but_not_there_are_not_missed(stack):
    patch(stack, 92, (160).to_bytes(4, "little"))
    assert open_stack(stack)[2, 7, 7] == 191


def test_a_stack_that_was_cut_short_is_refused_with_both_sizes(stack):
    raw = stack.read_bytes()
    stack.write_bytes(raw[:-100])
    with pytest.raises(InputError) as caught:
        open_stack(stack)
    expected = f"{stack}: header wants {len(raw)} bytes, the file has {len(raw) - 100}. Copy it again."
    assert str(caught.value) == expected


def test_a_compressed_map_that_was_cut_short_is_refused(tmp_path, volume):
    write_map(tmp_path / "a.mrc", volume, pixel_size=1.0)
    raw = (tmp_path / "a.mrc").read_bytes()
    (tmp_path / "whole.mrc.gz").write_bytes(gzip.compress(raw)[:-50])
    (tmp_path / "inner.mrc.bz2").write_bytes(bz2.compress(raw[:-50]))
    with pytest.raises(InputError, match="cannot be decompressed"):
        read_map(tmp_path / "whole.mrc.gz")
    (tmp_path / "start.mrc.gz").write_bytes(b"no gzip file")
    with pytest.raises(InputError, match="cannot be decompressed"):
        read_map(tmp_path / "start.mrc.gz")
    with pytest.raises(InputError, match=f"header wants {len(raw)} bytes"):
        read_map(tmp_path / "inner.mrc.bz2")


@pytest.mark.parametrize(
    ("mode", "name"), [(3, "complex int16"), (4, "complex float32"), (101, "4 bit"), (7, "unknown")]
)
def test_modes_without_a_meaning_here_are_refused(stack, mode, name):
    patch(stack, 12, mode.to_bytes(4, "little"))
    with pytest.raises(InputError) as caught:
        open_stack(stack)
    assert str(caught.value) == f"{stack}: MRC mode {mode} ({name}) is not supported; convert to float32."


@pytest.mark.parametrize("shape", [(2, 8, 6), (2, 7, 7)])
def test_images_must_be_square_and_even(tmp_path, shape):
    with mrcfile.new(tmp_path / "a.mrcs") as file:
        file.set_data(np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=rf"{shape[2]} x {shape[1]}; an even square box is needed"):
        open_stack(tmp_path / "a.mrcs")


def test_a_text_file_is_no_map(tmp_path):
    (tmp_path / "a.mrc").write_text("not a map " * 200)
    with pytest.raises(InputError, match="is no MRC file"):
        read_map(tmp_path / "a.mrc")
    with pytest.raises(InputError, match="no such file"):
        read_map(tmp_path / "b.mrc")


def test_voxels_must_be_cubes(tmp_path, volume):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(volume)
        file.voxel_size = (1.0, 1.0, 1.2)
    with pytest.raises(InputError, match=r"voxel 1 x 1 x 1\.2 Å; a cubic map is needed"):
        read_map(tmp_path / "a.mrc")


def test_an_interrupted_stack_leaves_the_old_one(tmp_path):
    path = tmp_path / "s.mrcs"
    path.write_bytes(b"old")

    def interrupted():
        with write_stack(path, 4, 1.0) as writer:
            writer.append(np.zeros((1, 4, 4)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [1e5, np.nan, np.inf])
def test_values_that_half_precision_cannot_hold_are_refused(tmp_path, value):
    images = np.zeros((1, 4, 4))
    images[0, 1, 2] = value
    with write_stack(tmp_path / "s.mrcs", 4, 1.0) as writer:
        with pytest.raises(InputError, match="1 values overflow float16"):
            writer.append(images)
        writer.append(np.zeros((1, 4, 4)))
