"""Ids that sort by the time at which they were made."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.ids import first_id, new_id, time_of
from monitor.web.schemas import UUID_PATTERN

INSTANTS = st.integers(0, 2**48 - 1)


@given(INSTANTS)
def test_an_id_is_a_uuid_of_version_7_that_knows_its_time(now: int) -> None:
    made = new_id(now)
    assert re.fullmatch(UUID_PATTERN, made)
    assert (UUID(made).version, UUID(made).variant) == (7, "specified in RFC 4122")
    assert time_of(made) == now


@given(st.lists(INSTANTS))
def test_ids_sort_by_the_time_at_which_they_were_made(instants: list[int]) -> None:
    made = [(new_id(now), now) for now in instants]
    assert [now for _, now in sorted(made)] == sorted(instants)


@given(INSTANTS, st.integers(0, 10_000))
def test_a_time_cuts_ids_into_those_before_it_and_those_not(at: int, later: int) -> None:
    cut = first_id(at)
    assert cut <= new_id(at + later if at + later < 2**48 else at)
    if at > later + 1:
        assert new_id(at - later - 1) < cut


def test_the_cut_before_all_time_is_before_every_id() -> None:
    assert first_id(-5) <= new_id(0)


def test_no_two_ids_of_one_millisecond_are_the_same_and_each_is_greater_than_the_one_before() -> None:
    made = [new_id(1_790_000_000_000) for _ in range(20_000)]
    assert made == sorted(set(made))
    assert {time_of(one) for one in made} == {1_790_000_000_000}


@pytest.mark.parametrize("text", ["", "x", "00000000-0000-4000-8000-000000000000", "' OR 1=1", "0" * 33])
def test_what_is_no_id_of_ours_has_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"UUID"):
        time_of(text)
