"""When periodic jobs run, as long as the system's clock goes, and after it leapt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.jobs import _Every

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
INTERVAL = timedelta(seconds=2)


@given(after=st.timedeltas(timedelta(0), INTERVAL - timedelta(microseconds=1)))
def test_jobs_of_one_interval_run_together_whenever_they_were_added(after: timedelta) -> None:
    assert _Every(2).get_next_fire_time(None, NOON + after) == NOON + INTERVAL


@given(late=st.timedeltas(timedelta(0), INTERVAL - timedelta(microseconds=1)))
def test_a_run_that_begins_a_little_late_does_not_put_off_the_next_one(late: timedelta) -> None:
    assert _Every(2).get_next_fire_time(NOON, NOON + late) == NOON + INTERVAL


@given(leap=st.timedeltas(INTERVAL, timedelta(days=70 * 365)))
def test_after_a_leap_ahead_the_next_run_is_at_most_one_interval_away_however_long_the_leap_was(
    leap: timedelta,
) -> None:
    now = NOON + leap
    following = _Every(2).get_next_fire_time(NOON, now)
    assert now < following <= now + INTERVAL
    assert (following - NOON) % INTERVAL == timedelta(0)
