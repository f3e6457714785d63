"""More bookings at once than the writer's queue takes."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from support.bookings import booking
from support.waiting import wait_until

if TYPE_CHECKING:
    import httpx

    from support.service import RunningService

SMALL_QUEUE: dict[str, Any] = {"writer_queue_limit": 4, "writer_group_limit": 1}
"""Settings of a service that is soon full."""
SENT, TURNED_AWAY = 24, 16
"""Bookings that are sent at once, and how many of them at least a service of these settings turns away."""


def overload(service: RunningService, client: httpx.Client) -> list[httpx.Response]:
    """Send bookings of the providers `t-0` and on while the store is locked; returns the answers in their order."""
    with (
        closing(sqlite3.connect(service.database_path, isolation_level=None)) as holder,
        ThreadPoolExecutor(SENT) as threads,
    ):
        holder.execute("BEGIN IMMEDIATE")
        sent = [threads.submit(client.post, "/v1/bookings", json=booking(provider_id=f"t-{n}")) for n in range(SENT)]
        wait_until(lambda: sum(one.done() for one in sent) >= TURNED_AWAY, what="most are turned away")
        holder.execute("ROLLBACK")
        return [one.result() for one in sent]
