"""A replica leads while it holds the lease, and knows when it may not and when it was taken for dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.store import Store, open_store

from monitor.leadership import LEASE_MILLISECONDS, RENEW_SECONDS, Leadership

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def store(postgresql_url: str) -> AsyncIterator[Store]:
    async with open_store(postgresql_url) as opened:
        yield opened


class Replica:
    """A replica, and how often it was taken for dead."""

    def __init__(self, store: Store, name: str, *, alone: bool = False) -> None:
        self.gaps = 0
        self.leadership = Leadership(store.writer, name, store.clock, alone=alone, on_gap=self._note)

    def _note(self) -> None:
        self.gaps += 1


async def test_the_first_replica_leads_and_the_next_one_does_not_until_it_resigns(store: Store) -> None:
    first, second = Replica(store, "r-1"), Replica(store, "r-2")
    for replica in (first, second, first, second):
        await replica.leadership.renew()
    assert (first.leadership.leads, second.leadership.leads) == (True, False)
    await first.leadership.resign()
    await second.leadership.renew()
    assert (first.leadership.leads, second.leadership.leads) == (False, True)
    assert second.leadership.fence is not None
    assert second.leadership.fence.token == 2


async def test_a_leader_that_hears_nothing_of_the_store_stops_leading_by_its_own_clock(store: Store) -> None:
    replica = Replica(store, "r-1")
    await replica.leadership.renew()
    store.clock.advance(LEASE_MILLISECONDS - 1)
    assert replica.leadership.leads
    store.clock.advance(1)
    assert not replica.leadership.leads
    await replica.leadership.renew()
    assert replica.leadership.leads


async def test_a_replica_that_was_away_for_longer_than_its_lease_is_told_so_once(store: Store) -> None:
    replica = Replica(store, "r-1")
    await replica.leadership.renew()
    for _ in range(5):
        store.clock.advance(round(RENEW_SECONDS * 1000))
        await replica.leadership.renew()
    assert replica.gaps == 0
    store.clock.advance(LEASE_MILLISECONDS + 1)
    await replica.leadership.renew()
    assert replica.gaps == 1
    store.clock.advance(round(RENEW_SECONDS * 1000))
    await replica.leadership.renew()
    assert replica.gaps == 1


def test_another_replica_takes_over_within_ten_seconds() -> None:
    assert LEASE_MILLISECONDS / 1000 + RENEW_SECONDS < 10


async def test_a_process_that_is_alone_leads_without_a_lease(store: Store) -> None:
    replica = Replica(store, "r-1", alone=True)
    await replica.leadership.renew()
    await replica.leadership.resign()
    assert replica.leadership.leads
    assert await store.rows("SELECT * FROM leases") == []
