"""The periodic jobs, on APScheduler, with what it leaves out.

Nothing fails or is missed unseen. And though APScheduler plans by the system's clock, nobody who sets that clock
can stop the jobs: set back, it would leave every planned run that far away; set ahead, a run for each interval
that was leapt over would be reckoned up first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_EXECUTED,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    JobEvent,
)
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from monitor.domain.times import Now
from monitor.store.leases import FencedOffError
from monitor.store.writer import StoreUnavailableError
from monitor.telemetry.logs import get_logger
from monitor.telemetry.metrics import JobMetrics

log = get_logger(__name__)

LATENESS_SECONDS = 3600
"""A run that is late by less than this still takes place; several late ones take place as one."""
SET_BACK = timedelta(seconds=1)
"""A planned run that is by so much further away than its interval shows that the system's clock was set back."""
LOOK_SECONDS = 1
"""Between two looks whether it was, on a clock that cannot be set."""
PHASES = 4
"""Moments within each second at which jobs run.

All at one moment would hold up the bookings that come just then, and each at its own would wake an idle process often.
"""


class _Every(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """Fires at each whole multiple of an interval since `origin`; after a leap of the system's clock at the next."""

    def __init__(self, seconds: float, origin: datetime) -> None:
        self.interval = timedelta(seconds=seconds)
        self._origin = origin

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        planned = now if previous is None else previous + self.interval
        return planned if planned > now else now + self.interval - (now - self._origin) % self.interval


class Jobs:
    """Runs coroutine functions at intervals; a run that has not ended keeps the next one from beginning."""

    def __init__(self, metrics: Mapping[str, JobMetrics], now: Now) -> None:
        self._metrics = metrics
        self._now = now
        self._added = 0
        # By chance, so that replicas do not turn to the store all at the same moment.
        self._origin = datetime.fromtimestamp(random.random(), UTC)  # noqa: S311 - no secret
        for name in ("apscheduler.executors.default", "apscheduler.scheduler"):  # what they say, `_heard` says
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "misfire_grace_time": LATENESS_SECONDS, "max_instances": 1},
        )
        self._scheduler.add_listener(
            self._heard, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES
        )

    def add(self, name: str, every_seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Have `work` run at an interval from the start on."""
        origin = self._origin + timedelta(seconds=self._added % PHASES / PHASES)
        self._added += 1
        self._scheduler.add_job(work, _Every(every_seconds, origin), id=name)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()
        self._looking = asyncio.create_task(self._look_for_set_back())

    def stop(self) -> None:
        """Begin no more runs, and break off those that are under way."""
        self._looking.cancel()
        self._scheduler.remove_listener(self._heard)  # what is broken off now has not failed
        self._scheduler.shutdown(wait=False)

    async def _look_for_set_back(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = datetime.now(UTC)
            far = [
                job for job in self._scheduler.get_jobs() if job.next_run_time - now > job.trigger.interval + SET_BACK
            ]
            for job in far:
                job.modify(next_run_time=now)
            if far:
                log.warning("jobs.clock_was_set_back", jobs=len(far))

    def _heard(self, event: JobEvent) -> None:
        metrics = self._metrics[event.job_id]
        if event.code == EVENT_JOB_EXECUTED:
            metrics.succeeded(self._now())
        elif event.code == EVENT_JOB_ERROR:
            metrics.failed()
            expected = isinstance(event.exception, StoreUnavailableError | FencedOffError)
            log.error(
                "job.failed",
                job=event.job_id,
                error=str(event.exception) if expected else None,
                exc_info=None if expected else event.exception,
            )
        else:
            metrics.missed()
            log.warning("job.missed", job=event.job_id)
