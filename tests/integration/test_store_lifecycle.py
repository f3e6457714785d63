"""What becomes of a booking after it was made; its chat; the push subscriptions of its provider."""

from __future__ import annotations

import asyncio

import pytest
from support.store import NOON, TERMS, Store, open_store

from monitor.domain.due import Judged
from monitor.domain.judgement import Verdict
from monitor.domain.lifecycle import Action, IllegalTransitionError
from monitor.domain.times import HOUR, MINUTE
from monitor.domain.vocabulary import Outcome, Reason, Stage, Traffic
from monitor.store import chat
from monitor.store.chat import Post, RoomClosedError, UnknownRoomError
from monitor.store.inbox import DropPushSubscription, PutPushSubscription
from monitor.store.judging import RecordVerdicts
from monitor.store.lifecycle import ExpireUnanswered, NotSyntheticError, RemoveSynthetic, Take, UnknownBookingError
from monitor.store.snapshot import read_snapshot


async def told(store: Store) -> list[str]:
    """What the chats were told, in order."""
    return [str(row["kind"]) for row in await store.rows("SELECT kind FROM chat_messages ORDER BY id")]


@pytest.mark.parametrize(
    ("action", "status", "response", "message"),
    [
        (Action.ACCEPT, "confirmed", "confirmed", "booking_accepted"),
        (Action.DECLINE, "cancelled", "declined", "booking_declined"),
        (Action.CANCEL, "cancelled", "awaiting_response", "booking_cancelled"),
    ],
)
async def test_a_step_is_written_once_and_told_to_the_chat(
    store: Store, action: Action, status: str, response: str, message: str
) -> None:
    booking_id = (await store.make("t-1")).command.booking_id
    store.clock.advance(1000)
    take = Take(booking_id, action, store.clock(), provider_id="t-1")
    written = await store.submit(take)
    assert (written["status"], written["provider_response_status"], written["updated_at"]) == (
        status,
        response,
        NOON + 1000,
    )
    again = await store.submit(Take(booking_id, action, store.clock.advance(1000)))
    assert dict(again) == dict(written)
    assert await told(store) == ["booking_received", message]
    assert [row["state"] for row in await store.rows("SELECT state FROM deliveries")] == ["lapsed"]


async def test_a_step_that_is_not_open_changes_nothing(store: Store) -> None:
    booking_id = (await store.make("t-1")).command.booking_id
    with pytest.raises(IllegalTransitionError):
        await store.submit(Take(booking_id, Action.COMPLETE, store.clock()))
    with pytest.raises(UnknownBookingError):
        await store.submit(Take(booking_id, Action.ACCEPT, store.clock(), provider_id="t-2"))
    with pytest.raises(UnknownBookingError):
        await store.submit(Take("unknown", Action.ACCEPT, store.clock()))
    with pytest.raises(IllegalTransitionError):
        await store.submit(Take(booking_id, Action.ACCEPT, NOON + TERMS.response_deadline))
    assert await store.value("SELECT status FROM bookings") == "pending"
    assert await told(store) == ["booking_received"]


async def test_of_two_steps_that_exclude_each_other_one_is_taken(store: Store) -> None:
    for number in range(10):
        booking_id = (await store.make()).command.booking_id
        results = await store.submit_all(
            [Take(booking_id, one, store.clock()) for one in (Action.DECLINE, Action.ACCEPT)]
        )
        assert isinstance(results[1], IllegalTransitionError), number
    assert await store.value("SELECT count(*) AS n FROM bookings WHERE provider_response_status = 'declined'") == 10


