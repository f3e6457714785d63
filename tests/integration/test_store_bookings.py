"""Making bookings: all that belongs to one or nothing, once for each Idempotency-Key; and reading them in pages."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter

import pytest
from sqlalchemy.exc import IntegrityError
from support.store import Store, open_store

from monitor.domain.vocabulary import Stage
from monitor.store import bookings, inbox, journeys
from monitor.store.bookings import KeyReusedError, Made, MakeBooking

PARTS = ("bookings", "chat_rooms", "chat_messages", "notifications", "deliveries", "stages")


async def sizes(store: Store) -> dict[str, int]:
    return {table: await store.value(f"SELECT count(*) AS n FROM {table}") for table in PARTS}  # noqa: S608 - a constant


async def counted(store: Store, name: str) -> dict[tuple[str, str], int]:
    rows = await store.rows("SELECT first, second, total FROM counters WHERE name = :name", name=name)
    return {(row["first"], row["second"]): row["total"] for row in rows}


async def test_a_booking_is_written_with_all_that_belongs_to_it(store: Store) -> None:
    planned = await store.make("t-7", customer_id="c-9", notes="ring 100 % twice; %s, ?, :x and ' too")
    booking_id = planned.command.booking_id
    assert await sizes(store) == dict(zip(PARTS, (1, 1, 1, 1, 1, 4), strict=True))
    room = await store.row("SELECT * FROM chat_rooms")
    assert (room["booking_id"], room["provider_id"], room["customer_id"]) == (booking_id, "t-7", "c-9")
    message = await store.row("SELECT * FROM chat_messages")
    assert (message["room_id"], message["kind"]) == (room["id"], "booking_received")
    notification = await store.row("SELECT * FROM notifications")
    assert (notification["booking_id"], notification["provider_id"]) == (booking_id, "t-7")
    delivery = await store.row("SELECT * FROM deliveries")
    assert (delivery["stage"], delivery["target"], delivery["state"]) == ("realtime", "t-7", "pending")
    stages = await store.rows("SELECT stage, outcome, due_at - created_at AS grace FROM stages ORDER BY stage")
    assert [(row["stage"], row["outcome"], row["grace"]) for row in stages] == [
        ("chat_room", None, 5000),
        ("message", None, 5000),
        ("notification", None, 10_000),
        ("realtime", None, 10_000),
    ]
    found = await store.readers.run(bookings.find, booking_id)
    assert found is not None
    assert found["notes"] == "ring 100 % twice; %s, ?, :x and ' too"


@pytest.mark.parametrize("pushing", [True, False], ids=["where pushes are sent", "where none are"])
@pytest.mark.parametrize("neighbours", [1, 600])
async def test_a_booking_that_cannot_be_written_leaves_nothing_and_its_neighbours_stand(
    store: Store,
    neighbours: int,
    pushing: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    good, bad = [store.plan() for _ in range(neighbours)], store.plan()
    with_room_of_another = tuple(good[0].room_id if value == bad.room_id else value for value in bad.command.given)
    commands = [*(one.command for one in good), dataclasses.replace(bad.command, given=with_room_of_another)]
    if not pushing:
        commands = [dataclasses.replace(command, push_retry_at=None) for command in commands]
    *results, refused = await store.submit_all(commands)
    assert results == [Made(one.command.booking_id) for one in good]
    assert isinstance(refused, IntegrityError)
    assert await sizes(store) == dict(zip(PARTS, [*[neighbours] * 5, 4 * neighbours], strict=True))
    assert await counted(store, "bookings") == {("real", "embedded"): neighbours}


async def test_more_bookings_at_once_than_one_statement_takes_are_all_written(store: Store) -> None:
    many = [store.plan().command for _ in range(1024)]
    with store.writing.begin() as connection:
        MakeBooking.execute(connection, many)
    assert await sizes(store) == dict(zip(PARTS, (1024, 1024, 1024, 1024, 1024, 4096), strict=True))
    assert await counted(store, "bookings") == {("real", "embedded"): 1024}


async def test_bookings_and_legacy_names_are_counted(store: Store) -> None:
    await store.make_many(40)
    await store.make("t-1", traffic="canary")
    legacy = {"therapistId": "t-1", "therapistName": "Ayu", "provider_name": "Ayu"}
    await store.make_many(3, **legacy)
    assert await counted(store, "bookings") == {("real", "embedded"): 43, ("canary", "embedded"): 1}
    assert await counted(store, "legacy_fields") == {("therapistId", ""): 3, ("therapistName", ""): 3}


async def test_a_repeated_key_gives_the_booking_that_it_made(store: Store) -> None:
    first = await store.make(key="k-1", body_hash="one")
    again = await store.submit(store.plan(key="k-1", body_hash="one").command)
    assert again == Made(first.command.booking_id, replayed=True)
    with pytest.raises(KeyReusedError):
        await store.submit(store.plan(key="k-1", body_hash="two").command)
    assert (await sizes(store))["bookings"] == 1
    assert await counted(store, "bookings") == {("real", "embedded"): 1}


async def test_a_key_that_is_repeated_within_a_group_makes_one_booking(store: Store) -> None:
    plans = [store.plan(key="k-1", body_hash=body) for body in ("one", "one", "two", "one")]
    plans.append(store.plan(key="k-2", body_hash="two"))
    results = await store.submit_all([one.command for one in plans])
    assert (await store.sizes_of_groups(commands=5))[-1] == 5
    assert results[0] == Made(plans[0].command.booking_id)
    assert results[1] == results[3] == Made(plans[0].command.booking_id, replayed=True)
    assert isinstance(results[2], KeyReusedError)
    assert results[4] == Made(plans[4].command.booking_id)
    assert (await sizes(store))["bookings"] == 2


async def test_replicas_that_get_the_same_key_at_once_make_one_booking(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        made: list[Made] = []
        for number in range(20):
            plans = [store.plan(key=f"k-{number}", body_hash="same") for store in (one, other)]
            made += await asyncio.gather(one.submit(plans[0].command), other.submit(plans[1].command))
        assert (await sizes(one))["bookings"] == 20
        assert Counter(result.replayed for result in made) == {False: 20, True: 20}
        assert len({result.booking_id for result in made}) == 20


async def test_a_push_is_planned_for_each_subscription_of_the_provider(store: Store) -> None:
    mine = {await store.subscribe_push("t-1", f"https://push.example/{number}") for number in range(2)}
    await store.subscribe_push("t-2", "https://push.example/other")
    with_push, without = store.plan("t-1"), store.plan("t-3")
    made, none = await store.submit_all([with_push.command, without.command])
    assert none.pushes == ()
    assert {push.subscription_id for push in made.pushes} == mine
    assert {push.endpoint for push in made.pushes} == {"https://push.example/0", "https://push.example/1"}
    rows = await store.rows("SELECT * FROM deliveries WHERE stage = 'push'")
    assert {row["id"] for row in rows} == {push.delivery_id for push in made.pushes}
    assert {(row["booking_id"], row["state"], row["next_attempt_at"]) for row in rows} == {
        (with_push.command.booking_id, "pending", store.clock() + 10_000)
    }
    stage = await store.row("SELECT * FROM stages WHERE stage = 'push'")
    assert (stage["booking_id"], stage["due_at"]) == (with_push.command.booking_id, store.clock() + 10_000)


async def test_no_push_is_planned_where_none_are_sent(store: Store) -> None:
    await store.subscribe_push("t-1")
    command = dataclasses.replace(store.plan("t-1").command, push_retry_at=None)
    made = await store.submit(command)
    assert made.pushes == ()
    assert await store.value("SELECT count(*) FROM deliveries WHERE stage = 'push'") == 0
    assert await store.value("SELECT count(*) FROM stages WHERE stage = 'push'") == 0


async def test_pages_of_bookings_hold_each_one_once_the_newest_first(store: Store) -> None:
    made = []
    for number in range(25):
        made.append((await store.make(f"t-{number % 2}")).command.booking_id)
        store.clock.advance(number % 3)
    assert await pages(store, provider_id=None, status=None) == made[::-1]
    assert await pages(store, provider_id="t-1", status="pending") == made[1::2][::-1]
    assert await pages(store, provider_id="t-1", status="completed") == []


async def pages(store: Store, *, provider_id: str | None, status: str | None) -> list[str]:
    found: list[str] = []
    before: str | None = None
    while page := await store.readers.run(
        bookings.page, provider_id=provider_id, status=status, before=before, limit=4
    ):
        assert len(page) <= 4
        found += [row["id"] for row in page]
        before = found[-1]
    return found


async def test_ids_of_recent_journeys_can_be_asked_for_by_provider_and_traffic(store: Store) -> None:
    real = [(await store.make(f"t-{number}")).command.booking_id for number in range(3)]
    canary = (await store.make("t-1", traffic="canary")).command.booking_id

    async def recent(
        provider_id: str | None = None, traffic: str | None = None, before: str | None = None
    ) -> list[str]:
        return await store.readers.run(
            journeys.recent_ids, provider_id=provider_id, traffic=traffic, before=before, limit=10
        )

    assert await recent() == [canary, *real[::-1]]
    assert await recent(traffic="canary") == [canary]
    assert await recent(provider_id="t-1") == [canary, real[1]]
    assert await recent(traffic="real", before=real[2]) == [real[1], real[0]]


async def test_a_journey_is_read_with_its_stages_in_order_and_its_deliveries(store: Store) -> None:
    await store.subscribe_push("t-1")
    planned = await store.make("t-1")
    booking_id = planned.command.booking_id
    (journey,) = await store.readers.run(journeys.read, [booking_id, "unknown"], deliveries=True)
    assert journey.booking["id"] == booking_id
    assert [row["stage"] for row in journey.stages] == [stage.value for stage in Stage]
    assert journey.deliveries is not None
    assert sorted(row["stage"] for row in journey.deliveries) == ["push", "realtime"]


async def test_a_booking_is_found_with_what_is_left_of_its_parts(store: Store) -> None:
    booking_id = (await store.make()).command.booking_id
    await store.alter("DELETE FROM chat_rooms")
    parts = await store.readers.run(bookings.find_parts, booking_id)
    assert parts is not None
    assert parts.booking["id"] == booking_id
    assert parts.chat_room is None
    assert parts.notification is not None
    assert await store.readers.run(bookings.find_parts, "unknown") is None


async def test_pages_of_the_inbox_hold_each_notification_once_and_know_what_is_read(store: Store) -> None:
    made = [(await store.make("t-1")).notification_id for _ in range(7)]
    await store.make("t-2")
    read = await store.submit(inbox.MarkRead(made[3], store.clock.advance(1000)))
    assert read["read_at"] == store.clock()
    again = await store.submit(inbox.MarkRead(made[3], store.clock.advance(1000)))
    assert again["read_at"] == store.clock() - 1000
    assert await store.submit(inbox.MarkRead(made[2], store.clock(), provider_id="t-2")) is None

    async def notifications(*, unread: bool) -> list[str]:
        found: list[str] = []
        while page := await store.readers.run(
            inbox.page, "t-1", before=found[-1] if found else None, unread=unread, limit=3
        ):
            found += [row["id"] for row in page]
        return found

    assert await notifications(unread=False) == made[::-1]
    assert await notifications(unread=True) == [one for one in made[::-1] if one != made[3]]
