"""When periodic jobs run, as long as the system's clock goes, and after it leapt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.jobs import _Every

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
INTERVAL = timedelta(seconds=2)


def test_the_first_run_is_one_interval_away() -> None:
    assert _Every(2).get_next_fire_time(None, NOON) == NOON + INTERVAL


@given(late=st.timedeltas(timedelta(0), INTERVAL - timedelta(microseconds=1)))
def test_a_run_that_begins_a_little_late_does_not_put_off_the_next_one(late: timedelta) -> None:
    assert _Every(2).get_next_fire_time(NOON, NOON + late) == NOON + INTERVAL


@given(leap=st.timedeltas(INTERVAL, timedelta(days=70 * 365)))
def test_after_a_leap_ahead_the_next_run_is_one_interval_away_however_long_the_leap_was(leap: timedelta) -> None:
    now = NOON + leap
    assert _Every(2).get_next_fire_time(NOON, now) == now + INTERVAL
