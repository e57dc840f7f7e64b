"""Damaged files: every reader reads them or refuses them in words. The long run is ``python -m tests.io.fuzz``."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.io.fuzz import TARGETS, examine
from tests.io.mutations import damaged


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(fixtures, tmp_path, name):
    target = TARGETS[name]
    originals = target.originals(fixtures)

    @settings(
        max_examples=target.examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.sampled_from(originals).flatmap(lambda data: damaged(data, target.mutations)))
    def attack(data):
        examine(target, data, tmp_path)

    attack()


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read(fixtures, tmp_path, name):
    """So that the damage above has something to spoil."""
    target = TARGETS[name]
    for original in target.originals(fixtures):
        assert examine(target, original, tmp_path) == "read"
