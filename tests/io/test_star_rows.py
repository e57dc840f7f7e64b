"""Large star files: what is read and copied does not depend on where the parts of a file end."""

import contextlib

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_flex3d.io import star_rows
from napari_flex3d.io.columns import Texts, formatted, take_columns
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.relion import read_particles
from napari_flex3d.io.star import parse_numbers, read_star, write_star
from napari_flex3d.io.star_copy import copy_rows

FILES = [
    "relion31.6opticsgroups.star",
    "relion5.star",
    "relion31.v2.star",
    "sta_testing_bin8.star",
    "rln3.1_data_style.star",
]
ODD = """# made by hand

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
1 'a b'
2 "it's" # a comment

data_particles
_rlnPair 17

loop_
_rlnImageName #1
_rlnMicrographName #2
_rlnDefocusU #3
  000001@x#1.mrcs\tit's.mrc 10000.5
# in between
2@x#1.mrcs "a mic.mrc"   1e4   # said

3@x#1.mrcs mic.mrc -2 \r
4@x#1.mrcs mic.mrc 007
loop_
_other
1
# the end
data_empty

loop_
_rlnA #1

"""


def by_gemmi(path):
    """The same tables by the parser alone, the whole file at once."""
    document = gemmi.cif.read_string(path.read_text(encoding="utf-8-sig"))
    found = {}
    for block in document:
        columns = found.setdefault(block.name.strip(), {})
        for item in block:
            if item.loop is not None:
                for n, tag in enumerate(item.loop.tags):
                    values = list(item.loop.values)[n :: len(item.loop.tags)]
                    columns[tag[1:]] = [gemmi.cif.as_string(v) if v[:1] in "'\"" else v for v in values]
            else:
                columns[item.pair[0][1:]] = [item.pair[1]]
    return found


@pytest.fixture(params=[1, 40, 1000, 1 << 17], ids=lambda size: f"parts of {size}")
def parts_of(request, monkeypatch):
    monkeypatch.setattr(star_rows, "PART", request.param)


@pytest.fixture
def odd(tmp_path):
    (tmp_path / "odd.star").write_bytes(ODD.encode())
    return tmp_path / "odd.star"


@pytest.mark.usefixtures("parts_of")
@pytest.mark.parametrize("name", FILES)
def test_real_files_are_read_as_the_parser_reads_them(fixtures, name):
    path = fixtures / "star" / name
    assert read_star(path) == by_gemmi(path)


@pytest.mark.usefixtures("parts_of")
@pytest.mark.parametrize(
    "change", [lambda t: t, lambda t: "\ufeff" + t, lambda t: t.rstrip().removesuffix("_rlnA #1")]
)
def test_odd_files_are_read_as_the_parser_reads_them(odd, change):
    odd.write_bytes(change(ODD).encode())
    if change(ODD).endswith("_empty\n\nloop_\n"):
        with pytest.raises(InputError, match="is no STAR file"):
            read_star(odd)
        return
    assert read_star(odd) == by_gemmi(odd)


@pytest.mark.usefixtures("parts_of")
def test_numbers_come_with_the_texts(fixtures):
    columns = read_star(fixtures / "star" / "relion31.6opticsgroups.star")["particles"]
    for label in ("rlnDefocusU", "rlnAngleRot", "rlnRandomSubset"):
        assert_array_equal(parse_numbers("", label, columns[label]), [float(text) for text in columns[label]])
        assert columns[label].numbers is not None
    assert columns["rlnImageName"].numbers is None


@pytest.mark.usefixtures("parts_of")
def test_a_column_that_begins_with_numbers_may_hold_text(odd):
    odd.write_text(ODD.replace("-2 ", "none"))
    column = read_star(odd)["particles"]["rlnDefocusU"]
    assert list(column) == ["10000.5", "1e4", "none", "007"]
    with pytest.raises(InputError, match='row 3: rlnDefocusU = "none" is no number'):
        parse_numbers(odd, "rlnDefocusU", column)


