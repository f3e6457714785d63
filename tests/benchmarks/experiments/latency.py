"""How long one booking takes, and one scrape."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from support.waiting import wait_until

from benchmarks.experiments.throughput import CLIENTS, WARM_UP, saturate
from benchmarks.model import Numbers
from benchmarks.processes import free_port, run_json, server
from benchmarks.runner import Bench, Sides
from benchmarks.service import count_bookings, expect_stored, service, sqlite_url

RATE = 200.0
"""Bookings a second when paced: far below what either side can do, so that nothing queues."""
SCRAPE_RATE = 20.0
"""Scrapes a second. Prometheus asks far less often; each answer is rendered anew, so it does not flatter."""


@contextlib.contextmanager
def of_post(bench: Bench) -> Iterator[Sides]:
    """POST to 201 at a steady rate."""

    def paced(port: int) -> dict[str, float]:
        job = {"port": port, "clients": CLIENTS, "seconds": bench.seconds, "warmup": WARM_UP, "rate": RATE}
        return run_json("load", job)

    def through_service() -> Numbers:
        path = bench.scratch / f"store-{time.monotonic_ns()}.db"
        with service(bench.scratch, database_url=sqlite_url(path)) as running:
            found = paced(running.port)
        expect_stored(count_bookings(path), int(found["accepted"]))
        return found

    def bare() -> Numbers:
        port = free_port()
        database = bench.scratch / f"bare-{time.monotonic_ns()}.db"
        command = [sys.executable, "-m", "benchmarks.peers.bare_asgi", str(port), "commit", str(database)]
        with server(command, directory=bench.scratch, ready=f"http://127.0.0.1:{port}/"):
            return paced(port)

    yield {"service": through_service, "bare": bare}


@contextlib.contextmanager
def of_scrape(bench: Bench) -> Iterator[Sides]:
    """GET /metrics of an idle service, before and after it has taken bookings of many providers."""

    def scrape(port: int) -> dict[str, float]:
        job = {
            "port": port,
            "clients": 1,
            "seconds": bench.seconds,
            "warmup": 0.5,
            "rate": SCRAPE_RATE,
            "path": "/metrics",
        }
        return run_json("load", job)

    with contextlib.ExitStack() as stack:
        stores = {name: bench.scratch / f"{name}-{time.monotonic_ns()}.db" for name in ("service", "after_load")}
        ports = {
            name: stack.enter_context(service(bench.scratch, database_url=sqlite_url(path))).port
            for name, path in stores.items()
        }
        saturate(ports["after_load"], max(2.0, bench.seconds))
        wait_until(lambda: not _undecided(stores["after_load"]), what="all stages judged", timeout_seconds=60)
        yield {"service": lambda: scrape(ports["service"]), "after_load": lambda: scrape(ports["after_load"])}


def _undecided(path: Path) -> int:
    """Stages of real bookings that wait for their due time or for the judge."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM stages WHERE outcome IS NULL AND traffic = 'real'"
        return int(connection.execute(query).fetchone()[0])
