"""The writers of several replicas share counters and deliveries, and never wait for each other in a circle."""

from __future__ import annotations

import asyncio

import psycopg
from sqlalchemy import make_url
from support.postgres import SUPERUSER, PostgresServer
from support.store import Store, open_store

from monitor.domain.vocabulary import AttemptResult
from monitor.store.deliveries import RecordAttempt

ROUNDS = 60
BOOKINGS = 6
"""In a group, with as many acknowledgements."""


async def work(store: Store, *, acknowledge_first: bool) -> None:
    """Write groups in which bookings and acknowledgements follow each other in this order."""
    made = await store.make_many(BOOKINGS)
    for _ in range(ROUNDS):
        planned = [store.plan() for _ in range(BOOKINGS)]
        acknowledgements = [RecordAttempt(one.event_id, store.clock(), AttemptResult.OK) for one in made]
        bookings = [one.command for one in planned]
        both = (acknowledgements, bookings) if acknowledge_first else (bookings, acknowledgements)
        results = await store.submit_all([command for commands in both for command in commands])
        assert not [result for result in results if isinstance(result, Exception)]
        made = planned


def deadlocks(postgres: PostgresServer, database: str | None) -> int:
    with psycopg.connect(host=str(postgres.directory), user=SUPERUSER, dbname="postgres") as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", (database,)).fetchone()
    assert row is not None
    return int(row[0])


async def test_bookings_and_acknowledgements_of_two_replicas_never_deadlock(postgres: PostgresServer) -> None:
    with postgres.fresh_database() as url:
        async with open_store(url) as one, open_store(url) as other:
            async with asyncio.timeout(60):
                await asyncio.gather(work(one, acknowledge_first=True), work(other, acknowledge_first=False))
            total = (ROUNDS + 1) * BOOKINGS * 2
            assert await one.value("SELECT sum(total) AS n FROM counters WHERE name = 'bookings'") == total
        # The connections are closed: what they counted has been told.
        assert deadlocks(postgres, make_url(url).database) == 0
