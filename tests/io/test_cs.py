"""CryoSPARC's files: both containers, what is spread over several, and every way in which they are wrong."""

import json
import struct
import warnings

import lz4.block
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from napari_flex3d.io.cs import is_cs, write_latents_cs
from napari_flex3d.io.cs.container import read_fields
from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.halves import split_halves
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.relion import particle_columns, read_particles
from napari_flex3d.io.star import write_star
from napari_flex3d.io.table import Answers
from napari_flex3d.ops.rotations import to_euler

NUMBERS = [
    "rotation",
    "shift",
    "defocus_u",
    "defocus_v",
    "defocus_angle",
    "phase_shift",
    "bfactor",
    "ctf_scale",
    "voltage",
    "spherical_aberration",
    "amplitude_contrast",
    "scale",
    "half",
    "micrograph",
    "stack",
    "image",
]


def refused(path, answers=None, check=True):
    with pytest.raises(InputError) as caught:
        read_any_particles(path, answers, check=check)
    return caught.value


def csdat(columns, packed=True):
    """The stream as its writer lays it out: header, columns, heap of texts."""
    heap, dtype, parts = b"", [], []
    for name, values in columns.items():
        if values.dtype.kind == "S":
            offsets = []
            for text in values.tolist():
                offsets.append(len(heap))
                heap += text + b"\0"
            values = np.array(offsets, "<u8")
            dtype.append([name, "|O"])
        else:
            dtype.append([name, values.dtype.str, *([list(values.shape[1:])] if values.ndim > 1 else [])])
        raw = values.tobytes()
        if packed and name != "uid":
            raw = lz4.block.compress(raw, store_size=False)
        parts.append(struct.pack("<I", len(raw)) + raw)
    length = len(next(iter(columns.values())))
    head = {"length": length, "dtype": dtype, "compression": "lz4" if packed else None}
    head["compressed_fields"] = [name for name in columns if name != "uid"] if packed else []
    text = json.dumps(head).encode()
    return b"\x95CSDAT" + struct.pack("<I", len(text)) + text + b"".join(parts if length else []) + heap


def with_header(raw, old, new):
    end = 10 + struct.unpack("<I", raw[6:10])[0]
    assert old in raw[10:end]
    text = raw[10:end].replace(old, new)
    return raw[:6] + struct.pack("<I", len(text)) + text + raw[end:]


# -- what is read


def test_worked_numbers_of_a_real_refinement(fixtures):
    """Pose, shift and angles of the first row, worked out by hand and with pyem and cryoDRGN."""
    table = read_any_particles(fixtures / "cs" / "cryosparc_P12_J24_001_particles.cs", check=False)
    expected = [[0.58163, -0.37730, -0.72066], [0.05683, -0.86491, 0.49870], [-0.81147, -0.33101, -0.48162]]
    assert_allclose(table.rotation[0], expected, atol=1e-5)
    assert_allclose(np.degrees(to_euler(table.rotation[:1]))[0], [-157.80849, 118.79097, 34.68330], atol=1e-5)
    assert_allclose(table.shift[0], [33.43641, -5.39297], atol=1e-5)
    assert (len(table), table.box_size, table.pixel_size) == (2019, 180, 2.95)
    assert (table.contrast == -1).all()
    assert_allclose([table.voltage[0], table.amplitude_contrast[0], table.scale[0]], [200, 0.07, 0.9258563])
    assert set(table.half.tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["adk", "groel"])
def test_a_dataset_and_a_star_file_of_the_same_particles_agree(particle_sets, name):
    ours, theirs = (read_any_particles(particle_sets / name / f"particles.{end}") for end in ("cs", "star"))
    assert (ours.box_size, ours.pixel_size) == (theirs.box_size, theirs.pixel_size)
    assert ours.stacks == theirs.stacks
    for label in NUMBERS[:-4]:
        assert_allclose(getattr(ours, label), getattr(theirs, label), rtol=1e-6, atol=2e-6, err_msg=label)
    for label in ("half", "stack", "image"):
        assert (getattr(ours, label) == getattr(theirs, label)).all()


