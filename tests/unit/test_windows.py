"""Cutting windows out of counts by the minute and by the second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.times import SECOND
from monitor.domain.vocabulary import Window
from monitor.domain.windows import Spans, spans

INSTANTS = st.integers(0, 4_000_000_000_000)
LENGTHS = st.integers(1, 800) | st.sampled_from([window.seconds for window in Window])


def seconds_of(cut: Spans) -> list[int]:
    """Every second that is read, as often as it is read."""
    minutes = range(cut.minutes[0] * 60, cut.minutes[1] * 60)
    return [*minutes, *(second for start, end in cut.seconds for second in range(start, end))]


@given(INSTANTS, LENGTHS)
def test_a_window_reads_each_of_its_seconds_once_and_no_other(now: int, length: int) -> None:
    last = now // SECOND
    assert sorted(seconds_of(spans(now, length))) == list(range(last - length + 1, last + 1))


@given(INSTANTS, LENGTHS)
def test_what_is_read_by_the_second_is_less_than_two_minutes_of_rows(now: int, length: int) -> None:
    cut = spans(now, length)
    assert len(cut.seconds) <= 2
    assert all(start < end for start, end in cut.seconds)
    assert sum(end - start for start, end in cut.seconds) < 2 * 60


@given(INSTANTS, LENGTHS, st.lists(st.integers(-1_000_000, 1_000_000), max_size=20))
def test_counts_are_those_of_brute_force(now: int, length: int, offsets: list[int]) -> None:
    due = [now + offset for offset in offsets]
    read = seconds_of(spans(now, length))
    in_window = [at for at in due if now // SECOND - length < at // SECOND <= now // SECOND]
    assert [at for at in due if at // SECOND in read] == in_window


@given(INSTANTS, LENGTHS, st.integers(1, 200))
def test_windows_that_follow_each_other_neither_overlap_nor_leave_a_gap(now: int, length: int, steps: int) -> None:
    earlier, later = (seconds_of(spans(at, length)) for at in (now, now + length * SECOND))
    assert not set(earlier) & set(later)
    assert max(earlier) + 1 == min(later)
    moved = seconds_of(spans(now + steps * SECOND, length))
    assert {second + steps for second in earlier} == set(moved)


def test_a_booking_that_is_due_now_is_in_and_one_that_was_due_a_window_ago_is_not() -> None:
    read = seconds_of(spans(600_000, 300))
    assert 600 in read
    assert 300 not in read
    assert 601 not in read
