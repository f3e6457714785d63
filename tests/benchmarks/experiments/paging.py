"""How soon a fault becomes a page."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from support.pagerduty_receiver import ROUTING_KEY, PagerDutyReceiver
from support.waiting import wait_until

from benchmarks.booking import post
from benchmarks.load import Connection
from benchmarks.model import Numbers
from benchmarks.processes import BenchmarkError
from benchmarks.runner import Bench, Sides
from benchmarks.service import service, sqlite_url
from benchmarks.websocket import Socket
from monitor.domain.vocabulary import AlertName, Outcome, Stage
from monitor.settings import Settings

BOOKINGS = 3
"""Of bookings that all fail, as many as it takes to be evidence: 0.05 ** 3 is below alpha."""
GRACE = "1"
"""Seconds until the realtime event is due, so that a round is short. It is over before the measured time begins."""
PATIENCE = 60
"""Seconds to wait for the page."""
PROVIDER = "silent"
EVENT = {
    "routing_key": ROUTING_KEY,
    "event_action": "trigger",
    "payload": {"summary": "benchmark", "source": "benchmark", "severity": "critical"},
}


@contextlib.contextmanager
def of_fault(bench: Bench) -> Iterator[Sides]:
    """A subscriber that never acknowledges: from the last verdict that is needed to the page that PagerDuty accepts."""
    interval = float(Settings.model_fields["evaluation_interval"].default)
    # The evaluations start with the service: rounds that begin at different points of the interval meet them all.
    waits = itertools.cycle(interval * number / bench.rounds for number in range(bench.rounds))

    def through_service() -> Numbers:
        path = bench.scratch / f"paging-{time.monotonic_ns()}.db"
        with PagerDutyReceiver() as pagerduty:
            settings = {
                "GRACE_REALTIME": GRACE,
                "PAGERDUTY_URL": pagerduty.url,
                "PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
                "CANARY_INTERVAL": "0",
            }
            with service(bench.scratch, database_url=sqlite_url(path), settings=settings) as running:
                with contextlib.closing(Socket(running.port, f"/v1/realtime?provider_id={PROVIDER}")):
                    time.sleep(next(waits))
                    _make_bookings(running.port)
                    pages = wait_until(lambda: _pages(pagerduty), what="the page", timeout_seconds=PATIENCE)
                return {"seconds": min(pages) - _evident_at(path)}

    def interval_and_call() -> Numbers:
        with PagerDutyReceiver() as pagerduty:
            begun = time.perf_counter()
            answer = httpx.post(f"{pagerduty.url}/v2/enqueue", json=EVENT, trust_env=False)
            call = time.perf_counter() - begun
        answer.raise_for_status()
        return {"seconds": interval + call}

    yield {"service": through_service, "interval": interval_and_call}


def _make_bookings(port: int) -> None:
    connection = Connection(port)
    for number in range(BOOKINGS):
        connection.send(post(number, port, PROVIDER))
        while (answer := connection.receive()) is None:
            pass  # the rest of the answer is on its way
        if answer[0] != 201:
            raise BenchmarkError(f"a booking was answered {answer[0]}")


def _pages(pagerduty: PagerDutyReceiver) -> list[float]:
    """When pages about the realtime rate were accepted, in seconds since the epoch."""
    return [incident.opened_at for incident in pagerduty.incidents if AlertName.REALTIME_LOW in incident.dedup_key]


def _evident_at(path: Path) -> float:
    """When the last of the verdicts was in the store, in seconds since the epoch."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT outcome, judged_at FROM stages WHERE stage = ?", (Stage.REALTIME,)).fetchall()
    bad = [judged_at for outcome, judged_at in rows if outcome is not None and Outcome(outcome).bad]
    if len(bad) != BOOKINGS:
        raise BenchmarkError(f"{len(bad)} of {BOOKINGS} bookings failed")
    return float(max(bad)) / 1000