@pytest.mark.parametrize("name", ["J24_first64_csdat.cs", "J24_first64_particles.cs"])
def test_all_ways_to_store_the_same_particles_give_the_same_table(fixtures, name):
    """Compressed; or in two files whose rows are in another order, the second found by its name."""
    one = read_any_particles(fixtures / "derived" / "J24_first64_npy.cs", check=False)
    other = read_any_particles(fixtures / "derived" / name, check=False)
    for label in NUMBERS:
        assert (getattr(one, label) == getattr(other, label)).all(), label
    assert one.columns == other.columns
    assert [str(s) for s in one.stacks] == [str(s) for s in other.stacks]


@pytest.mark.parametrize("packed", [True, False])
def test_the_stream_is_read_as_the_array(sample, packed):
    columns = sample.cs_columns()
    path = sample.write_cs(columns)
    (sample.folder / "stream.cs").write_bytes(csdat(columns, packed))
    one, other = read_fields(path), read_fields(sample.folder / "stream.cs")
    assert list(one) == list(other)
    for name in one:
        assert (one[name] == other[name]).all()


def test_values_come_in_our_units(sample):
    table = read_any_particles(sample.write_cs(sample.cs_columns()))
    star = read_particles(sample.write())
    assert_allclose(table.rotation, star.rotation, atol=1e-6)
    assert_allclose(table.shift, star.shift, atol=1e-5)
    assert_allclose(table.defocus_angle, star.defocus_angle, atol=1e-6)
    assert_allclose(table.scale[[0, -1]], [0.8, 1.2])
    assert table.stacks == star.stacks
    assert (table.half == star.half).all()
    assert (table.contrast == 1).all()
    assert table.groups[0].number == 5


def test_the_kind_of_file_is_told_by_its_content(sample):
    path = sample.write_cs(sample.cs_columns(), "wrongly_named.star")
    assert is_cs(path)
    assert len(read_any_particles(path)) == 60
    star = sample.write()
    star.rename(sample.folder / "star.dat")
    assert len(read_any_particles(sample.folder / "star.dat")) == 60


def test_an_export_names_its_stacks_from_its_own_folder(sample):
    columns = sample.cs_columns()
    columns["blob/path"] = np.array([b">J1/imported/000090334788266266069_stack.mrcs"] * 60)
    path = sample.write_cs(columns)
    assert "1 of 1 stacks are missing" in str(refused(path))
    imported = sample.folder.resolve() / "J1" / "imported"
    imported.mkdir(parents=True)
    link = imported / "000090334788266266069_stack.mrcs"
    link.symlink_to(sample.folder / "gone.mrcs")
    assert str(refused(path)) == f"{link} points to {sample.folder / 'gone.mrcs'}, which is gone."
    found = read_any_particles(
        path, Answers(project_dir=sample.folder)
    ).stacks  # by the name after the number
    assert found == (sample.folder / "stack.mrcs",)
    link.unlink()
    link.symlink_to(sample.folder / "stack.mrcs")
    assert read_any_particles(path).stacks == (link,)


def test_anisotropic_magnification_is_the_inverse_of_relions(sample):
    columns = sample.cs_columns() | {"ctf/anisomag": np.full((60, 4), [0.01, 0.002, -0.001, -0.02], "f4")}
    matrix = read_any_particles(sample.write_cs(columns)).groups[0].magnification
    assert_allclose(np.array(matrix) @ [[1.01, 0.002], [-0.001, 0.98]], np.eye(2), atol=1e-6)


def test_beam_tilt_of_empiar_11377(sample):
    columns = sample.cs_columns() | {"ctf/tilt_A": np.full((60, 2), [2941.15, 8576.62], "f4")}
    group = read_any_particles(sample.write_cs(columns)).groups[0]
    assert_allclose(group.beam_tilt, [0.10893, 0.31765], atol=1e-5)


def test_exposure_groups_are_optics_groups(sample):
    columns = sample.cs_columns()
    columns["ctf/exp_group_id"] = (np.arange(60) % 3 * 10).astype("u4")
    columns["ctf/tilt_A"] = np.stack([np.arange(60) % 3 * 1000, np.zeros(60)], axis=-1).astype("f4")
    table = read_any_particles(sample.write_cs(columns))
    assert [group.number for group in table.groups] == [1, 11, 21]
    assert table.group[:4].tolist() == [0, 1, 2, 0]
    assert_allclose(table.groups[2].beam_tilt[0], 1e3 * np.arcsin(2000 / 2.7e7))


def test_terms_that_are_ignored_are_said(sample):
    columns = sample.cs_columns() | {"ctf/trefoil_A": np.ones((60, 2), "f4")}
    columns["ctf/shift_A"] = np.full((60, 2), 0.1, "f4")
    with pytest.warns(InputWarning, match=r"ctf/trefoil_A not zero; ignored"):
        read_any_particles(sample.write_cs(columns))


