"""Looking for the things themselves: what is deleted or altered behind the service's back is seen for what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.store import NOON, Store

from monitor.domain.judgement import Verdict, judge
from monitor.domain.vocabulary import AttemptResult, Outcome, Reason, Stage
from monitor.platforms.embedded import EmbeddedPlatform
from monitor.store.deliveries import RecordAttempt
from monitor.store.evidence import IDS_A_QUERY
from monitor.store.inbox import DropPushSubscription
from monitor.store.writer import StoreUnavailableError

if TYPE_CHECKING:
    from monitor.pipeline.making import Plan

GOOD = Verdict(Outcome.GOOD, Reason.ON_TIME, NOON)
EXEMPT = Verdict(Outcome.EXEMPT, Reason.NO_LIVE_SUBSCRIPTION, None)


def missing(reason: Reason) -> Verdict:
    return Verdict(Outcome.MISSING, reason, None)


def failed(reason: Reason) -> Verdict:
    return Verdict(Outcome.FAILED, reason, None)


async def verdict(store: Store, stage: Stage, planned: Plan) -> Verdict:
    """The verdict on a stage by what the store holds now."""
    store.clock.at = max(store.clock.at, NOON + 60_000)
    due = {one.booking_id: one for one in await store.due(stage)}
    facts = await store.platform.look(list(due.values()))
    one = due[planned.command.booking_id]
    return judge(one.due_at, facts[one])


async def test_a_booking_that_is_whole_is_good(store: Store) -> None:
    planned = await store.make()
    for stage in (Stage.CHAT_ROOM, Stage.MESSAGE, Stage.NOTIFICATION):
        assert await verdict(store, stage, planned) == GOOD
    assert await verdict(store, Stage.REALTIME, planned) == EXEMPT


async def test_a_booking_that_was_deleted_is_missing_in_every_stage(store: Store) -> None:
    planned = await store.make()
    await store.alter("DELETE FROM bookings")
    for stage in (Stage.CHAT_ROOM, Stage.MESSAGE, Stage.NOTIFICATION, Stage.REALTIME):
        assert await verdict(store, stage, planned) == missing(Reason.TARGET_MISSING)


@pytest.mark.parametrize(
    ("change", "room", "message"),
    [
        ("DELETE FROM chat_rooms", Reason.NEVER_ATTEMPTED, Reason.NEVER_ATTEMPTED),
        ("UPDATE chat_rooms SET provider_id = 't-2'", Reason.FIELD_MISMATCH, None),
        ("UPDATE chat_rooms SET customer_id = 'c-2'", Reason.FIELD_MISMATCH, None),
        ("DELETE FROM chat_messages", Reason.NEVER_ATTEMPTED, Reason.NEVER_ATTEMPTED),
        ("UPDATE chat_messages SET kind = 'text'", Reason.NEVER_ATTEMPTED, Reason.NEVER_ATTEMPTED),
        ("UPDATE bookings SET provider_id = 't-2'", Reason.FIELD_MISMATCH, None),
    ],
)
async def test_a_chat_room_counts_only_with_its_members_and_its_message(
    store: Store, change: str, room: Reason, message: Reason | None
) -> None:
    planned = await store.make()
    await store.alter(change)
    assert await verdict(store, Stage.CHAT_ROOM, planned) == missing(room)
    assert await verdict(store, Stage.MESSAGE, planned) == (GOOD if message is None else missing(message))


async def test_a_room_that_was_made_late_is_late(store: Store) -> None:
    planned = await store.make()
    await store.alter("UPDATE chat_rooms SET created_at = created_at + 5001")
    assert await verdict(store, Stage.CHAT_ROOM, planned) == Verdict(Outcome.LATE, Reason.LATE, NOON + 5001)
    await store.alter("UPDATE chat_rooms SET created_at = created_at - 1")
    assert await verdict(store, Stage.CHAT_ROOM, planned) == Verdict(Outcome.GOOD, Reason.ON_TIME, NOON + 5000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DELETE FROM notifications", Reason.NEVER_ATTEMPTED),
        ("UPDATE notifications SET provider_id = 't-2'", Reason.FIELD_MISMATCH),
    ],
)
async def test_a_notification_counts_only_for_its_provider(store: Store, change: str, reason: Reason) -> None:
    planned = await store.make()
    await store.alter(change)
    assert await verdict(store, Stage.NOTIFICATION, planned) == missing(reason)


async def push_of(store: Store) -> str:
    return str(await store.value("SELECT id FROM deliveries WHERE stage = 'push'"))


async def test_with_push_subscriptions_a_notification_needs_an_accepted_push(store: Store) -> None:
    subscription = await store.subscribe_push()
    planned = await store.make()
    push = await push_of(store)
    assert await verdict(store, Stage.NOTIFICATION, planned) == missing(Reason.NEVER_ATTEMPTED)
    for result in (AttemptResult.ERROR, AttemptResult.REJECTED):
        await store.submit(RecordAttempt(push, NOON + 100, result, NOON + 200))
        assert await verdict(store, Stage.NOTIFICATION, planned) == failed(Reason.PUSH_REJECTED)
        assert await verdict(store, Stage.PUSH, planned) == failed(Reason.PUSH_REJECTED)
    await store.submit(RecordAttempt(push, NOON + 300, AttemptResult.OK))
    assert await verdict(store, Stage.NOTIFICATION, planned) == Verdict(Outcome.GOOD, Reason.ON_TIME, NOON + 300)
    await store.submit(DropPushSubscription(subscription_id=subscription))
    assert await verdict(store, Stage.PUSH, planned) == Verdict(Outcome.GOOD, Reason.ON_TIME, NOON + 300)


async def test_one_accepted_push_of_several_is_enough(store: Store) -> None:
    for number in range(3):
        await store.subscribe_push(endpoint=f"https://push.example/{number}")
    planned = await store.make()
    first, second, _ = [row["id"] for row in await store.rows("SELECT id FROM deliveries WHERE stage = 'push'")]
    await store.submit(RecordAttempt(first, NOON + 50, AttemptResult.REJECTED))
    await store.submit(RecordAttempt(second, NOON + 10_001, AttemptResult.OK))
    assert await verdict(store, Stage.NOTIFICATION, planned) == Verdict(Outcome.LATE, Reason.LATE, NOON + 10_001)


async def test_a_push_subscription_that_ended_is_owed_nothing(store: Store) -> None:
    subscription = await store.subscribe_push()
    planned = await store.make()
    await store.submit(DropPushSubscription(subscription_id=subscription))
    assert await verdict(store, Stage.PUSH, planned) == EXEMPT
    assert await verdict(store, Stage.NOTIFICATION, planned) == GOOD


async def test_a_push_that_is_not_in_the_outbox_is_owed_as_long_as_its_subscription_is_there(store: Store) -> None:
    subscription = await store.subscribe_push()
    planned = await store.make()
    await store.alter("DELETE FROM deliveries WHERE stage = 'push'")
    for stage in (Stage.NOTIFICATION, Stage.PUSH):
        assert await verdict(store, stage, planned) == missing(Reason.NEVER_ATTEMPTED)
    await store.submit(DropPushSubscription(subscription_id=subscription))
    assert await verdict(store, Stage.NOTIFICATION, planned) == GOOD
    assert await verdict(store, Stage.PUSH, planned) == EXEMPT


async def test_to_a_subscription_that_came_after_the_booking_no_push_is_owed(store: Store) -> None:
    planned = await store.make()
    store.clock.advance(1)
    await store.subscribe_push()
    assert await verdict(store, Stage.NOTIFICATION, planned) == GOOD


async def test_a_browser_that_went_to_another_provider_is_owed_nothing_by_either(store: Store) -> None:
    await store.subscribe_push("t-1")
    first, second = await store.make("t-1"), await store.make("t-2")
    store.clock.advance(1)
    await store.subscribe_push("t-2")
    assert await verdict(store, Stage.NOTIFICATION, first) == GOOD
    assert await verdict(store, Stage.NOTIFICATION, second) == GOOD


@pytest.mark.parametrize(("expires_at", "pushes"), [(NOON - 1, 0), (NOON, 0), (NOON + 1, 1), (None, 1)])
async def test_no_push_is_planned_for_nor_owed_to_a_subscription_that_had_expired(
    store: Store, expires_at: int | None, pushes: int
) -> None:
    store.clock.at = NOON - 60_000
    await store.subscribe_push(expires_at=expires_at)
    store.clock.at = NOON
    planned = await store.make()
    assert await store.value("SELECT count(*) AS n FROM deliveries WHERE stage = 'push'") == pushes
    assert await verdict(store, Stage.NOTIFICATION, planned) == (missing(Reason.NEVER_ATTEMPTED) if pushes else GOOD)


async def test_a_subscription_that_had_expired_and_comes_back_is_owed_nothing_for_what_was_in_between(
    store: Store,
) -> None:
    store.clock.at = NOON - 60_000
    await store.subscribe_push(expires_at=NOON - 1)
    store.clock.at = NOON
    planned = await store.make()
    store.clock.advance(1)
    await store.subscribe_push()
    assert await verdict(store, Stage.NOTIFICATION, planned) == GOOD


async def test_where_no_push_is_sent_none_is_owed(store: Store) -> None:
    await store.subscribe_push()
    planned = await store.make()
    store.platform = EmbeddedPlatform(store.readers, store.writer, 1, pushing=False)
    assert await verdict(store, Stage.NOTIFICATION, planned) == GOOD
    assert await verdict(store, Stage.PUSH, planned) == EXEMPT
    await store.submit(RecordAttempt(await push_of(store), NOON + 9, AttemptResult.OK))
    assert await verdict(store, Stage.NOTIFICATION, planned) == Verdict(Outcome.GOOD, Reason.ON_TIME, NOON + 9)


async def test_an_acknowledgement_is_evidence_and_silence_is_not(store: Store) -> None:
    await store.connect("s-1")
    planned = await store.make()
    assert await verdict(store, Stage.REALTIME, planned) == missing(Reason.NEVER_ATTEMPTED)
    await store.submit(RecordAttempt(planned.event_id, NOON + 2000, AttemptResult.UNACKNOWLEDGED, NOON + 3000))
    assert await verdict(store, Stage.REALTIME, planned) == failed(Reason.SUBSCRIBER_SILENT)
    await store.submit(RecordAttempt(planned.event_id, NOON + 4000, AttemptResult.OK))
    assert await verdict(store, Stage.REALTIME, planned) == Verdict(Outcome.GOOD, Reason.ON_TIME, NOON + 4000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DELETE FROM deliveries", Reason.NEVER_ATTEMPTED),
        ("UPDATE deliveries SET target = 't-2'", Reason.FIELD_MISMATCH),
    ],
)
async def test_an_event_that_was_never_addressed_to_the_provider_is_missing(
    store: Store, change: str, reason: Reason
) -> None:
    await store.connect("s-1")
    planned = await store.make()
    await store.alter(change)
    assert await verdict(store, Stage.REALTIME, planned) == missing(reason)


@pytest.mark.parametrize(
    ("opened", "closed", "owed"),
    [
        (-5000, None, True),
        (-5000, -1, False),
        (-5000, 0, True),
        (0, 0, True),
        (9000, 9001, True),
        (10_000, None, True),
        (10_000, 10_000, True),
        (10_001, None, False),
        (10_001, 11_000, False),
    ],
)
async def test_an_event_is_owed_to_who_was_there_between_creation_and_due_time(
    store: Store,
    opened: int,
    closed: int | None,
    owed: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    store.clock.at = NOON + opened
    await store.connect("s-1", "t-1")
    await store.connect("s-2", "t-2")
    if closed is not None:
        store.clock.at = NOON + closed
        await store.disconnect("s-1")
    store.clock.at = NOON
    planned = await store.make("t-1")
    assert await verdict(store, Stage.REALTIME, planned) == (missing(Reason.NEVER_ATTEMPTED) if owed else EXEMPT)


async def test_the_first_end_of_a_subscription_counts(store: Store) -> None:
    await store.connect("s-1")
    store.clock.at = NOON + 1
    await store.disconnect("s-1")
    store.clock.at = NOON + 2
    planned = await store.make()
    store.clock.at = NOON + 20_000
    await store.disconnect("s-1")
    assert await verdict(store, Stage.REALTIME, planned) == EXEMPT


async def test_more_bookings_than_one_query_asks_for_are_all_looked_at(store: Store) -> None:
    made = await store.make_many(IDS_A_QUERY + 7)
    await store.alter("DELETE FROM chat_rooms WHERE booking_id = :id", id=made[-1].command.booking_id)
    store.clock.advance(60_000)
    due = await store.due(Stage.CHAT_ROOM)
    facts = await store.platform.look(due)
    bad = [one.booking_id for one in due if judge(one.due_at, facts[one]).outcome.bad]
    assert len(facts) == len(due) == IDS_A_QUERY + 7
    assert bad == [made[-1].command.booking_id]
    assert await store.platform.look([]) == {}


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        (Stage.CHAT_ROOM, "DROP TABLE chat_messages"),
        (Stage.CHAT_ROOM, "ALTER TABLE chat_rooms DROP COLUMN customer_id"),
        (Stage.NOTIFICATION, "DROP TABLE notifications"),
    ],
)
async def test_a_table_or_column_that_is_gone_is_named_as_the_cause(store: Store, stage: Stage, change: str) -> None:
    planned = await store.make()
    await store.alter(change)
    assert await verdict(store, stage, planned) == missing(Reason.TARGET_MISSING)


async def test_without_an_answer_from_the_store_nothing_is_said(store: Store) -> None:
    """A store that cannot be asked must not turn into verdicts."""
    await store.make()
    store.clock.advance(60_000)
    due = await store.due(Stage.REALTIME)
    await store.alter("DROP TABLE live_subscriptions")
    with pytest.raises(StoreUnavailableError):
        await store.platform.look(due)
