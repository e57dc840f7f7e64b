"""The page on bad inputs: all cases are there, and the tests that it names exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "bad-inputs.md").read_text(encoding="utf-8")
CASES = dict(re.findall(r"^\| (\d+) \|(.*)$", PAGE, re.MULTILINE))


def test_every_case_is_on_the_page():
    assert list(CASES) == [str(number) for number in range(1, 59)]


@pytest.mark.parametrize("case", CASES)
def test_the_tests_of_a_case_exist(case):
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", CASES[case])
    assert named
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8"), f"{file}::{test}"