def test_pixel_size_of_the_person_corrects_the_shifts_too(sample):
    path = sample.write_cs(sample.cs_columns())
    table, corrected = read_any_particles(path), read_any_particles(path, Answers(pixel_size=5.5))
    assert_allclose(corrected.shift, 1.1 * table.shift)


# -- classes


def classes(sample, posterior=None):
    columns = sample.cs_columns()
    pose, shift = columns.pop("alignments3D/pose"), columns.pop("alignments3D/shift")
    for k in range(2):
        columns |= {f"alignments_class_{k}/pose": pose + k, f"alignments_class_{k}/shift": shift}
        if posterior is not None:
            columns[f"alignments_class_{k}/class_posterior"] = posterior[:, k].astype("f4")
    return columns, pose, shift


def test_29_several_classes_are_asked_about(sample):
    posterior = np.eye(2)[np.arange(60) % 2]
    columns, pose, _ = classes(sample, posterior)
    path = sample.write_cs(columns)
    error = refused(path)
    assert isinstance(error, Question)
    assert (str(error), error.flag) == ("2 classes; which one? Answer with --use-class.", "--use-class")
    table = read_any_particles(path, Answers(use_class=1))
    assert table.row.tolist() == list(range(1, 60, 2))
    columns["alignments3D/pose"], columns["alignments3D/shift"] = (
        pose + 1,
        columns["alignments_class_1/shift"],
    )
    refined = read_any_particles(
        sample.write_cs(columns, "J4_particles.cs")
    )  # a later refinement goes before
    assert len(refined) == 60
    assert_allclose(table.rotation, refined.rotation[1::2])
    assert "has no class 2 (--use-class); it has 0, 1." in str(refused(path, Answers(use_class=2)))


def test_29_classes_in_one_column(sample):
    columns, pose, shift = classes(sample)
    for k in range(2):
        del columns[f"alignments_class_{k}/pose"], columns[f"alignments_class_{k}/shift"]
    columns["alignments3D_multi/pose"] = np.stack([pose + 1, pose], axis=1)
    columns["alignments3D_multi/shift"] = np.stack([shift, shift], axis=1)
    posterior = np.zeros((60, 2), "f4")
    posterior[:20, 0] = posterior[20:, 1] = 0.9
    columns["alignments3D_multi/class_posterior"] = posterior
    path = sample.write_cs(columns)
    assert refused(path).flag == "--use-class"
    table = read_any_particles(path, Answers(use_class=1))
    assert table.row.tolist() == list(range(20, 60))
    assert_allclose(table.rotation, read_particles(sample.write()).rotation[20:], atol=1e-6)


def test_29_one_class_is_no_question(sample):
    columns, *_ = classes(sample)
    del columns["alignments_class_1/pose"]
    assert len(read_any_particles(sample.write_cs(columns))) == 60


# -- what is written


def test_the_table_is_complete_in_a_star_file(sample):
    columns = sample.cs_columns() | {
        "ctf/anisomag": np.full((60, 4), [0.01, 0.002, -0.001, -0.02], "f4"),
        "ctf/tilt_A": np.full((60, 2), [2941.15, 8576.62], "f4"),
        "ctf/phase_shift_rad": np.linspace(0, 1, 60).astype("f4"),
        "ctf/bfactor": np.linspace(0, 80, 60).astype("f4"),
        "ctf/scale": np.linspace(0.9, 1.1, 60).astype("f4"),
        "location/micrograph_path": np.array([f">mics/m{i // 9}.mrc".encode() for i in range(60)]),
    }
    table = read_any_particles(sample.write_cs(columns)).take(np.array([5, 17, 42]))
    write_star(sample.folder / "out.star", particle_columns(table, [f"{i}@a.mrcs" for i in (1, 2, 3)]))
    again = read_particles(sample.folder / "out.star", check=False)
    for label in NUMBERS[:-3]:
        assert_allclose(getattr(again, label), getattr(table, label), atol=1e-6, err_msg=label)
    assert_allclose(again.groups[0].magnification, table.groups[0].magnification, atol=1e-6)
    assert_allclose(again.groups[0].beam_tilt, table.groups[0].beam_tilt, atol=1e-6)
    assert again.columns["flexUid"] == ["6000", "18000", "43000"]
    assert again.columns["flexImageName"][0] == "000006@stack.mrcs"
    assert again.columns["rlnMicrographName"] == ["mics/m0.mrc", "mics/m1.mrc", "mics/m4.mrc"]


