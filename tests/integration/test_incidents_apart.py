"""What goes wrong with one incident does not keep the others from being opened, told and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.store import Store, open_store
from support.watch import OUTAGE_KEY, Watch, outage

from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OTHER = "booking-monitor/test/BookingNotificationDeliveryLow/notification/real/2"


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    async with open_store(sqlite_url) as store:
        yield store


@pytest.fixture
async def watch(store: Store) -> Watch:
    return await outage(store)


async def test_an_incident_ends_although_a_line_of_its_timeline_is_gone(watch: Watch, store: Store) -> None:
    await store.alter("DELETE FROM incident_events WHERE position = 0")
    watch.failing = False
    await watch.go_on(10 * MINUTE)
    assert watch.said() == [("trigger", OUTAGE_KEY), ("resolve", OUTAGE_KEY)]


async def test_an_incident_that_cannot_be_written_keeps_no_other_back_and_is_no_complete_evaluation(
    watch: Watch, store: Store
) -> None:
    await store.alter(
        "CREATE TRIGGER broken BEFORE UPDATE ON incidents WHEN OLD.number = 1 BEGIN SELECT RAISE(ABORT, 'broken'); END"
    )
    complete_at = watch.evaluator.complete_at
    watch.slis = [Stage.NOTIFICATION]
    await watch.go_on(10 * MINUTE)
    assert watch.said() == [("trigger", OUTAGE_KEY), ("trigger", OTHER)]
    assert watch.evaluator.complete_at < store.clock() - MINUTE
    assert watch.evaluator.complete_at >= complete_at
    await store.alter("DROP TRIGGER broken")
    await watch.go_on(10 * MINUTE)
    assert watch.said()[-1] == ("resolve", OUTAGE_KEY)
    assert watch.evaluator.complete_at == store.clock()