async def test_accepting_and_cancelling_on_two_replicas_ends_in_a_legal_state(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        for _ in range(20):
            booking_id = (await one.make()).command.booking_id
            taken = (
                one.submit(Take(booking_id, Action.ACCEPT, one.clock())),
                other.submit(Take(booking_id, Action.CANCEL, other.clock())),
            )
            accepted, cancelled = tuple(await asyncio.gather(*taken, return_exceptions=True))
            assert not isinstance(cancelled, Exception)
            row = await one.row("SELECT * FROM bookings WHERE id = :id", id=booking_id)
            response = "awaiting_response" if isinstance(accepted, IllegalTransitionError) else "confirmed"
            assert (row["status"], row["provider_response_status"]) == ("cancelled", response)


async def test_bookings_that_nobody_answered_expire_at_their_deadline_in_batches(store: Store) -> None:
    made = [await store.make() for _ in range(5)]
    answered = await store.make()
    await store.submit(Take(answered.command.booking_id, Action.ACCEPT, store.clock()))
    store.clock.at = NOON + TERMS.response_deadline - 1
    assert await store.submit(ExpireUnanswered(store.clock(), 10)) == []
    store.clock.advance(1)
    expired = [await store.submit(ExpireUnanswered(store.clock(), 3)) for _ in range(3)]
    assert [len(batch) for batch in expired] == [3, 2, 0]
    assert {one for batch in expired for one in batch} == {one.command.booking_id for one in made}
    rows = await store.rows("SELECT DISTINCT status, provider_response_status AS r FROM bookings")
    assert {(row["status"], row["r"]) for row in rows} == {("expired", "timed_out"), ("confirmed", "confirmed")}
    assert (await told(store)).count("booking_expired") == 5
    with pytest.raises(IllegalTransitionError):
        await store.submit(Take(made[0].command.booking_id, Action.ACCEPT, store.clock()))


async def test_replicas_that_expire_at_once_expire_each_booking_once(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        await one.make_many(50)
        now = NOON + TERMS.response_deadline
        batches = await asyncio.gather(
            *[store.submit(ExpireUnanswered(now, 20)) for _ in range(4) for store in (one, other)]
        )
        ids = [booking_id for batch in batches for booking_id in batch]
        assert len(ids) == len(set(ids)) == 50
        assert (await told(one)).count("booking_expired") == 50


async def test_a_canary_is_removed_with_all_that_belongs_to_it_and_a_real_booking_is_not(store: Store) -> None:
    real = (await store.make()).command.booking_id
    await store.subscribe_push("t-canary")
    canary = (await store.make("t-canary", traffic="canary", key="k-1")).command.booking_id
    await store.submit(RemoveSynthetic(canary))
    with pytest.raises(NotSyntheticError):
        await store.submit(RemoveSynthetic(real))
    with pytest.raises(UnknownBookingError):
        await store.submit(RemoveSynthetic(canary))
    for table in ("bookings", "chat_rooms", "chat_messages", "notifications", "deliveries"):
        assert await store.value(f"SELECT count(*) AS n FROM {table}") == 1  # noqa: S608 - a constant
    assert await store.value("SELECT count(*) AS n FROM stages") == 4
    assert await store.value("SELECT count(*) AS n FROM idempotency_keys") == 0
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.bookings[Traffic.CANARY, "embedded"] == 1


async def test_what_was_counted_of_a_canary_stays_counted(store: Store) -> None:
    canary = (await store.make(traffic="canary")).command.booking_id
    store.clock.advance(MINUTE)
    good = Verdict(Outcome.GOOD, Reason.ON_TIME, NOON)
    judged = tuple(Judged(one, good) for one in await store.due(Stage.CHAT_ROOM))
    await store.submit(RecordVerdicts(judged, store.clock(), None))
    await store.submit(RemoveSynthetic(canary))
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.outcomes == {(Stage.CHAT_ROOM, Traffic.CANARY, Outcome.GOOD, Reason.ON_TIME): 1}


async def test_messages_are_read_in_order_and_in_pages(store: Store) -> None:
    planned = await store.make("t-1", customer_id="c-1")
    texts = [f"message {number} % ? :x" for number in range(9)]
    for number, body in enumerate(texts):
        sender = ("customer", "c-1") if number % 2 else ("provider", "t-1")
        written = await store.submit(Post(planned.room_id, *sender, body, store.clock.advance(number % 2)))
        assert (written["body"], written["sender_type"], written["kind"]) == (body, sender[0], "text")
    found: list[str] = []
    after: str | None = None
    while page := await store.readers.run(chat.messages, planned.room_id, after=after, limit=4):
        found += [row["body"] for row in page]
        after = page[-1]["id"]
    assert found[1:] == texts


async def test_a_room_takes_messages_until_it_expires(store: Store) -> None:
    planned = await store.make()
    with pytest.raises(UnknownRoomError):
        await store.submit(Post("unknown", "customer", "c-1", "hello?", store.clock()))
    await store.submit(Post(planned.room_id, "customer", "c-1", "hello", NOON + TERMS.chat_room_lifetime - 1))
    with pytest.raises(RoomClosedError):
        await store.submit(Post(planned.room_id, "customer", "c-1", "hello?", NOON + TERMS.chat_room_lifetime))
    assert len(await told(store)) == 2


def put(store: Store, provider_id: str, endpoint: str, *, auth: str = "secret", limit: int = 3) -> PutPushSubscription:
    return PutPushSubscription(provider_id, endpoint, "key", auth, None, store.clock.advance(1), limit)


async def endpoints(store: Store, provider_id: str) -> list[str]:
    rows = await store.rows(
        "SELECT endpoint FROM push_subscriptions WHERE provider_id = :id ORDER BY id", id=provider_id
    )
    return [row["endpoint"] for row in rows]


async def test_a_subscription_that_is_given_again_keeps_its_id_and_takes_the_new_keys(store: Store) -> None:
    first = await store.submit(put(store, "t-1", "https://push.example/1"))
    assert await store.submit(put(store, "t-1", "https://push.example/1", auth="new")) == first
    assert await store.value("SELECT auth FROM push_subscriptions") == "new"


async def test_the_oldest_subscriptions_of_a_provider_give_way(store: Store) -> None:
    await store.submit(put(store, "t-2", "https://push.example/other"))
    for number in range(5):
        await store.submit(put(store, "t-1", f"https://push.example/{number}"))
    assert await endpoints(store, "t-1") == [f"https://push.example/{number}" for number in (2, 3, 4)]
    assert await endpoints(store, "t-2") == ["https://push.example/other"]


async def test_an_endpoint_moves_to_the_provider_who_gave_it_last(store: Store) -> None:
    first = await store.submit(put(store, "t-1", "https://push.example/1"))
    pushed = await store.submit(store.plan("t-1").command)
    second = await store.submit(put(store, "t-2", "https://push.example/1"))
    assert first != second, "what was planned for the one must not reach the other"
    assert pushed.pushes[0].subscription_id == first
    assert await endpoints(store, "t-1") == []
    assert await endpoints(store, "t-2") == ["https://push.example/1"]


async def test_replicas_that_take_the_same_endpoint_at_once_keep_it_once(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        for number in range(10):
            endpoint = f"https://push.example/{number}"
            await asyncio.gather(
                one.submit(put(one, "t-1", endpoint, limit=50)), other.submit(put(other, "t-2", endpoint, limit=50))
            )
        assert len(await endpoints(one, "t-1")) + len(await endpoints(one, "t-2")) == 10


async def test_a_subscription_is_dropped_by_its_owner_only(store: Store) -> None:
    await store.submit(put(store, "t-1", "https://push.example/1"))
    by_endpoint = "https://push.example/1"
    assert await store.submit(DropPushSubscription(endpoint=by_endpoint, provider_id="t-2")) is False
    assert await store.submit(DropPushSubscription(endpoint=by_endpoint, provider_id="t-1")) is True
    assert await store.submit(DropPushSubscription(endpoint=by_endpoint, provider_id="t-1")) is False