def test_latents_are_written_as_cryosparc_writes_them(tmp_path):
    latents = np.array([[0.5, -1], [1, 0]], np.float32)
    write_latents_cs(tmp_path / "latents.cs", np.array([2**64 - 5, 7], np.uint64), latents)
    fields = read_fields(tmp_path / "latents.cs")
    assert fields["uid"].tolist() == [2**64 - 5, 7]
    assert (fields["components_mode_1/component"] == 1).all()
    assert fields["components_mode_1/value"].tolist() == [-1, 0]


# -- what is wrong: the numbers are those of the table of bad inputs


def test_25_a_git_lfs_pointer(tmp_path):
    path = tmp_path / "particles.cs"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert str(refused(path)) == f"{path} is a Git LFS pointer, not the data. Download the real file."


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("exposure", ["movie_blob/path", "ctf/df1_A"]),
        ("volume", ["map/path", "map_half_A/path"]),
        ("template", ["blob/path", "blob/res_A"]),
    ],
)
def test_26_datasets_of_other_things(sample, kind, names):
    path = sample.write_cs({"uid": np.arange(3, dtype="u8")} | {name: np.ones(3, "f4") for name in names})
    prefixes = ", ".join(dict.fromkeys(name.partition("/")[0] for name in names))
    assert str(refused(path)) == f"{path} has fields {prefixes}: this is a {kind} dataset, not particles."


def test_27_poses_without_images(sample):
    columns = {k: v for k, v in sample.cs_columns().items() if not k.startswith("blob/")}
    path = sample.write_cs(columns, "P5_J31_007_particles.cs")
    expected = f"{path} has poses but no image paths. Add P5_J31_passthrough_particles.cs (--passthrough)."
    assert str(refused(path)) == expected


def test_28_particles_of_a_2d_classification(fixtures):
    path = fixtures / "cs" / "cryosparc_J2_particles_exported.cs"
    assert str(refused(path)) == f"{path} has alignments2D only. Use the particles of a 3D refinement."
    path = fixtures / "cs" / "empiar_10076_7.cs"
    assert str(refused(path)) == f"{path} has no alignments3D/pose. Use the particles of a 3D refinement."


def halves(sample, keep=60):
    """The columns as CryoSPARC spreads them, the second file backwards and short of some rows."""
    columns = sample.cs_columns()
    second = {k: v[:keep][::-1] for k, v in columns.items() if not k.startswith("alignments3D")}
    first = {k: v for k, v in columns.items() if k.startswith(("uid", "alignments3D"))}
    return first, second


@pytest.mark.parametrize(
    ("first_name", "second_name"),
    [
        ("J3_particles.cs", "J3_passthrough_particles.cs"),
        ("cryosparc_P1_J3_012_particles.cs", "cryosparc_P1_J3_passthrough_particles.cs"),
        ("J3_class_00_00023_particles.cs", "J3_passthrough_particles_all_classes.cs"),
    ],
)
def test_the_passthrough_file_beside_is_found(sample, first_name, second_name):
    first, second = halves(sample)
    sample.write_cs(second, second_name)
    sample.write_cs(second | {"uid": second["uid"] + 1}, "J30_passthrough_particles.cs")
    path = sample.write_cs(first, first_name)
    table = read_any_particles(path)
    whole = read_any_particles(sample.write_cs(sample.cs_columns(), "J9_particles.cs"))
    for label in NUMBERS:
        assert (getattr(table, label) == getattr(whole, label)).all(), label


def test_in_both_files_the_particle_file_wins(sample):
    first, second = halves(sample)
    second["alignments3D/psize_A"] = np.full(60, 99, "f4")
    other = sample.write_cs(second, "other.cs")
    table = read_any_particles(sample.write_cs(first), Answers(passthrough=(other,)))
    assert_allclose(table.shift, read_particles(sample.write()).shift, atol=1e-5)


