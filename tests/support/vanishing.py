"""Rows that vanish as soon as their booking is made: in its own transaction, so that no judge is ever quicker."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from monitor.domain.vocabulary import Stage, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def vanishing(database: Path, *tables: str, providers: str = "*") -> Iterator[None]:
    """Let what real bookings leave in these tables vanish; `providers` is the pattern (GLOB) of theirs."""
    theirs = f"(SELECT provider_id FROM bookings WHERE id = NEW.booking_id) GLOB '{providers}'"  # noqa: S608 - our own words
    made = f"NEW.stage = '{Stage.CHAT_ROOM}' AND NEW.traffic = '{Traffic.REAL}' AND {theirs}"
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as connection:
        for table in tables:
            connection.execute(
                f"CREATE TRIGGER vanishing_{table} AFTER INSERT ON stages WHEN {made}"  # noqa: S608 - our own names
                f" BEGIN DELETE FROM {table} WHERE booking_id = NEW.booking_id; END"
            )
        yield
        for table in tables:
            connection.execute(f"DROP TRIGGER vanishing_{table}")
