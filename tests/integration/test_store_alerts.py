"""Incidents and the outbox of pages: nothing is overtaken, sent in vain, or written by who does not lead any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.store import NOON, Store

from monitor.domain.alert_lifecycle import Alert
from monitor.domain.objectives import CRITICAL_RATES, PAGE_UNDELIVERED, AlertKey
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import AlertState, PageChannel, PageState
from monitor.store.alerts import (
    ClaimPages,
    IncidentChange,
    PlannedPage,
    RecordEvaluation,
    RecordPage,
    RevivePages,
    find_incident,
    incident_page,
    read_alerts,
    resendable,
)
from monitor.store.handling import Acknowledge
from monitor.store.leases import LEADER, Fence, FencedOffError, RenewLease
from monitor.store.snapshot import read_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from monitor.domain.rows import Fields

KEY = CRITICAL_RATES[0]
LEASE = 20 * SECOND
BOTH = ("pagerduty", "webhook")
REPORT = '{"summary":"3 of 3"}'


def planned(action: str, channels: Sequence[str], number: int) -> tuple[PlannedPage, ...]:
    return tuple(PlannedPage(channel, action, f"key/{number}", "{}") for channel in channels)


async def evaluate(store: Store, *changes: IncidentChange, fence: Fence | None = None) -> None:
    changed = {
        change.key: Alert(AlertState.FIRING, NOON, NOON) if change.opened else Alert(resolved_at=change.resolved_at)
        for change in changes
    }
    await store.submit(RecordEvaluation(changed, changes, store.clock.advance(SECOND), fence))


def fired(number: int = 1, *, key: AlertKey = KEY, channels: Sequence[str] = BOTH) -> IncidentChange:
    opened = Alert(AlertState.FIRING, NOON, NOON)
    return IncidentChange(number, key, REPORT, opened=opened, pages=planned("trigger", channels, number), event="fired")


def resolved(number: int = 1, *, key: AlertKey = KEY, channels: Sequence[str] = BOTH) -> IncidentChange:
    pages = planned("resolve", channels, number)
    return IncidentChange(number, key, REPORT, resolved_at=NOON + MINUTE, pages=pages, event="resolved")


async def claim(
    store: Store, channel: str = "pagerduty", *, limit: int = 100, under_way: tuple[int, ...] = ()
) -> list[Fields]:
    found: list[Fields] = await store.submit(ClaimPages(store.clock(), LEASE, limit, channel, under_way, None))
    return found


async def note(store: Store, row: Fields, state: PageState, *, again_in: int | None = None, **more: Any) -> None:
    again_at = None if again_in is None else store.clock() + again_in
    await store.submit(
        RecordPage(row["id"], row["incident"], row["channel"], state, store.clock(), again_at, "HTTP", **more)
    )


async def states(store: Store, channel: str = "pagerduty") -> list[tuple[str, str]]:
    rows = await store.rows("SELECT action, state FROM pages WHERE channel = :channel ORDER BY id", channel=channel)
    return [(row["action"], row["state"]) for row in rows]


async def test_an_incident_and_its_pages_are_there_together_and_are_read_back(store: Store) -> None:
    await evaluate(store, fired())
    read = await store.readers.run(read_alerts)
    assert read.alerts[KEY].state is AlertState.FIRING
    assert set(read.open) == {KEY}
    assert read.next_number == 2
    assert len(await claim(store)) == len(await claim(store, "webhook")) == 1


async def test_a_claimed_page_is_claimed_again_only_when_its_lease_is_over(store: Store) -> None:
    await evaluate(store, fired())
    assert [row["action"] for row in await claim(store)] == ["trigger"]
    store.clock.advance(LEASE - 1)
    assert await claim(store) == []
    store.clock.advance(1)
    assert [row["attempts"] for row in await claim(store)] == [1]


async def test_a_resolve_waits_for_its_trigger_and_for_nothing_of_other_incidents(store: Store) -> None:
    await evaluate(store, fired(1), fired(2, key=CRITICAL_RATES[1]))
    first, second = await claim(store)
    await note(store, first, PageState.PENDING, again_in=MINUTE)
    await note(store, second, PageState.SENT)
    await evaluate(store, resolved(2, key=CRITICAL_RATES[1]))
    assert [(row["incident"], row["action"]) for row in await claim(store)] == [(2, "resolve")]


async def test_pages_of_an_incident_that_is_under_way_are_left_alone(store: Store) -> None:
    await evaluate(store, fired(1), fired(2, key=CRITICAL_RATES[1]))
    assert [row["incident"] for row in await claim(store, under_way=(1,))] == [2]


async def test_no_more_are_claimed_than_there_is_room_for_and_the_oldest_first(store: Store) -> None:
    for number in range(1, 5):
        await evaluate(store, fired(number, key=CRITICAL_RATES[number]))
    claimed = await claim(store, limit=3)
    assert [row["incident"] for row in claimed] == [1, 2, 3]


async def test_a_resolve_takes_the_place_of_a_trigger_that_was_tried_and_not_taken(store: Store) -> None:
    await evaluate(store, fired())
    (trigger,) = await claim(store)
    await note(store, trigger, PageState.PENDING, again_in=MINUTE)
    await evaluate(store, resolved())
    assert await states(store) == [("trigger", "superseded"), ("resolve", "pending")]
    assert [row["action"] for row in await claim(store)] == ["resolve"]


async def test_a_channel_that_never_heard_of_it_hears_nothing_of_its_end(store: Store) -> None:
    await evaluate(store, fired(channels=("webhook",)))
    (trigger,) = await claim(store, "webhook")
    await note(store, trigger, PageState.PENDING, again_in=SECOND, tried=False)
    await evaluate(store, resolved())
    assert await states(store, "webhook") == [("trigger", "superseded")]
    assert await states(store, "pagerduty") == []


async def test_an_alarm_that_was_raised_without_the_store_is_entered_with_its_end(store: Store) -> None:
    opened = Alert(AlertState.FIRING, NOON, NOON)
    change = IncidentChange(
        1, KEY, REPORT, opened=opened, resolved_at=NOON + MINUTE, pages=planned("resolve", BOTH, 1), event="resolved"
    )
    await evaluate(store, change)
    assert (await store.readers.run(read_alerts)).open == {}
    assert await states(store) == await states(store, "webhook") == [("resolve", "pending")]


@pytest.mark.parametrize("state", [PageState.PENDING, PageState.DEAD])
async def test_a_failure_that_is_told_after_the_resolve_does_not_bring_the_trigger_back(
    store: Store, state: PageState
) -> None:
    await evaluate(store, fired())
    (trigger,) = await claim(store)
    await evaluate(store, resolved())
    await note(store, trigger, state, again_in=0)
    assert await states(store) == [("trigger", "superseded"), ("resolve", "pending")]


async def test_an_answer_that_comes_after_the_resolve_is_still_written_down(store: Store) -> None:
    await evaluate(store, fired())
    (trigger,) = await claim(store)
    await evaluate(store, resolved())
    await note(store, trigger, PageState.SENT)
    assert await states(store) == [("trigger", "sent"), ("resolve", "pending")]


async def test_given_up_pages_come_back_with_a_start_as_long_as_their_incident_is_open(store: Store) -> None:
    await evaluate(store, fired(1), fired(2, key=CRITICAL_RATES[1]))
    for row in await claim(store):
        await note(store, row, PageState.DEAD)
    await evaluate(store, resolved(2, key=CRITICAL_RATES[1]))
    assert await store.submit(RevivePages(store.clock(), None)) == 1
    assert [(row["incident"], row["attempts"]) for row in await claim(store)] == [(1, 0), (2, 0)]


async def test_given_up_pages_count_until_their_incident_ends_and_never_keep_their_own_alert_up(store: Store) -> None:
    async def dead() -> int:
        snapshot = await store.readers.run(read_snapshot, store.clock(), MINUTE)
        return snapshot.pages.get((PageChannel.PAGERDUTY, PageState.DEAD), 0)

    await evaluate(store, fired(1), fired(2, key=PAGE_UNDELIVERED))
    for row in await claim(store):
        await note(store, row, PageState.DEAD)
    assert await dead() == 1
    await evaluate(store, resolved(1))
    assert await dead() == 0


async def test_an_acknowledgement_counts_since_the_first_and_each_is_noted_once_and_only_for_what_is_known(
    store: Store,
) -> None:
    await evaluate(store, fired())
    assert not await store.submit(Acknowledge("key/99", store.clock()))
    first = store.clock()
    assert await store.submit(Acknowledge("key/1", first))
    assert not await store.submit(Acknowledge("key/1", first))
    assert await store.submit(Acknowledge("key/1", store.clock.advance(SECOND)))
    found = await store.readers.run(find_incident, 1)
    assert found is not None
    assert found.incident["acknowledged_at"] == first
    assert [event["event"] for event in found.events] == ["fired", "acknowledged", "acknowledged"]


async def test_who_does_not_lead_any_more_writes_and_claims_nothing(store: Store) -> None:
    mine: Fence = await store.submit(RenewLease(LEADER, "a", 1, store.clock()))
    await evaluate(store, fired(1), fence=mine)
    await store.alter("UPDATE leases SET expires_at = 0")
    assert await store.submit(RenewLease(LEADER, "b", MINUTE, store.clock())) is not None
    with pytest.raises(FencedOffError):
        await evaluate(store, fired(2, key=CRITICAL_RATES[1]), fence=mine)
    with pytest.raises(FencedOffError):
        await store.submit(ClaimPages(store.clock(), LEASE, 10, "pagerduty", (), mine))
    with pytest.raises(FencedOffError):
        await store.submit(RevivePages(store.clock(), mine))
    assert await states(store) == [("trigger", "pending")]
    assert len(await store.readers.run(incident_page, before=None, active=True, limit=10)) == 1


async def test_alertmanager_is_told_again_of_what_it_accepted_last(store: Store) -> None:
    await evaluate(store, fired(1, channels=("alertmanager",)))
    assert await store.readers.run(resendable, "alertmanager", 0) == []
    (trigger,) = await claim(store, "alertmanager")
    await note(store, trigger, PageState.SENT)
    assert [row["action"] for row in await store.readers.run(resendable, "alertmanager", 0)] == ["trigger"]
    await evaluate(store, resolved(1, channels=("alertmanager",)))
    assert await store.readers.run(resendable, "alertmanager", 0) == []
    (ended,) = await claim(store, "alertmanager")
    await note(store, ended, PageState.SENT)
    assert [row["action"] for row in await store.readers.run(resendable, "alertmanager", NOON)] == ["resolve"]
    assert await store.readers.run(resendable, "alertmanager", NOON + MINUTE) == []
