"""When a missing stage is made good once more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.repairing import FIRST_PAUSE, repair_is_due

NOW = 1_000_000_000


def test_a_stage_that_was_never_repaired_is_due_at_once() -> None:
    assert repair_is_due(repairs=0, repaired_at=None, limit=3, now=NOW)


@pytest.mark.parametrize(("repairs", "pause"), [(1, 5_000), (2, 20_000), (3, 80_000)])
def test_pauses_between_repairs_grow(repairs: int, pause: int) -> None:
    assert not repair_is_due(repairs=repairs, repaired_at=NOW - pause + 1, limit=9, now=NOW)
    assert repair_is_due(repairs=repairs, repaired_at=NOW - pause, limit=9, now=NOW)


def test_a_limit_of_none_repairs_nothing() -> None:
    assert not repair_is_due(repairs=0, repaired_at=None, limit=0, now=NOW)


@given(st.integers(0, 9), st.integers(0, 5), st.lists(st.integers(1, 1_000_000), max_size=30))
def test_a_stage_is_repaired_at_most_as_often_as_the_limit(start: int, limit: int, waits: list[int]) -> None:
    repairs, repaired_at, now = 0, None, NOW + start
    for wait in waits:
        if repair_is_due(repairs=repairs, repaired_at=repaired_at, limit=limit, now=now):
            assert repaired_at is None or now - repaired_at >= FIRST_PAUSE
            repairs, repaired_at = repairs + 1, now
        now += wait
    assert repairs <= limit
