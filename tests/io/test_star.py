"""Every way in which particle files are written, and every way in which they are wrong."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_flex3d.io.errors import InputError, InputWarning, Question
from napari_flex3d.io.halves import split_halves
from napari_flex3d.io.relion import particle_columns, read_particles
from napari_flex3d.io.star import read_star, write_star
from napari_flex3d.io.table import Answers
from napari_flex3d.ops.rotations import from_euler


def refused(path, answers=None):
    with pytest.raises(InputError) as caught:
        read_particles(path, answers)
    return caught.value


# -- what is read


def test_values_come_in_our_units(sample):
    table = read_particles(sample.write())
    assert (len(table), table.box_size, table.pixel_size) == (60, 32, 5.0)
    angles = np.radians([[sample.particles[f"rlnAngle{a}"][7] for a in ("Rot", "Tilt", "Psi")]])
    assert_allclose(table.rotation[7], from_euler(angles)[0])
    assert_allclose(table.shift[:, 0], sample.particles["rlnOriginXAngst"])
    assert_allclose(table.defocus_angle, np.radians(20))
    assert_allclose(table.image, np.arange(60))
    assert set(table.half.tolist()) == {0, 1}
    assert table.micrograph.max() == 11


def test_optics_groups_are_joined_by_value_not_by_row(sample):
    sample.optics = {label: values * 3 for label, values in sample.optics.items()}
    sample.optics["rlnOpticsGroup"] = [7, 2, 4]  # unsorted, with gaps
    sample.optics["rlnVoltage"] = [300, 200, 100]
    sample.particles["rlnOpticsGroup"] = [[4, 7, 2][i % 3] for i in range(60)]
    table = read_particles(sample.write())
    assert table.voltage[:3].tolist() == [100, 300, 200]
    assert [table.groups[g].number for g in table.group[:3]] == [4, 7, 2]


def test_a_value_in_the_particle_table_comes_before_the_optics_table(sample):
    sample.particles["rlnAmplitudeContrast"] = [0.07] * 60
    assert read_particles(sample.write()).amplitude_contrast[0] == 0.07


def test_tables_may_come_in_either_order(fixtures):
    answers = Answers(project_dir=fixtures / "stack")
    one = read_particles(fixtures / "star" / "relion31.star", answers)
    other = read_particles(fixtures / "star" / "relion31.v2.star", answers)
    assert (one.pixel_size, one.box_size, len(one)) == (2.806, 256, 5)
    assert_allclose(one.rotation, other.rotation)


def test_old_pixel_origins_are_shifts_in_pixels(sample):
    for axis in "XY":
        angstrom = sample.particles.pop(f"rlnOrigin{axis}Angst")
        sample.particles[f"rlnOrigin{axis}"] = [a / 5.0 for a in angstrom]
    table = read_particles(sample.write())
    assert_allclose(table.shift[:, 0], np.array(sample.particles["rlnOriginX"]) * 5.0)


def test_relion_3_0_has_one_table_and_a_pixel_size_from_the_detector(fixtures):
    tilts = fixtures / "star" / "sta_testing_bin8.star"
    with pytest.warns(InputWarning, match="no rlnOriginXAngst"):
        table = read_particles(tilts, Answers(project_dir=fixtures / "stack"))
    assert (len(table), table.box_size, table.pixel_size) == (219, 64, 1.96)
    assert (table.defocus_u < table.defocus_v).any()
    assert table.ctf_scale.min() < 0.9
    assert table.bfactor.min() < -90


def test_pixel_size_of_empiar_10076(sample):
    for label in ("rlnImagePixelSize", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        values = sample.optics.pop(label)
        sample.particles[label] = values * 60
    del sample.particles["rlnImagePixelSize"], sample.particles["rlnOpticsGroup"]
    sample.optics = {}
    sample.particles |= {"rlnDetectorPixelSize": [5] * 60, "rlnMagnification": [38168] * 60}
    assert_allclose(read_particles(sample.write()).pixel_size, 1.30999792, atol=1e-6)


def test_stacks_are_looked_for_upwards_from_the_star_file(sample):
    deep = sample.folder / "Refine3D" / "job01"
    deep.mkdir(parents=True)
    path = sample.write()
    shutil.move(path, deep / "run_data.star")
    assert read_particles(deep / "run_data.star").stacks == ((sample.folder / "stack.mrcs").resolve(),)


def test_stacks_are_found_in_the_project_folder(sample, tmp_path_factory):
    path = sample.write()
    elsewhere = tmp_path_factory.mktemp("project")
    (elsewhere / "Extract").mkdir()
    shutil.move(sample.folder / "stack.mrcs", elsewhere / "Extract" / "stack.mrcs")
    text = path.read_text().replace("@stack", "@Extract/stack")
    path.write_text(text)
    assert len(read_particles(path, Answers(project_dir=elsewhere))) == 60
    assert "stacks are missing" in str(refused(path))


def test_names_with_quotes_and_hashes_and_a_byte_order_mark_are_read(tmp_path):
    text = "\ufeffdata_particles\nloop_\n_rlnA #1\n_rlnB #2\nit's#3.mrc 'a b' # comment\n\"x\" 2\n"
    (tmp_path / "a.star").write_text(text, encoding="utf-8")
    assert read_star(tmp_path / "a.star") == {
        "particles": {"rlnA": ["it's#3.mrc", "x"], "rlnB": ["a b", "2"]}
    }


def test_aberrations_of_a_real_relion_5_file_are_read(fixtures):
    table = read_particles(fixtures / "star" / "relion5.star", check=False)
    group = table.groups[0]
    assert_allclose(group.magnification[0], [1.001833, -7.04404e-4])
    assert_allclose(group.beam_tilt, [0.043489, 0.014097])
    assert len(group.odd) == 6
    assert len(group.even) == 9
    assert group.ctf_state == "as recorded"


# -- what is written


def test_a_written_table_reads_back_with_every_column_of_the_input(sample):
    sample.particles["rlnAutopickFigureOfMerit"] = [f"{i / 7:.6f}" for i in range(60)]
    table = read_particles(sample.write()).take(np.array([5, 17, 42]))
    names = [f"{i}@stack.mrcs" for i in (1, 2, 3)]
    write_star(sample.folder / "out.star", particle_columns(table, names))
    again = read_particles(sample.folder / "out.star", check=False)
    assert_allclose(again.rotation, table.rotation, atol=1e-7)
    assert_allclose(again.shift, table.shift, atol=1e-6)
    assert_allclose(again.defocus_u, table.defocus_u, atol=1e-6)
    assert again.half.tolist() == table.half.tolist()
    assert again.row.tolist() == [5, 17, 42]
    assert again.columns["flexImageName"] == [sample.particles["rlnImageName"][i] for i in (5, 17, 42)]
    assert again.columns["rlnAutopickFigureOfMerit"] == ["0.714286", "2.428571", "6.000000"]
    assert set(sample.particles) <= set(again.columns)
    assert set(sample.optics) <= set(again.groups[0].columns)


def test_answers_of_the_person_are_written_too(sample):
    table = read_particles(sample.write(), Answers(voltage=200.0, pixel_size=4.9))
    write_star(sample.folder / "out.star", particle_columns(table, sample.particles["rlnImageName"]))
    again = read_particles(sample.folder / "out.star", check=False)
    assert (again.voltage[0], again.pixel_size) == (200.0, 4.9)


# -- what is wrong: the numbers are those of the table of bad inputs


def test_1_a_row_that_was_cut(sample):
    path = sample.write()
    lines = path.read_text().rstrip().splitlines()
    path.write_text("\n".join([*lines[:-1], " ".join(lines[-1].split()[:-4])]))
    expected = f"{path} line {len(lines)}: the table has 12 columns but this row has 8 values."
    assert str(refused(path)) == expected + " The file may be cut short."


def test_1_a_row_too_long_beside_one_too_short(sample):
    path = sample.write()
    lines = path.read_text().rstrip().splitlines()
    lines[-2] += " 1"
    lines[-1] = lines[-1].rsplit(maxsplit=1)[0]  # the number of values in all is right
    path.write_text("\n".join(lines))
    assert f"line {len(lines) - 1}: the table has 12 columns but this row has 13 values" in str(refused(path))


def test_2_tables_without_particles(fixtures, sample):
    del sample.particles["rlnImageName"]
    path = sample.write()
    text = f"{path} has tables optics, particles, none with rlnImageName."
    assert str(refused(path)) == text + " Give a particle star file (data_particles)."
    text = str(refused(fixtures / "star" / "rln3.1_data_style.star"))
    assert "has tables block_1, block_2, block_3, none with rlnImageName" in text
    assert text.endswith("Give a particle star file (data_particles).")


def test_3_the_same_table_or_column_twice(sample):
    path = sample.write()
    text = path.read_text()
    path.write_text(text + text[text.index("data_particles") :])
    assert str(refused(path)) == f"{path} has the table data_particles twice. Keep one."
    path.write_text(text.replace("_rlnAngleTilt", "_rlnAngleRot"))
    assert str(refused(path)) == f"{path} has the column rlnAngleRot twice in data_particles. Keep one."


def test_3_no_star_file_at_all(tmp_path):
    (tmp_path / "a.star").write_text("hello, this is no table\n")
    assert "is no STAR file (line 1" in str(refused(tmp_path / "a.star"))
    (tmp_path / "b.star").write_bytes(b"\x93NUMPY\x01\0v\0")
    assert "is no STAR file: it is not text" in str(refused(tmp_path / "b.star"))
    assert "no such file" in str(refused(tmp_path / "c.star"))


def test_4_several_groups_but_particles_do_not_say_which(sample):
    sample.optics = {label: values * 6 for label, values in sample.optics.items()}
    sample.optics["rlnOpticsGroup"] = list(range(1, 7))
    del sample.particles["rlnOpticsGroup"]
    path = sample.write()
    assert str(refused(path)) == f"{path}: 6 optics groups but particles carry no rlnOpticsGroup."


def test_5_a_group_that_is_not_defined(sample):
    sample.particles["rlnOpticsGroup"][3] = 9
    path = sample.write()
    assert str(refused(path)) == f"{path}: particles use optics group 9, the optics table has 1."


def test_6_no_pixel_size(sample):
    del sample.optics["rlnImagePixelSize"]
    path = sample.write()
    error = refused(path)
    assert isinstance(error, Question)
    assert error.flag == "--pixel-size"
    assert str(error).startswith(
        f"{path}: no rlnImagePixelSize, nor detector pixel size and magnification. Enter the pixel size."
    )
    assert read_particles(path, Answers(pixel_size=5.0)).pixel_size == 5.0


def test_6_a_pixel_size_of_the_micrograph_is_taken_with_a_warning(sample):
    sample.optics["rlnMicrographPixelSize"] = sample.optics.pop("rlnImagePixelSize")
    with pytest.warns(InputWarning, match="rlnMicrographPixelSize is used"):
        assert read_particles(sample.write()).pixel_size == 5.0


def hollow_stacks(folder, names, box):
    """Stacks that are only a header and a length, for files of other programs whose images nobody published."""
    for name in names:
        number, _, place = name.partition("@")
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        header = np.zeros(256, "<i4")
        header[:4] = box, box, int(number), 2
        if not path.exists() or path.stat().st_size < 1024 + 4 * box**2 * int(number):
            with path.open("wb") as file:
                file.write(header.tobytes())
                file.truncate(1024 + 4 * box**2 * int(number))


@pytest.fixture
def six_groups(fixtures, tmp_path):
    path = fixtures / "star" / "relion31.6opticsgroups.star"
    hollow_stacks(tmp_path, read_star(path)["particles"]["rlnImageName"], 196)
    return path, Answers(project_dir=tmp_path)


def test_7_groups_of_different_pixel_size_are_re_scaled_to_the_most_frequent(six_groups):
    path, answers = six_groups
    with pytest.warns(InputWarning) as caught:
        table = read_particles(path, answers)
    text = str(caught[0].message)
    assert text.startswith("Optics groups differ: group 1: 1.25 Å, 196 px; group 2: 1.24 Å, 196 px; ")
    assert text.endswith(
        f"They are re-scaled to one box and pixel, {table.pixel_size:g} Å, 196 px; or choose groups "
        "(--optics-groups)."
    )
    sizes = np.array([group.pixel_size for group in table.groups])[table.group]
    assert set(sizes) == {1.24, 1.25}
    assert table.pixel_size == max((1.24, 1.25), key=lambda size: np.count_nonzero(sizes == size))
    assert len(table) == 139
    assert [group.number for group in table.groups] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("pixel_size", [1.24, 1.25])
def test_7_the_grid_is_the_maps_where_a_group_has_it(six_groups, pixel_size):
    path, answers = six_groups
    with pytest.warns(InputWarning, match="Optics groups differ"):
        table = read_particles(path, replace(answers, map_grid=(196, pixel_size + 0.001)))
    assert (table.box_size, table.pixel_size) == (196, pixel_size)


def test_7_groups_that_are_chosen_need_not_differ(six_groups):
    path, answers = six_groups
    table = read_particles(path, replace(answers, optics_groups=(1,)))
    assert table.pixel_size == 1.25
    assert set(table.group.tolist()) == {0}
    assert len(table.stacks) < 139
    assert (np.diff(table.row) > 0).all()
    assert table.row[-1] >= len(table)  # rows of the file, not of what was chosen
    assert (
        str(refused(path, replace(answers, optics_groups=(1, 9))))
        == f"{path} has no particles of optics group 9 (--optics-groups); it has 1, 2, 3, 4, 5, 6."
    )


def test_7_pixel_sizes_of_one_old_table_become_groups(sample):
    for label, values in sample.optics.items():
        if label not in ("rlnOpticsGroup", "rlnOpticsGroupName", "rlnImageDimensionality"):
            sample.particles[label] = values * 60
    sample.optics = {}
    del sample.particles["rlnOpticsGroup"]
    sample.particles["rlnImagePixelSize"] = [5.0] * 40 + [5.5] * 20
    x = sample.particles.pop("rlnOriginXAngst")
    y = sample.particles.pop("rlnOriginYAngst")
    sample.particles |= {"rlnOriginX": [v / 5 for v in x], "rlnOriginY": [v / 5 for v in y]}
    with pytest.warns(InputWarning, match=r"group 1: 5 Å, 32 px; group 2: 5\.5 Å, 32 px\. They are"):
        table = read_particles(sample.write())
    assert [group.pixel_size for group in table.groups] == [5.0, 5.5]
    assert np.bincount(table.group).tolist() == [40, 20]
    assert_allclose(table.shift[:, 0], np.array(x) * np.where(np.arange(60) < 40, 1, 1.1))


@pytest.mark.parametrize(
    ("label", "assumed", "flag", "answer"),
    [
        ("rlnVoltage", "200", "--voltage", {"voltage": 300.0}),
        ("rlnSphericalAberration", "0", "--spherical-aberration", {"spherical_aberration": 2.7}),
        ("rlnAmplitudeContrast", "0", "--amplitude-contrast", {"amplitude_contrast": 0.1}),
    ],
)
def test_8_optics_that_relion_would_assume_are_asked_for(sample, label, assumed, flag, answer):
    del sample.optics[label]
    path = sample.write()
    error = refused(path)
    assert isinstance(error, Question)
    assert error.flag == flag
    assert str(error).startswith(f"{path} has no {label}; RELION would assume {assumed}. Enter it.")
    assert len(read_particles(path, Answers(**answer))) == 60


def test_8_a_real_file_without_amplitude_contrast(fixtures):
    error = refused(fixtures / "star" / "FinalRefinement-OriginalParticles-PfCRT.star")
    assert isinstance(error, Question)
    assert error.flag == "--amplitude-contrast"


def test_9_no_angles(fixtures):
    path = fixtures / "star" / "empiar_10076_7.star"
    assert str(refused(path)) == f"{path} has no rlnAngleRot/Tilt/Psi. A finished 3D refinement is needed."


@pytest.mark.parametrize(
    ("value", "word", "count"), [(0.0, "zero", 60), (30.0, "equal", 60), (-999.0, "unset", 60)]
)
def test_10_poses_that_are_none(sample, value, word, count):
    for axis in ("Rot", "Tilt", "Psi"):
        sample.particles[f"rlnAngle{axis}"] = [value] * 60
    assert str(refused(sample.write())).startswith(f"{count} of 60 poses are {word}.")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_11_numbers_that_are_not_finite(sample, value):
    sample.particles["rlnDefocusU"][4] = value
    path = sample.write()
    assert str(refused(path)) == f"{path} row 5: rlnDefocusU is {value}."


@pytest.mark.parametrize("value", ["12,5", "abc"])
def test_12_text_in_a_column_of_numbers(sample, value):
    sample.particles["rlnDefocusV"][2] = value
    path = sample.write()
    assert str(refused(path)) == f'{path} row 3: rlnDefocusV = "{value}" is no number (decimal point needed).'


def test_13_image_names_without_a_number(fixtures, sample):
    path = fixtures / "star" / "one_loop.star"
    text = str(refused(path))
    assert text.startswith(f'{path} row 1: "F:/WM5984_180924')
    assert text.endswith('has no "index@stack"; subtomograms are not supported.')
    sample.particles["rlnImageName"][1] = "000000@stack.mrcs"
    assert str(refused(sample.write())).endswith("index starts at 1.")


def test_14_an_image_beyond_the_end_of_the_stack(sample):
    sample.particles["rlnImageName"][9] = "61@stack.mrcs"
    path = sample.write()
    stack = (sample.folder / "stack.mrcs").resolve()
    assert str(refused(path)) == f"{path} row 10 wants image 61 of {stack}, which has 60."


def test_15_missing_stacks(sample):
    sample.particles["rlnImageName"][9] = "1@Extract/gone.mrcs"
    path = sample.write()
    text = str(refused(path))
    assert text.startswith("1 of 2 stacks are missing, first Extract/gone.mrcs. Looked in ")
    assert str(sample.folder.resolve()) in text
    assert "Set the project folder" in text


def test_16_a_link_to_a_file_that_is_gone(sample):
    path = sample.write()
    (sample.folder / "stack.mrcs").unlink()
    (sample.folder / "stack.mrcs").symlink_to("/nowhere/original.mrcs")
    link = sample.folder.resolve() / "stack.mrcs"
    assert str(refused(path)) == f"{link} points to /nowhere/original.mrcs, which is gone."


def test_17_origins_in_pixels_and_angstrom_that_disagree(sample):
    x, y = (sample.particles[f"rlnOrigin{axis}Angst"] for axis in "XY")
    sample.particles |= {"rlnOriginX": [v / 5 for v in x], "rlnOriginY": [v / 5 for v in y]}
    sample.particles["rlnOriginX"][0] += 0.4
    expected = r"rlnOriginX\*5 and rlnOriginXAngst differ by 2 Å in 1 rows; the Å columns are used\."
    with pytest.warns(InputWarning, match=expected):
        table = read_particles(sample.write())
    assert_allclose(table.shift[0, 0], x[0])


def test_18_shifts_out_of_the_box(sample):
    sample.particles["rlnOriginXAngst"][:2] = [100.0, -90.0]
    text = "2 shifts exceed 80 Å, more than half the box: wrong unit or pixel size?"
    assert str(refused(sample.write())) == text


def test_19_subtomograms(sample):
    sample.optics["rlnImageDimensionality"] = [3]
    path = sample.write()
    expected = f"{path} describes 3D subtomograms (rlnImageDimensionality 3). Use single-particle images."
    assert str(refused(path)) == expected


def test_19_subtomograms_that_do_not_say_so(sample):
    sample.particles["rlnTomoParticleName"] = ["TS_01/1"] * 60
    assert "describes 3D subtomograms (rlnTomoParticleName)" in str(refused(sample.write()))


@pytest.mark.parametrize(
    ("label", "state", "text"),
    [
        ("rlnCtfDataArePhaseFlipped", "phase-flipped", "Images are phase-flipped; the CTF model is abs."),
        ("rlnCtfDataAreCtfCorrected", "corrected", "Images are CTF-corrected; the CTF model is none."),
        ("rlnCtfDataAreCtfPremultiplied", "premultiplied", "Images are CTF-premultiplied: CTF² is used."),
    ],
)
def test_20_21_images_whose_ctf_was_touched(sample, label, state, text):
    sample.optics[label] = [1]
    with pytest.warns(InputWarning, match=text):
        table = read_particles(sample.write())
    assert table.groups[0].ctf_state == state


def test_22_magnification_matrices(sample):
    labels = [f"rlnMagMat{i}{j}" for i in "01" for j in "01"]
    sample.optics |= {label: [0.0] for label in labels}
    with pytest.warns(InputWarning, match="rlnMagMat of group 1 is all zero, read as identity"):
        table = read_particles(sample.write())
    assert table.groups[0].magnification == ((1, 0), (0, 1))
    sample.optics |= {"rlnMagMat00": [0.75], "rlnMagMat11": [0.75]}
    assert "group 1: det 0.562: not a magnification matrix." in str(refused(sample.write()))


def test_23_aberration_lists_of_the_wrong_length(sample):
    sample.optics["rlnEvenZernike"] = ["[1,2,3]"]
    assert str(refused(sample.write())) == "rlnEvenZernike of group 1 has 3 values; 1, 4, 9 or 16 expected."


@pytest.mark.parametrize(("unit", "factor"), [("micrometre", 1e4), ("nanometre", 10)])
def test_24_defocus_in_another_unit(sample, unit, factor):
    for axis in "UV":
        sample.particles[f"rlnDefocus{axis}"] = [v / factor for v in sample.particles[f"rlnDefocus{axis}"]]
    path = sample.write()
    error = refused(path)
    assert isinstance(error, Question)
    assert error.flag == "--defocus-unit"
    assert "expected 3000-60000. Unit?" in str(error)
    table = read_particles(path, Answers(defocus_unit=unit))
    assert 8000 < np.median(table.defocus_u) < 20300


def test_24_overfocus_is_asked_about(sample):
    sample.particles["rlnDefocusU"] = sample.particles["rlnDefocusV"] = [-15000.0] * 60
    path = sample.write()
    assert str(refused(path)).startswith("Median defocus -15000 Å; expected 3000-60000. Unit?")
    assert read_particles(path, Answers(defocus_unit="angstrom")).defocus_u[0] == -15000


def test_35_no_rows(sample):
    path = sample.write()
    path.write_text(path.read_text().split("000001@")[0])
    assert str(refused(path)) == f"{path} has no particles."


def test_38_39_the_box(sample, tmp_path):
    sample.optics["rlnImageSize"] = [64]
    path = sample.write()
    stack = (sample.folder / "stack.mrcs").resolve()
    assert str(refused(path)) == f"{stack} is 32 px, {path} says 64."
    (sample.folder / "stack.mrcs").unlink()
    sample.write(images=sample.images[:, :31, :31])
    assert str(refused(path)) == f"{stack}: 31 x 31; an even square box is needed."


def test_41_a_stack_that_was_cut_short(sample):
    path = sample.write()
    stack = sample.folder / "stack.mrcs"
    raw = stack.read_bytes()
    stack.write_bytes(raw[:-1000])
    expected = (
        f"{stack.resolve()}: header wants {len(raw)} bytes, the file has {len(raw) - 1000}. Copy it again."
    )
    assert str(refused(path)) == expected


def test_56_half_sets_are_made_by_micrograph(sample):
    del sample.particles["rlnRandomSubset"]
    table = read_particles(sample.write())
    with pytest.warns(
        InputWarning, match=r"No half sets: a new split by micrograph \(seed 5\) is used and saved\."
    ):
        split, is_new = split_halves(table, 5)
    assert is_new
    assert np.bincount(split.half).tolist() == [30, 30]
    for micrograph in range(12):
        assert len(set(split.half[split.micrograph == micrograph])) == 1


def test_56_one_sided_half_sets_are_none(sample):
    sample.particles["rlnRandomSubset"] = [1] * 60
    with pytest.warns(InputWarning, match="No half sets"):
        split, _ = split_halves(read_particles(sample.write()), 0)
    assert np.bincount(split.half).tolist() == [30, 30]


def test_57_an_image_that_occurs_twice_stays_in_one_half(sample):
    sample.particles["rlnImageName"][1] = sample.particles["rlnImageName"][0]  # given as halves 1 and 2
    expected = r"1 images occur more than once; half sets are split by source image\."
    with pytest.warns(InputWarning, match=expected):
        split, is_new = split_halves(read_particles(sample.write()), 0)
    assert not is_new
    assert split.half[0] == split.half[1]
    assert split.half[2:].tolist() == [i % 2 for i in range(2, 60)]
