"""Leases: one holder at a time, a token that only grows, and the subscriptions that a dead replica leaves behind."""

from __future__ import annotations

import asyncio

import pytest
from support.store import NOON, Store, open_store
from support.waiting import eventually

from monitor.domain.ledger import Mark
from monitor.store.judging import RecordMark
from monitor.store.leases import LEADER, BuryReplicas, Fence, FencedOffError, ReleaseLeases, RenewLease, replica_lease
from monitor.store.subscriptions import CloseAll, last_sign_of_life

LONG = 3_600_000


async def renew(store: Store, holder: str, lifetime: int = LONG, name: str = LEADER) -> Fence | None:
    fence: Fence | None = await store.submit(RenewLease(name, holder, lifetime, store.clock.advance(1)))
    return fence


async def test_a_lease_has_one_holder_who_keeps_its_token(store: Store) -> None:
    assert await renew(store, "r-1") == Fence(LEADER, "r-1", 1)
    assert await renew(store, "r-2") is None
    assert await renew(store, "r-1") == Fence(LEADER, "r-1", 1)


async def test_a_lease_that_ended_is_taken_over_and_its_token_grows(store: Store) -> None:
    tokens = []
    for holder in ("r-1", "r-2", "r-1", "r-1", "r-3"):
        fence = await renew(store, holder, lifetime=0)
        assert fence is not None
        tokens.append(fence.token)
    assert tokens == [1, 2, 3, 3, 4]


async def test_the_clock_of_the_database_decides_where_it_has_one(postgresql_url: str) -> None:
    """A replica whose clock is a year ahead must not take a lease that is held."""
    async with open_store(postgresql_url) as store:
        await renew(store, "r-1", lifetime=LONG)
        store.clock.advance(365 * 24 * LONG)
        assert await renew(store, "r-2") is None
        row = await store.row("SELECT expires_at, extract(epoch from now()) * 1000 AS now FROM leases")
        assert 0 <= row["now"] + LONG - row["expires_at"] < LONG / 10


async def test_a_lease_moves_when_its_holder_stops_renewing(store: Store) -> None:
    first = await renew(store, "r-1", lifetime=50)

    async def taken() -> Fence | None:
        store.clock.advance(20)
        return await renew(store, "r-2", lifetime=LONG)

    assert await eventually(taken, what="the lease moves") == Fence(LEADER, "r-2", 2)
    assert await renew(store, "r-1") is None
    with pytest.raises(FencedOffError):
        await store.submit(RecordMark(Mark.JUDGED, 1, first))


async def test_of_replicas_that_reach_for_a_lease_at_once_one_gets_it(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        for number in range(10):
            fences = await asyncio.gather(
                renew(one, "r-1", name=f"lease {number}"), renew(other, "r-2", name=f"lease {number}")
            )
            assert sum(fence is not None for fence in fences) == 1


async def test_a_lease_that_is_given_up_can_be_taken_at_once_and_the_token_grows(store: Store) -> None:
    await renew(store, "r-1")
    await renew(store, "r-1", name=replica_lease("r-1"))
    await renew(store, "r-2", name=replica_lease("r-2"))
    await store.submit(ReleaseLeases("r-1"))
    assert await renew(store, "r-2") == Fence(LEADER, "r-2", 2)
    names = {row["name"] for row in await store.rows("SELECT name FROM leases")}
    assert names == {LEADER, replica_lease("r-2")}


async def test_what_a_dead_replica_left_open_is_closed_as_of_its_last_sign_of_life(store: Store) -> None:
    await store.connect("s-1", replica="r-1")
    await store.connect("s-2", replica="r-2")
    await store.connect("closed before", replica="r-1")
    await store.disconnect("closed before")
    await renew(store, "r-1", lifetime=0, name=replica_lease("r-1"))
    await renew(store, "r-2", name=replica_lease("r-2"))
    fence = await renew(store, "r-2")
    ended = await store.value("SELECT expires_at FROM leases WHERE holder = 'r-1'")
    store.clock.advance(20_000)
    assert await store.submit(BuryReplicas(store.clock(), 700, fence)) == 1
    assert await store.submit(BuryReplicas(store.clock(), 700, fence)) == 0
    closed = {row["id"]: row["closed_at"] for row in await store.rows("SELECT id, closed_at FROM live_subscriptions")}
    assert closed == {"s-1": ended - 700, "s-2": None, "closed before": NOON}
    with pytest.raises(FencedOffError):
        await store.submit(BuryReplicas(store.clock(), 700, Fence(LEADER, "r-1", 1)))


async def test_what_an_earlier_process_left_open_is_closed_as_of_its_last_sign_of_life(store: Store) -> None:
    assert await store.readers.run(last_sign_of_life) == 0
    await store.connect("s-1")
    store.clock.advance(5000)
    await store.make()
    assert await store.readers.run(last_sign_of_life) == NOON + 5000
    await store.submit(RecordMark(Mark.JUDGED, NOON + 7000))
    store.clock.advance(60_000)
    assert await store.submit(CloseAll(store.clock())) == 1
    assert await store.value("SELECT closed_at FROM live_subscriptions") == NOON + 7000
