"""The outbox: who gets what to deliver, how attempts end, and what is put aside, taken up and driven again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from support.store import NOON, Store, migrated, open_store

from monitor.domain.ids import first_id
from monitor.domain.ledger import Counter
from monitor.domain.lifecycle import Action
from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import AttemptResult, DeliveryState, Stage
from monitor.store.deliveries import (
    ClaimDue,
    ParkUnheard,
    RecordAttempt,
    Redrive,
    find_dead,
    find_events,
    find_push_targets,
    missed_events,
)
from monitor.store.lifecycle import Take
from monitor.store.snapshot import read_snapshot
from monitor.store.statements import insert_rows
from monitor.store.tables import bookings, counters, deliveries, delivery_attempts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from monitor.store.deliveries import Claimed

LEASE = 4000


async def claim(store: Store, stage: Stage = Stage.REALTIME, limit: int = 100, *targets: str) -> list[Claimed]:
    found: list[Claimed] = await store.submit(ClaimDue(stage, store.clock(), LEASE, limit, targets or None))
    return found


async def delivery(store: Store, delivery_id: str) -> dict[str, Any]:
    return dict(await store.row("SELECT * FROM deliveries WHERE id = :id", id=delivery_id))


async def test_a_new_event_is_not_due_until_its_first_acknowledgement_is_overdue(store: Store) -> None:
    planned = await store.make("t-1")
    store.clock.advance(1999)
    assert await claim(store) == []
    store.clock.advance(1)
    (claimed,) = await claim(store)
    assert (claimed.id, claimed.target, claimed.attempts) == (planned.event_id, "t-1", 0)
    assert dict(claimed.booking)["id"] == planned.command.booking_id
    assert dict(claimed.booking)["provider_name"] == "Ayu"


async def test_what_is_claimed_comes_due_again_when_its_lease_ends(store: Store) -> None:
    await store.make_many(3)
    store.clock.advance(MINUTE)
    assert len(await claim(store)) == 3
    store.clock.advance(LEASE - 1)
    assert await claim(store) == []
    store.clock.advance(1)
    assert len(await claim(store)) == 3


async def test_a_claim_takes_the_longest_due_of_the_named_targets_and_stage(store: Store) -> None:
    await store.subscribe_push("t-1")
    events = []
    for number in range(6):
        events.append((await store.make(f"t-{number % 2}")).event_id)
        store.clock.advance(10)
    store.clock.advance(MINUTE)
    assert [one.id for one in await claim(store, Stage.REALTIME, 2, "t-0", "t-9")] == [events[0], events[2]]
    assert {one.booking["provider_id"] for one in await claim(store, Stage.PUSH)} == {"t-1"}
    assert [one.id for one in await claim(store, Stage.REALTIME)] == [events[1], events[3], events[4], events[5]]


async def test_claimers_at_the_same_time_never_get_the_same_delivery(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        await one.make_many(300)
        for store in (one, other):
            store.clock.advance(MINUTE)
        claims = await asyncio.gather(*[claim(store, Stage.REALTIME, 20) for _ in range(10) for store in (one, other)])
        ids = [claimed.id for group in claims for claimed in group]
        assert len(ids) == len(set(ids)) >= 200
        rest = await claim(one, Stage.REALTIME, 500)
        assert len({*ids, *(claimed.id for claimed in rest)}) == 300


async def test_a_locked_delivery_is_passed_over_and_not_waited_for(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as store:
        await store.make_many(5)
        store.clock.advance(MINUTE)
        with store.writing.connect() as somebody, somebody.begin():
            locked = somebody.execute(select(deliveries.c.id).limit(2).with_for_update()).scalars().all()
            taken = await asyncio.wait_for(claim(store), 5)
        assert len(taken) == 3
        assert not {one.id for one in taken} & set(locked)


async def test_an_acknowledgement_is_written_once(store: Store) -> None:
    event = (await store.make()).event_id
    accepted = RecordAttempt(event, NOON + 50, AttemptResult.OK)
    assert await store.submit_all([accepted, accepted]) == [True, False]
    assert await store.submit(RecordAttempt(event, NOON + 99, AttemptResult.OK)) is False
    assert await store.submit(RecordAttempt(event, NOON + 99, AttemptResult.UNACKNOWLEDGED)) is False
    assert await store.submit(RecordAttempt("unknown", NOON, AttemptResult.OK)) is False
    row = await delivery(store, event)
    assert (row["state"], row["attempts"], row["delivered_at"], row["next_attempt_at"], row["last_error"]) == (
        "delivered",
        1,
        NOON + 50,
        None,
        None,
    )
    snapshot = await store.readers.run(read_snapshot, NOON, MINUTE)
    assert snapshot.delivery_attempts == {(Stage.REALTIME, AttemptResult.OK): 1}
    assert snapshot.deliveries == {}


async def test_failed_attempts_lead_to_retries_and_then_to_death_and_all_are_on_record(store: Store) -> None:
    await store.subscribe_push()
    push = (await store.submit(store.plan().command)).pushes[0].delivery_id
    for attempt, next_at in ((1, NOON + 10), (2, NOON + 20)):
        report = RecordAttempt(push, NOON + attempt, AttemptResult.ERROR, next_at, "push service: 503")
        assert await store.submit(report) is True
        row = await delivery(store, push)
        assert (row["state"], row["attempts"], row["next_attempt_at"], row["last_error"]) == (
            "retrying",
            attempt,
            next_at,
            "push service: 503",
        )
    await store.submit(RecordAttempt(push, NOON + 3, AttemptResult.REJECTED))
    row = await delivery(store, push)
    assert (row["state"], row["attempts"], row["next_attempt_at"], row["last_error"]) == ("dead", 3, None, "rejected")
    history = await store.rows("SELECT attempt, at, result, detail FROM delivery_attempts ORDER BY attempt")
    assert [(one["attempt"], one["at"], one["result"], one["detail"]) for one in history] == [
        (1, NOON + 1, "error", "push service: 503"),
        (2, NOON + 2, "error", "push service: 503"),
        (3, NOON + 3, "rejected", None),
    ]
    store.clock.advance(MINUTE)
    assert await claim(store, Stage.PUSH) == []
    snapshot = await store.readers.run(read_snapshot, NOON, MINUTE)
    assert snapshot.deliveries[Stage.PUSH, DeliveryState.DEAD] == 1


async def test_a_push_whose_subscription_is_gone_lapses(store: Store) -> None:
    await store.subscribe_push()
    push = (await store.submit(store.plan().command)).pushes[0].delivery_id
    await store.submit(RecordAttempt(push, NOON, AttemptResult.GONE))
    assert (await delivery(store, push))["state"] == "lapsed"


async def test_the_dead_are_driven_again_with_a_fresh_budget(store: Store) -> None:
    events = [(await store.make()).event_id for _ in range(3)]
    for event in events:
        await store.submit(RecordAttempt(event, NOON, AttemptResult.UNACKNOWLEDGED, NOON + 1))
        await store.submit(RecordAttempt(event, NOON, AttemptResult.UNACKNOWLEDGED))
    alive = (await store.make()).event_id
    booking_id = (await delivery(store, events[2]))["booking_id"]
    assert await store.readers.run(find_dead, Stage.PUSH, None) == []
    assert await store.readers.run(find_dead, Stage.REALTIME, booking_id) == [events[2]]
    assert sorted(await store.readers.run(find_dead, None, None)) == events
    assert await store.submit(Redrive(events[:2], store.clock())) == 2
    assert await store.readers.run(find_dead, None, None) == [events[2]]
    assert await store.submit(Redrive([*events, alive], store.clock())) == 1
    assert await store.readers.run(find_dead, None, None) == []
    claimed = await claim(store)
    assert [(one.id, one.attempts, one.attempts_before) for one in claimed] == [(event, 2, 2) for event in events]
    assert (await delivery(store, alive))["state"] == "pending"


async def test_what_nobody_hears_is_put_aside_until_its_provider_connects(store: Store) -> None:
    await store.connect("s-1", "t-1")
    heard, unheard = await store.make("t-1"), await store.make("t-2")
    assert await store.submit(ParkUnheard(store.clock(), 10)) == 0
    store.clock.advance(MINUTE)
    assert await store.submit(ParkUnheard(store.clock(), 10)) == 1
    assert [one.id for one in await claim(store)] == [heard.event_id]
    assert (await delivery(store, unheard.event_id))["next_attempt_at"] is None
    await store.connect("s-2", "t-2")
    assert [one.id for one in await claim(store)] == [unheard.event_id]
    await store.disconnect("s-2")
    store.clock.advance(MINUTE)
    assert await store.submit(ParkUnheard(store.clock(), 10)) == 1


async def test_putting_aside_goes_in_batches(store: Store) -> None:
    await store.make_many(7)
    store.clock.advance(MINUTE)
    assert [await store.submit(ParkUnheard(store.clock(), 3)) for _ in range(4)] == [3, 3, 1, 0]


async def test_connecting_plans_nothing_that_has_ended(store: Store) -> None:
    delivered, dead, lapsed = [await store.make("t-1") for _ in range(3)]
    await store.submit(RecordAttempt(delivered.event_id, NOON, AttemptResult.OK))
    await store.submit(RecordAttempt(dead.event_id, NOON, AttemptResult.UNACKNOWLEDGED))
    await store.submit(Take(lapsed.command.booking_id, Action.DECLINE, store.clock()))
    await store.connect("s-1", "t-1")
    store.clock.advance(MINUTE)
    assert await claim(store) == []


async def test_what_is_answered_is_no_longer_delivered_but_may_still_be_acknowledged(store: Store) -> None:
    await store.subscribe_push()
    planned = await store.make()
    await store.submit(Take(planned.command.booking_id, Action.ACCEPT, store.clock()))
    states = {row["state"] for row in await store.rows("SELECT state FROM deliveries")}
    assert states == {"lapsed"}
    store.clock.advance(MINUTE)
    assert await claim(store) + await claim(store, Stage.PUSH) == []
    await store.submit(RecordAttempt(planned.event_id, NOON, AttemptResult.UNACKNOWLEDGED, NOON + 5))
    assert (await delivery(store, planned.event_id))["state"] == "lapsed"
    assert await store.submit(RecordAttempt(planned.event_id, NOON + 9, AttemptResult.OK)) is True
    assert (await delivery(store, planned.event_id))["state"] == "delivered"


async def test_events_are_found_only_by_their_provider(store: Store) -> None:
    await store.subscribe_push("t-1")
    mine, other = await store.make("t-1"), await store.make("t-2")
    push = await store.value("SELECT id FROM deliveries WHERE stage = 'push'")
    asked = [mine.event_id, other.event_id, str(push), "unknown"]
    assert [one.id for one in await store.readers.run(find_events, "t-1", asked)] == [mine.event_id]


async def test_push_targets_are_found_by_their_ids(store: Store) -> None:
    subscription = await store.subscribe_push("t-1", "https://push.example/mine")
    found = await store.readers.run(find_push_targets, [subscription, "gone"])
    assert {key: row.endpoint for key, row in found.items()} == {subscription: "https://push.example/mine"}


async def test_a_returning_provider_gets_what_it_missed_in_pages_and_in_order(store: Store) -> None:
    events = []
    for _ in range(20):
        events.append((await store.make("t-1")).event_id)
        await store.make("t-2")
        store.clock.advance(1)
    for acknowledged in events[::3]:
        await store.submit(RecordAttempt(acknowledged, NOON, AttemptResult.OK))
    unheard = [one for one in events if one not in events[::3]]

    async def missed(seen: str | None, last_seen: str | None) -> list[str]:
        found: list[str] = []
        after = ""
        while page := await store.readers.run(
            missed_events, "t-1", after=after, seen=seen, last_seen=last_seen, limit=4
        ):
            assert len(page) <= 4
            found += [one.id for one in page]
            after = found[-1]
        return found

    assert await missed(None, None) == unheard
    newer = [one for one in events[10:] if one != events[12]]
    assert await missed(first_id(NOON + 10), events[12]) == sorted({*unheard, *newer})


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["d-1", "d-2", "unknown"]),
        st.sampled_from(AttemptResult),
        st.one_of(st.none(), st.integers(NOON, NOON + 9)),
    ),
    max_size=8,
)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with migrated(database_url) as engine, engine.connect() as opened:
        yield opened


@given(drawn=REPORTS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_reports_do_the_same_whether_they_come_together_or_one_by_one(
    connection: Connection, drawn: list[tuple[str, AttemptResult, int | None]]
) -> None:
    reports = [RecordAttempt(which, NOON + at, result, again) for at, (which, result, again) in enumerate(drawn)]

    def outcome(groups: list[list[RecordAttempt]]) -> object:
        with connection.begin():
            connection.execute(delete(bookings))
            connection.execute(delete(counters))
            insert_rows(connection, bookings, [BOOKING])
            for one in ("d-1", "d-2"):
                row = (one, "b-1", "realtime", "t-1", "pending", 0, NOON, None, NOON, None, 0)
                insert_rows(connection, deliveries, [row])
            news = [result for group in groups for result in RecordAttempt.execute(connection, group)]
            tables = [
                [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
                for table in (deliveries, delivery_attempts, counters)
            ]
            return news, tables

    assert outcome([reports]) == outcome([[one] for one in reports])


BOOKING = tuple(
    {"provider_id": "t-1", "id": "b-1", "status": "pending", "response_deadline": NOON, "created_at": NOON}.get(
        column.name, NOON if column.name == "updated_at" else None if column.nullable else "x"
    )
    for column in bookings.columns
)


async def test_attempts_are_counted_by_stage_and_result(store: Store) -> None:
    events = [(await store.make()).event_id for _ in range(3)]
    results = [AttemptResult.UNACKNOWLEDGED, AttemptResult.OK, AttemptResult.UNACKNOWLEDGED]
    await store.submit_all([RecordAttempt(event, NOON, how, NOON) for event, how in zip(events, results, strict=True)])
    rows = await store.rows("SELECT * FROM counters WHERE name = :name", name=Counter.DELIVERY_ATTEMPTS.value)
    assert {(row["first"], row["second"]): row["total"] for row in rows} == {
        ("realtime", "unacknowledged"): 2,
        ("realtime", "ok"): 1,
    }