@pytest.mark.usefixtures("parts_of")
@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("mic.mrc 007", "mic.mrc", 23, "the table has 3 columns but this row has 2 values"),
        ('"a mic.mrc"', "a mic.mrc", 20, "the table has 3 columns but this row has 4 values"),
        ("mic.mrc -2", "mic\x0bmrc -2", 22, "the table has 3 columns but this row has 4 values"),
        ("mic.mrc -2", "mic\x01mrc -2", 22, "is no STAR file"),
        ("mic.mrc -2", "$mic.mrc -2", 22, "is no STAR file"),
        ("_other\n1", "_other\nstop_", 26, "is no STAR file"),
        ('"a mic.mrc"', '"a', 20, "is no STAR file"),
        ('"a mic.mrc"', '"a"b c"', 20, "row has 4 values"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(odd, old, new, line, text):
    odd.write_text(ODD.replace(old, new))
    with pytest.raises(InputError, match=text) as caught:
        read_star(odd)
    assert f"line {line}" in str(caught.value)


def test_a_file_that_changes_while_it_is_used_is_noticed(odd):
    columns = {"name": read_star(odd)["particles"]["rlnMicrographName"]}
    column = take_columns(columns, np.array([1, 3]))["name"]
    assert list(column) == ["a mic.mrc", "mic.mrc"]
    odd.write_text(ODD[:-5])
    with pytest.raises(InputError, match=r"odd\.star has changed since it was read"):
        column[1:2]


def test_columns_of_a_table_stay_in_the_file_and_share_their_rows(sample):
    table = read_particles(sample.write()).take(np.array([5, 17]))
    columns = list(table.columns.values())
    assert all(isinstance(column, Texts) and column.known is None for column in columns)
    assert len({id(column.rows) for column in columns}) == 1


@given(st.lists(st.tuples(*[st.text("ab '\"#_;$@.1", max_size=8)] * 3), min_size=1, max_size=4))
def test_what_is_written_is_read_back_or_refused(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "written.star"
    columns = {f"rln{n}": [row[n] for row in rows] for n in range(3)}
    if all(value and not set(value) & set(" '\"#_;$") for row in rows for value in row):
        write_star(path, {"particles": columns})
        assert path.read_text().endswith(
            "".join(" ".join(row) + "\n" for row in rows)
        )  # and nothing in quotes
    elif any("'" in value and '"' in value for row in rows for value in row):
        with contextlib.suppress(InputError):
            write_star(path, {"particles": columns})
            assert read_star(path) == {"particles": columns}
        return
    else:
        write_star(path, {"particles": columns})
    assert read_star(path) == {"particles": columns}


# -- copies


@pytest.mark.usefixtures("parts_of")
@pytest.mark.parametrize("name", [n for n in FILES if "style" not in n])
def test_a_copy_with_all_rows_is_the_file(fixtures, tmp_path, name):
    path = fixtures / "star" / name
    tables = read_star(path).values()
    count = next(len(columns["rlnImageName"]) for columns in tables if "rlnImageName" in columns)
    copy_rows(path, tmp_path / "copy.star", np.arange(count))
    assert (tmp_path / "copy.star").read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("parts_of")
def test_a_copy_of_an_odd_file_keeps_every_byte_that_was_not_asked_for(odd, tmp_path):
    rows = np.array([1, 2])
    copy_rows(odd, tmp_path / "copy.star", rows, {"flex3dLatent1": formatted(np.array([0.5, -2]), ".5f")})
    expected = ODD.replace("_rlnDefocusU #3\n", "_rlnDefocusU #3\n_flex3dLatent1 #4\n")
    expected = expected.replace("  000001@x#1.mrcs\tit's.mrc 10000.5\n", "")
    expected = expected.replace("4@x#1.mrcs mic.mrc 007\n", "")
    expected = expected.replace("1e4   # said", "1e4 0.50000   # said").replace("-2 \r\n", "-2 -2.00000\r\n")
    assert (tmp_path / "copy.star").read_bytes() == expected.encode()
    particles = read_star(tmp_path / "copy.star")["particles"]
    assert particles["flex3dLatent1"] == ["0.50000", "-2.00000"]
    assert particles["rlnMicrographName"] == ["a mic.mrc", "mic.mrc"]


@pytest.mark.usefixtures("parts_of")
def test_old_columns_are_replaced(odd, tmp_path):
    rows = np.arange(4)
    for value in (1.0, 2.0):
        added = {"flexA": formatted(np.full(4, value), ".1f"), "flexB": formatted(rows)}
        copy_rows(odd, tmp_path / "copy.star", rows, added, dropped="flex.*|rlnMicrographName")
        odd = tmp_path / "copy.star"
    particles = read_star(odd)["particles"]
    assert list(particles) == ["rlnPair", "rlnImageName", "rlnDefocusU", "flexA", "flexB", "other"]
    assert particles["flexA"] == ["2.0"] * 4
    assert "_rlnDefocusU #2\n_flexA #3\n_flexB #4\n" in odd.read_text()
    assert "2@x#1.mrcs   1e4 2.0 1   # said" in odd.read_text()


def test_a_source_that_is_another_file_now_is_refused(odd, tmp_path):
    names = [f"{n}@x#1.mrcs" for n in (3, 4)]
    copy_rows(odd, tmp_path / "copy.star", np.array([2, 3]), names=names)
    with pytest.raises(InputError, match=r"row 2 is 2@x#1.mrcs, it was 3@x#1.mrcs when prep read it"):
        copy_rows(odd, tmp_path / "copy.star", np.array([1, 3]), names=names)
    with pytest.raises(InputError, match="has 4 particles, row 9 is wanted"):
        copy_rows(odd, tmp_path / "copy.star", np.array([1, 8]))
    assert len(read_star(tmp_path / "copy.star")["particles"]["rlnImageName"]) == 2
