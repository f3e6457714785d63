"""When periodic jobs run, as long as the system's clock goes and after it leapt, and what is told of their runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge
from support.waiting import eventually

from monitor.jobs import PHASES, Jobs, _Every
from monitor.telemetry.metrics import JobMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
INTERVAL = timedelta(seconds=2)


@given(after=st.timedeltas(timedelta(0), INTERVAL - timedelta(microseconds=1)))
def test_a_job_runs_at_the_multiples_of_its_interval_whenever_it_was_added(after: timedelta) -> None:
    assert _Every(2, NOON).get_next_fire_time(None, NOON + after) == NOON + INTERVAL


@given(late=st.timedeltas(timedelta(0), INTERVAL - timedelta(microseconds=1)))
def test_a_run_that_begins_a_little_late_does_not_put_off_the_next_one(late: timedelta) -> None:
    assert _Every(2, NOON).get_next_fire_time(NOON, NOON + late) == NOON + INTERVAL


@given(leap=st.timedeltas(INTERVAL, timedelta(days=70 * 365)))
def test_after_a_leap_ahead_the_next_run_is_at_most_one_interval_away_however_long_the_leap_was(
    leap: timedelta,
) -> None:
    now = NOON + leap
    following = _Every(2, NOON).get_next_fire_time(NOON, now)
    assert now < following <= now + INTERVAL
    assert (following - NOON) % INTERVAL == timedelta(0)


def test_jobs_that_are_added_one_after_the_other_do_not_all_run_at_one_moment() -> None:
    jobs = Jobs({}, lambda: 0)
    for name in "abcd":
        jobs.add(name, 1, nothing)
    moments = sorted(job.trigger.get_next_fire_time(None, NOON) for job in jobs._scheduler.get_jobs())
    assert [later - sooner for sooner, later in pairwise(moments)] == [timedelta(seconds=1 / PHASES)] * 3


async def nothing() -> None:
    pass


class Work:
    """A job whose runs end when the test lets them, and what the metrics tell of it."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun = 0
        self.under_way = 0
        self.most_at_once = 0
        self._registry = CollectorRegistry()
        runs = Counter("runs", "Runs", ["job", "result"], registry=self._registry)
        success = Gauge("success", "Last success", ["job"], registry=self._registry)
        self.jobs = Jobs({"slow": JobMetrics(runs, success, "slow")}, lambda: 0)
        self.jobs.add("slow", 0.02, self.run)

    async def run(self) -> None:
        self.begun += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await self.may_end.wait()
        finally:
            self.under_way -= 1

    def runs(self, result: str) -> float:
        return self._registry.get_sample_value("runs_total", {"job": "slow", "result": result}) or 0

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async def holds() -> bool:
            return condition()

        await eventually(holds, what=what)


async def test_runs_of_a_job_that_outlasts_its_interval_are_missed_and_none_overlaps_another() -> None:
    work = Work()
    work.jobs.start()
    await work.until(lambda: work.runs("missed") >= 3, "three runs are missed")
    assert (work.begun, work.most_at_once) == (1, 1)
    work.may_end.set()
    await work.until(lambda: work.runs("ok") >= 3, "it runs again")
    assert work.most_at_once == 1
    work.jobs.stop()


async def test_a_run_that_is_broken_off_by_the_stop_is_not_told_as_a_failure() -> None:
    work = Work()
    work.jobs.start()
    await work.until(lambda: work.under_way == 1, "a run has begun")
    work.jobs.stop()
    await work.until(lambda: work.under_way == 0, "it is broken off")
    assert work.runs("error") == 0
