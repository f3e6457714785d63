"""Old journeys go while the service works, by whoever leads, and nobody who books has to wait for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
from support.bookings import booking
from support.bookkeeping import half_made, rows, store
from support.inprocess import service_in_process
from support.store import open_store
from support.waiting import eventually

from monitor.domain.times import DAY, MINUTE
from monitor.service import JOBS
from monitor.store.leases import LEADER, ReleaseLeases, RenewLease
from monitor.store.retention import Prune

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from sqlalchemy import Connection
    from support.store import Store

OLD = 600
BATCH = 10
CUSTOMERS = 4


async def make_old(store: Store) -> None:
    """Make bookings that were judged longer ago than journeys are kept."""
    store.clock.at = time.time_ns() // 1_000_000 - 91 * DAY
    await store.make_many(OLD)
    await store.alter("UPDATE stages SET outcome = 'good', reason = 'on_time', judged_at = due_at")


async def test_bookings_are_made_while_old_journeys_go_in_batches(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    refused: list[str] = []
    batches: list[tuple[int, int]] = []
    """How many rows each batch removed, and how many bookings had been answered by then."""
    prune = Prune.run

    def run(self: Prune, connection: Connection) -> int:
        removed = prune(self, connection)
        batches.append((removed, len(made)))
        return removed

    async def pruned() -> bool:
        return bool(batches) and batches[-1][0] == 0

    async def book(api: httpx.AsyncClient) -> None:
        while not await pruned():
            answer = await api.post("/v1/bookings", json=booking())
            if answer.status_code == httpx.codes.CREATED:
                made.append(answer.json()["booking"]["id"])
            else:
                refused.append(answer.text)

    async with open_store(database_url) as before:
        await make_old(before)
    monkeypatch.setitem(JOBS, "retention", 1)
    monkeypatch.setattr(Prune, "run", run)
    async with service_in_process(tmp_path, database_url=database_url, retention_batch=BATCH) as running:
        await asyncio.gather(*(book(running.api) for _ in range(CUSTOMERS)))
        assert 'booking_job_runs_total{job="retention",result="error"} 0' in (await running.api.get("/metrics")).text
    assert refused == []
    assert sum(removed for removed, _ in batches) == OLD
    assert max(removed for removed, _ in batches) == BATCH
    assert len({answered for _, answered in batches}) >= CUSTOMERS, "nobody booked between the batches"
    with store(database_url) as connection:
        assert sorted(rows(connection, "SELECT id FROM bookings")) == sorted(made)
        assert half_made(connection) == []


async def test_only_the_replica_that_leads_lets_journeys_go(postgresql_url: str, tmp_path: Path) -> None:
    def left() -> list[int]:
        with store(postgresql_url) as connection:
            return rows(connection, "SELECT count(*) FROM bookings")

    async with open_store(postgresql_url) as other:
        await make_old(other)
        await other.submit(RenewLease(LEADER, "another", MINUTE, other.clock()))
        async with service_in_process(tmp_path, database_url=postgresql_url) as running:
            await running.service._prune()
            assert left() == [OLD]
            await other.submit(ReleaseLeases("another"))

            async def leads() -> bool:
                return running.service.leadership.leads

            await eventually(leads, what="it takes the lead")
            await running.service._prune()
            assert left() == [0]
