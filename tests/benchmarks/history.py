"""Fills a store with journeys that were judged long ago, fast: with statements that make the rows inside SQLite.

Durability is off while filling, and indexes are made at the end; both are as ever when the store is used.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine

from benchmarks.booking import PROVIDERS, TABLES, Cell, Kind, rows
from monitor.store.tables import metadata

BATCH = 250_000
SPACING = 400
"""Milliseconds between two bookings: 5 million span 23 days."""
LAST_AT_AGE = 2 * 86_400_000
"""Age of the youngest of them, in milliseconds."""

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
_AT = "(:begin + i * :spacing)"
_FINISHED = {
    "bookings": {"status": "'completed'", "provider_response_status": "'confirmed'"},
    "deliveries": {"state": "'delivered'", "attempts": "1", "next_attempt_at": "NULL", "delivered_at": f"{_AT} + 20"},
    "stages": {
        "outcome": "'good'",
        "reason": "'on_time'",
        "evidence_at": f"{_AT} + 20",
        "judged_at": f"{_AT} + 11000",
    },
}
"""How finished journeys differ from those just made."""


def _expression(cell: Cell) -> str:
    if cell.kind is Kind.ID:
        # in the order of time, of the length and the look of a UUIDv7
        return f"printf('00000000-0000-7000-8{cell.value:03d}-%012x', i)"
    if cell.kind is Kind.AT:
        return f"{_AT} + {cell.value}"
    if cell.kind is Kind.PROVIDER:
        return f"'t-' || (i % {PROVIDERS})"
    if cell.kind is Kind.CUSTOMER:
        return "'c-' || i"
    if cell.value is None:
        return "NULL"
    return str(cell.value) if isinstance(cell.value, int) else "'" + cell.value.replace("'", "''") + "'"


def _statements() -> list[str]:
    found = []
    for table, made in rows(_expression).items():
        for row in made:
            finished = {**row, **_FINISHED.get(table, {})}
            values = ", ".join(finished.values())
            found.append(f"INSERT INTO {table} ({', '.join(finished)}) {_NUMBERS} SELECT {values} FROM n")  # noqa: S608 - names are ours
    return found


def fill(path: Path, journeys: int, progress: Callable[[int], None] = lambda _: None) -> None:
    """Add finished journeys to an empty store; `progress` is told how many there are so far."""
    begin = time.time_ns() // 1_000_000 - LAST_AT_AGE - journeys * SPACING
    indexes = [index for name in TABLES for index in metadata.tables[name].indexes]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1048576", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        for index in indexes:
            connection.execute(f"DROP INDEX {index.name}")
        statements = _statements()
        for first in range(0, journeys, BATCH):
            last = min(first + BATCH, journeys) - 1
            for statement in statements:
                connection.execute(statement, {"first": first, "last": last, "begin": begin, "spacing": SPACING})
            progress(last + 1)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as making:
        for index in indexes:
            index.create(making)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
