"""Peer: DBOS making the booking as a durable workflow of four steps, on SQLite.

The rows go to a database of their own with the same durability as ours. DBOS's system database is switched to the
write-ahead log, which it does not do by itself and which makes it faster. There is no HTTP: that favours it too. One
client drives it: 8 or 32 of them make less than a tenth more.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig

from benchmarks.booking import Tuples, insert_statements, tuples
from benchmarks.peers.raw_sqlite import connect, create
from benchmarks.processes import BenchmarkError

STEPS = (("bookings", "chat_rooms", "stages"), ("chat_messages",), ("notifications",), ("deliveries",))
"""The tables that each step writes in its commit."""


class Store:
    """The application's own database: one connection, one commit for each step."""

    def __init__(self, path: Path) -> None:
        create(path)
        self._connection = connect(path)
        self._statements = insert_statements()
        self._lock = threading.Lock()

    def commit(self, step: int, booking: Tuples) -> None:
        """Write the rows of one step."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            for name in STEPS[step]:
                self._connection.executemany(self._statements[name], booking[name])
            self._connection.execute("COMMIT")

    def count(self) -> int:
        """Bookings that have got as far as their last step."""
        found: int = self._connection.execute("SELECT count(*) FROM deliveries").fetchone()[0]
        return found


def run(job: dict[str, Any]) -> dict[str, float]:
    """Run workflows from `clients` threads for `seconds`, with new databases in `directory`."""
    directory = Path(job["directory"])
    system = directory / f"dbos-{time.monotonic_ns()}.db"
    with sqlite3.connect(system) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    store = Store(directory / f"dbos-rows-{time.monotonic_ns()}.db")
    DBOS(config=DBOSConfig(name="bench", system_database_url=f"sqlite:///{system}", log_level="ERROR"))

    @DBOS.step()
    def create_booking_and_room(booking: Tuples) -> None:
        store.commit(0, booking)

    @DBOS.step()
    def post_message(booking: Tuples) -> None:
        store.commit(1, booking)

    @DBOS.step()
    def notify(booking: Tuples) -> None:
        store.commit(2, booking)

    @DBOS.step()
    def plan_delivery(booking: Tuples) -> None:
        store.commit(3, booking)

    @DBOS.workflow()
    def make_booking(booking: Tuples) -> None:
        create_booking_and_room(booking)
        post_message(booking)
        notify(booking)
        plan_delivery(booking)

    DBOS.launch()
    try:
        return _drive(job, make_booking, store)
    finally:
        DBOS.destroy()


def _drive(job: dict[str, Any], make_booking: Any, store: Store) -> dict[str, float]:
    prepared = list(tuples(0, 20_000))
    taken = iter(prepared)
    lock = threading.Lock()
    begun = time.perf_counter()
    until = begun + job["seconds"]
    latencies: list[float] = []

    def client() -> None:
        while time.perf_counter() < until:
            with lock:
                booking = next(taken)
            started = time.perf_counter()
            make_booking(booking)
            latencies.append(time.perf_counter() - started)

    with ThreadPoolExecutor(job["clients"]) as pool:
        for done in [pool.submit(client) for _ in range(job["clients"])]:
            done.result()
    spent = time.perf_counter() - begun
    if store.count() != len(latencies):
        raise BenchmarkError("not every workflow has written its rows")
    return {"per_second": len(latencies) / spent}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