def test_30_passthrough_files_of_other_particles(sample):
    first, second = halves(sample)
    second["uid"] = second["uid"] + 1
    other = sample.write_cs(second, "other.cs")
    answers = Answers(passthrough=(other,))
    error = refused(sample.write_cs(first), answers)
    assert str(error) == f"0 of 60 uids occur in {other}: files of different jobs?"
    other = sample.write_cs(halves(sample, keep=59)[1], "other.cs")  # more than one in a hundred is gone
    error = refused(sample.write_cs(first), answers)
    assert str(error) == f"59 of 60 uids occur in {other}: files of different jobs?"


def test_30_a_few_rows_less_are_said(sample):
    first, second = ({k: np.repeat(v, 3, axis=0) for k, v in part.items()} for part in halves(sample))
    first["uid"] = np.arange(180).astype("u8")
    second["uid"] = first["uid"][::-1].copy()
    second["uid"][7] = 10**6
    other = sample.write_cs(second, "other.cs")
    with pytest.warns(InputWarning, match="1 rows dropped"):
        table = read_any_particles(sample.write_cs(first), Answers(passthrough=(other,)))
    assert table.row.tolist() == [row for row in range(180) if row != 172]
    assert table.columns["flexUid"] == [str(row) for row in table.row]


def test_31_the_same_key_twice(sample):
    columns = sample.cs_columns()
    columns["uid"][[3, 4]] = columns["uid"][2]
    path = sample.write_cs(columns)
    assert str(refused(path)) == f"{path}: 2 uids occur more than once."


def test_32_no_keys(sample):
    columns = sample.cs_columns()
    del columns["uid"]
    path = sample.write_cs(columns)
    assert str(refused(path)) == f"{path} has no uid; it cannot be joined."


def test_33_a_stream_cut_in_the_middle(fixtures):
    path = fixtures / "derived" / "J24_first64_csdat_truncated_BAD.cs"
    expected = f"{path} is cut short: column ctf/df1_A needs 258 bytes, 171 are left."
    assert str(refused(path)) == expected


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kind", ["npy", "csdat"])
def test_33_a_cut_anywhere_is_seen(sample, kind, packed):
    columns = sample.cs_columns()
    whole = csdat(columns, packed) if kind == "csdat" else sample.write_cs(columns).read_bytes()
    path = sample.folder / "cut.cs"
    for length in range(0, len(whole), 53):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole[:-1])  # the last byte ends the last text, or the last row
    assert " is cut short: " in str(refused(path))


def test_33_a_text_outside_the_heap(sample):
    columns = sample.cs_columns()
    columns["blob/path"] = np.full(60, 2**40, "<u8")
    path = sample.folder / "particles.cs"
    raw = csdat(columns, packed=False)
    path.write_bytes(with_header(raw, b'"blob/path", "<u8"', b'"blob/path", "|O"'))
    expected = f"{path} is cut short: column blob/path needs {2**40 + 1} bytes, 0 are left."
    assert str(refused(path)) == expected


def test_33_a_block_that_claims_to_be_huge_takes_no_memory(sample):
    raw = csdat(sample.cs_columns())
    path = sample.folder / "particles.cs"
    path.write_bytes(with_header(raw, b'"<u4", [2]', b'"<u4", [2000000000]'))
    assert str(refused(path)) == f"{path}: column blob/shape is damaged. Copy it again."


def test_34_long_headers_are_read_and_objects_are_not(sample):
    columns = sample.cs_columns()
    many = {f"alignments_class_{k}/error": np.zeros(60, "f4") for k in range(2000)}
    assert len(read_any_particles(sample.write_cs(columns | many))) == 60
    path = sample.folder / "objects.cs"
    with path.open("wb") as file:
        np.save(file, np.zeros(3, [("uid", "u8"), ("blob/path", object)]), allow_pickle=True)
    assert str(refused(path)) == f"{path} holds Python objects and is not read."


def test_35_no_rows(fixtures, sample):
    path = fixtures / "cs" / "cryosparc_tools_4k_empty_dataset.cs"
    assert str(refused(path)) == f"{path} has no particles."
    path = sample.folder / "empty.cs"
    path.write_bytes(csdat({name: values[:0] for name, values in sample.cs_columns().items()}))
    assert str(refused(path)) == f"{path} has no particles."


def test_36_a_refinement_on_smaller_images(sample):
    columns = sample.cs_columns()
    columns["alignments3D/psize_A"] *= 2
    columns["alignments3D/shift"] /= 2
    with pytest.warns(InputWarning, match=r"Refined at 10 Å, images at 5 Å: shifts scaled by 2\."):
        table = read_any_particles(sample.write_cs(columns))
    assert_allclose(table.shift, read_particles(sample.write()).shift, atol=1e-5)


