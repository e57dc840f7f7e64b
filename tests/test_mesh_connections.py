import pytest

from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh.connections import parse_connections, suggest_connections, write_connections

IDS = [0, 1, 2, 3, 4]


def test_cryosparcs_own_example_comes_in_and_goes_out():
    text = "0>3, 0>4, 3>2, 2>1"
    pairs = parse_connections(text, IDS)
    assert pairs == [(0, 3), (0, 4), (3, 2), (2, 1)]
    assert write_connections(pairs) == text


def test_segger_numbers_are_kept():
    assert write_connections(parse_connections("948>947", [947, 948])) == "948>947"


def test_it_is_written_breadth_first():
    assert write_connections([(0, 1), (1, 2), (0, 3)]) == "0>1, 0>3, 1>2"


@pytest.mark.parametrize("text", ["0>1,0>2", " 0 > 1 ,\n0>2, ", "0>1;0>2"])
def test_blanks_and_separators_do_not_matter(text):
    assert parse_connections(text, IDS) == [(0, 1), (0, 2)]


def test_nothing_said_is_not_nothing_joined():
    assert parse_connections("  ", IDS) is None
    assert parse_connections("none", IDS) == []
    assert write_connections([]) == "none"


@pytest.mark.parametrize(
    ("text", "pair", "why"),
    [
        ("0>1, 1>2, 2>0", "2>0", "would close a ring"),
        ("0>1, 0>2, 1>2", "1>2", "2 already has a parent, 0"),
        ("0>1, 1>7", "1>7", "7 is not in the segmentation 0, 1, 2, 3, 4"),
        ("8>1", "8>1", "8 is not in the segmentation 0, 1, 2, 3, 4"),
        ("0>1, 2>3", "2>3", "2 is not joined to the root 0"),
        ("1>1", "1>1", "cannot be joined to itself"),
    ],
)
def test_what_is_no_tree_names_the_pair(text, pair, why):
    with pytest.raises(InputError) as error:
        parse_connections(text, IDS)
    assert f'Connection "{pair}": ' in str(error.value)
    assert why in str(error.value)
    assert "one tree, root first" in str(error.value)


def test_a_tree_in_another_order_is_given_back_in_order():
    with pytest.raises(InputError, match='Write "0>1, 1>2, 2>3"'):
        parse_connections("0>1, 2>3, 1>2", IDS)


@pytest.mark.parametrize("text", ["0-1", "0>", "a>b", "0>1>2", "-1>0"])
def test_what_is_no_pair_is_quoted(text):
    with pytest.raises(InputError, match="is no pair like 0>1"):
        parse_connections(text, IDS)


def test_the_suggestion_follows_the_widest_borders_from_the_largest_segment():
    borders = {(0, 1): 5, (0, 2): 50, (1, 2): 20, (3, 4): 9}
    pairs = suggest_connections(borders, {0: 10, 1: 10, 2: 30, 3: 1, 4: 1})
    assert pairs == [(2, 0), (2, 1)]  # 3 and 4 touch none of these
    assert parse_connections(write_connections(pairs), IDS) == pairs
    assert suggest_connections({}, {0: 1.0}) == []
