"""Peer: the rows of a booking written with nothing but sqlite3, one booking or a group of them in each commit.

Also what the other peers use to make and open such a database: the same tables and indexes as the service,
write-ahead log, synchronous=FULL (each commit is synced to the disk before it returns), foreign keys enforced, the same
cache.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from benchmarks.booking import TABLES, Tuples, insert_statements, tuples
from benchmarks.processes import BenchmarkError
from monitor.store.tables import metadata

FULL = 2
PREPARED = 1024
"""Bookings that are prepared at a time, outside the measured time."""


def create(path: Path) -> None:
    """Make an empty database with the tables of the service."""
    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()


def connect(path: Path) -> sqlite3.Connection:
    """Open it for durable writing, without implicit transactions."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    if mode != "wal" or synchronous != FULL:
        raise BenchmarkError(f"the peer is not durable: journal_mode={mode}, synchronous={synchronous}")
    return connection


class Writer:
    """Writes bookings in one commit each call."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path)
        self._statements = insert_statements()

    def commit(self, bookings: list[Tuples]) -> None:
        """Write prepared bookings in one transaction."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if len(bookings) == 1:
            for name in TABLES:
                for row in bookings[0][name]:
                    execute(self._statements[name], row)
        else:
            for name in TABLES:
                self._connection.executemany(
                    self._statements[name], [row for booking in bookings for row in booking[name]]
                )
        execute("COMMIT")

    def count(self) -> int:
        """Bookings in the database."""
        found: int = self._connection.execute("SELECT count(*) FROM bookings").fetchone()[0]
        return found

    def close(self) -> None:
        """Close the connection, which checkpoints the log."""
        self._connection.close()


def run(job: dict[str, Any]) -> dict[str, float]:
    """Write groups of `group` bookings for `seconds` to a new database in `directory`."""
    path = Path(job["directory"]) / f"raw-{time.monotonic_ns()}.db"
    create(path)
    writer = Writer(path)
    group: int = job["group"]
    written, spent = 0, 0.0
    gc.disable()
    while spent < job["seconds"]:
        prepared = list(tuples(written, PREPARED))
        groups = [prepared[at : at + group] for at in range(0, PREPARED, group)]
        begun = time.perf_counter()
        for one in groups:
            writer.commit(one)
        spent += time.perf_counter() - begun
        written += PREPARED
        gc.collect()
    if writer.count() != written:
        raise BenchmarkError("not every booking is in the database")
    return {"per_second": written / spent}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