def test_8_missing_optics_are_asked_for(sample):
    columns = sample.cs_columns()
    del columns["ctf/amp_contrast"]
    path = sample.write_cs(columns)
    error = refused(path)
    assert (error.flag, str(error)) == (
        "--amplitude-contrast",
        f"{path} has no ctf/amp_contrast. Enter it. Answer with --amplitude-contrast.",
    )
    assert read_any_particles(path, Answers(amplitude_contrast=0.07)).amplitude_contrast[0] == 0.07


def test_11_a_number_that_is_none(sample):
    columns = sample.cs_columns()
    columns["ctf/df2_A"][13] = np.nan
    path = sample.write_cs(columns)
    assert str(refused(path)) == f"{path} row 14: ctf/df2_A is nan."


def test_22_a_matrix_that_is_no_magnification(sample):
    columns = sample.cs_columns() | {
        "ctf/anisomag": np.full((60, 4), [1, 0, 0, 1], "f4")
    }  # the identity added
    path = sample.write_cs(columns)
    assert str(refused(path)) == f"{path}: ctf/anisomag of group 4: det 4: not a magnification matrix."


def test_particles_of_both_contrasts_keep_their_own(sample):
    columns = sample.cs_columns()
    columns["blob/sign"][:9] = -1
    assert read_any_particles(sample.write_cs(columns)).contrast.tolist() == [-1] * 9 + [1] * 51


def test_7_images_of_several_pixel_sizes_are_groups(sample):
    columns = sample.cs_columns()
    columns["blob/psize_A"][20:] = 4
    columns["alignments3D/psize_A"][20:] = 4
    path = sample.write_cs(columns)
    with pytest.warns(InputWarning, match=r"group 1: 4 Å, 32 px; group 2: 5 Å, 32 px\. They are re-scaled"):
        table = read_any_particles(path)
    assert (table.box_size, table.pixel_size) == (32, 4)
    star = read_particles(sample.write())
    assert_allclose(table.shift[:20], star.shift[:20], atol=1e-5)
    assert_allclose(table.shift[20:], 0.8 * star.shift[20:], atol=1e-5)
    with pytest.warns(InputWarning, match="Optics groups differ"):
        assert read_any_particles(path, Answers(map_grid=(32, 5.0))).pixel_size == 5
    assert len(read_any_particles(path, Answers(optics_groups=(2,)))) == 20


def test_57_copies_of_a_particle_stay_in_one_half(sample):
    """Symmetry expansion gives new keys; the source of each copy is in a column of its own."""
    columns = sample.cs_columns() | {"sym_expand/src_uid": np.repeat(np.arange(20), 3).astype("u8")}
    del columns["alignments3D/split"]
    table = read_any_particles(sample.write_cs(columns))
    with pytest.warns(InputWarning) as caught:
        split, is_new = split_halves(table, 0)
    assert is_new
    expected = "40 images occur more than once; half sets are split by source image."
    assert str(caught[0].message) == expected
    halves = split.half.reshape(20, 3)
    assert (halves == halves[:, :1]).all()
    assert np.bincount(split.half).tolist() == [30, 30]


def test_a_shift_of_the_images_is_said(sample):
    columns = sample.cs_columns() | {"ctf/shift_A": np.full((60, 2), [0.3, 0.4], "f4")}
    with pytest.warns(InputWarning, match=r"ctf/shift_A moves images by up to 0\.5 Å; ignored\."):
        read_any_particles(sample.write_cs(columns))


@pytest.mark.parametrize("name", ["derived/J24_first64_csdat.cs", "derived/J24_first64_npy.cs"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8
    ),
    in_header=st.booleans(),
    length=st.floats(0.5, 1),
)
def test_damaged_bytes_of_real_files_are_refused_or_read(
    fixtures, tmp_path, name, changes, in_header, length
):
    """Nothing but an InputError comes of them; a changed number may pass."""
    raw = bytearray((fixtures / name).read_bytes())
    reach = 2500 if in_header else len(raw)
    for place, value in changes:
        raw[int(place * reach)] = value
    path = tmp_path / "damaged.cs"
    path.write_bytes(raw[: max(10, int(length * len(raw)))] if length < 0.9 else raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        try:
            read_any_particles(path, check=False)
            refused(path)  # its images are nowhere
        except InputError:
            pass
