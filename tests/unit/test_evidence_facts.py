"""What the rows of the store say of a stage: each way in which a booking was lost, by its cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.due import DueStage
from monitor.domain.judgement import Verdict, judge
from monitor.domain.ledger import REASONS
from monitor.domain.vocabulary import SLIS, AttemptResult, Outcome, Reason, Stage, Traffic
from monitor.platforms.embedded.evidence import facts_of
from monitor.store.evidence import Found, PushSubscription, Room, Sent

BOOKING = "booking"
CREATED, DUE = 1_000, 11_000
ROOM = Room("t-17", "c-9", CREATED, CREATED)


def due(stage: Stage, provider_id: str | None = "t-17") -> DueStage:
    return DueStage(BOOKING, stage, Traffic.REAL, provider_id, "c-9", CREATED, DUE, None)


def sent(*, target: str = "t-17", delivered_at: int | None = None, last: AttemptResult | None = None) -> Sent:
    return Sent(target, delivered_at, last and last.value)


def subscribed(*ids: str, at: int = CREATED, expires_at: int | None = None) -> list[PushSubscription]:
    return [PushSubscription(one, at, expires_at) for one in ids]


def found(
    room: Room | None = None,
    notifications: list[tuple[str, int]] | None = None,
    deliveries: list[Sent] | None = None,
    subscriptions: list[PushSubscription] | None = None,
    *,
    listened: bool = False,
) -> Found:
    rows = Found()
    if room is not None:
        rows.rooms[BOOKING] = room
    rows.notifications[BOOKING] = notifications or []
    rows.deliveries[BOOKING] = deliveries or []
    rows.subscriptions[BOOKING] = subscriptions or []
    if listened:
        rows.listened.add(BOOKING)
    return rows


def verdict(stage: Stage, rows: Found) -> Verdict:
    return judge(DUE, facts_of(due(stage), rows))


def bad(outcome: Outcome, reason: Reason) -> Verdict:
    return Verdict(outcome, reason, None)


def good(at: int) -> Verdict:
    return Verdict(Outcome.GOOD, Reason.ON_TIME, at)


def test_a_room_with_its_message_is_good_for_both_of_its_stages() -> None:
    rows = found(room=replace(ROOM, received_at=CREATED + 5))
    assert verdict(Stage.CHAT_ROOM, rows) == good(CREATED + 5)
    assert verdict(Stage.MESSAGE, rows) == good(CREATED + 5)


def test_root_cause_1_a_room_that_nobody_made_was_never_attempted() -> None:
    never = bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)
    assert verdict(Stage.CHAT_ROOM, found()) == never
    assert verdict(Stage.MESSAGE, found()) == never


def test_a_room_without_its_first_message_is_no_room() -> None:
    rows = found(room=replace(ROOM, received_at=None))
    assert verdict(Stage.CHAT_ROOM, rows) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)
    assert verdict(Stage.MESSAGE, rows) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)


@pytest.mark.parametrize("room", [replace(ROOM, provider_id="t-18"), replace(ROOM, customer_id="c-8")])
def test_a_room_of_somebody_else_is_a_field_mismatch(room: Room) -> None:
    assert verdict(Stage.CHAT_ROOM, found(room=room)) == bad(Outcome.MISSING, Reason.FIELD_MISMATCH)
    assert verdict(Stage.MESSAGE, found(room=room)) == good(CREATED)


def test_a_message_that_came_after_the_due_time_makes_its_room_late() -> None:
    rows = found(room=replace(ROOM, received_at=DUE + 1))
    assert verdict(Stage.CHAT_ROOM, rows) == Verdict(Outcome.LATE, Reason.LATE, DUE + 1)


def test_root_cause_2_a_notification_that_was_swallowed_was_never_attempted() -> None:
    assert verdict(Stage.NOTIFICATION, found()) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)


def test_root_cause_4_a_notification_to_somebody_else_is_a_field_mismatch() -> None:
    rows = found(notifications=[("c-9", CREATED), ("", CREATED)])
    assert verdict(Stage.NOTIFICATION, rows) == bad(Outcome.MISSING, Reason.FIELD_MISMATCH)


def test_a_notification_is_good_by_its_row_where_no_push_is_owed() -> None:
    rows = found(notifications=[("t-17", CREATED + 9), ("t-17", CREATED + 3), ("t-18", CREATED)])
    assert verdict(Stage.NOTIFICATION, rows) == good(CREATED + 3)


def test_a_notification_with_push_is_good_when_one_service_accepted_it() -> None:
    pushes = [sent(target="s-1", last=AttemptResult.REJECTED), sent(target="s-2", delivered_at=CREATED + 70)]
    rows = found(notifications=[("t-17", CREATED)], deliveries=pushes, subscriptions=subscribed("s-1", "s-2"))
    assert verdict(Stage.NOTIFICATION, rows) == good(CREATED + 70)
    assert verdict(Stage.PUSH, rows) == good(CREATED + 70)


def test_a_push_that_was_accepted_counts_though_its_subscription_has_ended_or_it_stands_there_twice() -> None:
    accepted = sent(target="s-1", delivered_at=CREATED + 70)
    for subscriptions in ([], subscribed("s-1")):
        rows = found(
            notifications=[("t-17", CREATED)],
            deliveries=[accepted, sent(target="s-1")],
            subscriptions=subscriptions,
        )
        assert verdict(Stage.NOTIFICATION, rows) == good(CREATED + 70)
        assert verdict(Stage.PUSH, rows) == good(CREATED + 70)


@pytest.mark.parametrize("result", [AttemptResult.REJECTED, AttemptResult.GONE, AttemptResult.ERROR])
def test_a_push_that_no_service_accepted_fails_the_notification(result: AttemptResult) -> None:
    rows = found(
        notifications=[("t-17", CREATED)],
        deliveries=[sent(target="s-1", last=result)],
        subscriptions=subscribed("s-1"),
    )
    assert verdict(Stage.NOTIFICATION, rows) == bad(Outcome.FAILED, Reason.PUSH_REJECTED)
    assert verdict(Stage.PUSH, rows) == bad(Outcome.FAILED, Reason.PUSH_REJECTED)


@pytest.mark.parametrize("deliveries", [[sent(target="s-1")], []], ids=["in the outbox", "not in the outbox"])
def test_a_push_that_nobody_sent_was_never_attempted(deliveries: list[Sent]) -> None:
    rows = found(notifications=[("t-17", CREATED)], deliveries=deliveries, subscriptions=subscribed("s-1"))
    assert verdict(Stage.NOTIFICATION, rows) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)
    assert verdict(Stage.PUSH, rows) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)


@pytest.mark.parametrize(
    ("at", "expires_at", "owed"),
    [
        (CREATED, None, True),
        (CREATED, CREATED + 1, True),
        (CREATED + 1, None, False),
        (CREATED - 9, CREATED, False),
        (CREATED - 9, CREATED - 1, False),
    ],
)
def test_a_push_is_owed_to_a_subscription_that_was_live_when_the_booking_was_made(
    at: int,
    expires_at: int | None,
    owed: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    rows = found(notifications=[("t-17", CREATED)], subscriptions=subscribed("s-1", at=at, expires_at=expires_at))
    never = bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)
    assert verdict(Stage.NOTIFICATION, rows) == (never if owed else good(CREATED))
    assert verdict(Stage.PUSH, rows) == (never if owed else bad(Outcome.EXEMPT, Reason.NO_LIVE_SUBSCRIPTION))


def test_an_accepted_push_does_not_stand_in_for_a_missing_notification() -> None:
    rows = found(deliveries=[sent(target="s-1", delivered_at=CREATED)])
    assert verdict(Stage.NOTIFICATION, rows) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)


def test_a_push_subscription_that_has_ended_is_owed_nothing() -> None:
    rows = found(
        notifications=[("t-17", CREATED)],
        deliveries=[sent(target="s-1", last=AttemptResult.GONE)],
    )
    assert verdict(Stage.NOTIFICATION, rows) == good(CREATED)
    assert verdict(Stage.PUSH, rows) == bad(Outcome.EXEMPT, Reason.NO_LIVE_SUBSCRIPTION)


def test_root_cause_3_an_event_that_the_subscribers_filter_drops_is_never_acknowledged() -> None:
    rows = found(deliveries=[sent(last=AttemptResult.UNACKNOWLEDGED)], listened=True)
    assert verdict(Stage.REALTIME, rows) == bad(Outcome.FAILED, Reason.SUBSCRIBER_SILENT)


def test_root_cause_3_an_event_addressed_by_the_wrong_field_is_a_mismatch() -> None:
    rows = found(deliveries=[sent(target="undefined", last=AttemptResult.OK, delivered_at=CREATED)], listened=True)
    assert verdict(Stage.REALTIME, rows) == bad(Outcome.MISSING, Reason.FIELD_MISMATCH)


def test_an_acknowledged_event_is_good() -> None:
    rows = found(deliveries=[sent(last=AttemptResult.OK, delivered_at=CREATED + 8)], listened=True)
    assert verdict(Stage.REALTIME, rows) == good(CREATED + 8)


def test_an_acknowledgement_after_the_due_time_is_late_however_it_came_about() -> None:
    rows = found(deliveries=[sent(delivered_at=DUE + 1)], listened=True)
    assert verdict(Stage.REALTIME, rows) == Verdict(Outcome.LATE, Reason.LATE, DUE + 1)


def test_realtime_is_exempt_when_nobody_was_listening() -> None:
    assert verdict(Stage.REALTIME, found(deliveries=[sent()])) == bad(Outcome.EXEMPT, Reason.NO_LIVE_SUBSCRIPTION)


@pytest.mark.parametrize("deliveries", [[], [sent()]])
def test_realtime_that_was_owed_and_not_sent_was_never_attempted(deliveries: list[Sent]) -> None:
    rows = found(deliveries=deliveries, listened=True)
    assert verdict(Stage.REALTIME, rows) == bad(Outcome.MISSING, Reason.NEVER_ATTEMPTED)


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_of_a_booking_that_is_gone_is_missing_its_target(stage: Stage) -> None:
    gone = judge(DUE, facts_of(due(stage, None), found()))
    assert gone == bad(Outcome.MISSING, Reason.TARGET_MISSING)


ROOMS = st.builds(
    Room,
    st.sampled_from(["t-17", "t-18"]),
    st.sampled_from(["c-9", "c-8"]),
    st.integers(CREATED, 2 * DUE),
    st.none() | st.integers(CREATED, 2 * DUE),
)
SENT = st.builds(
    Sent,
    st.sampled_from(["t-17", "t-18"]),
    st.none() | st.integers(CREATED, 2 * DUE),
    st.none() | st.sampled_from([result.value for result in AttemptResult]),
)
SUBSCRIPTIONS = st.builds(
    PushSubscription,
    st.sampled_from(["t-17", "t-18"]),
    st.integers(0, DUE),
    st.none() | st.integers(0, DUE),
)
ROWS = st.builds(
    found,
    st.none() | ROOMS,
    st.lists(st.tuples(st.sampled_from(["t-17", "t-18"]), st.integers(CREATED, 2 * DUE)), max_size=3),
    st.lists(SENT, max_size=3),
    st.lists(SUBSCRIPTIONS, max_size=3),
    listened=st.booleans(),
)


@given(st.sampled_from(Stage), ROWS, st.sampled_from(["t-17", None]))
def test_any_rows_give_a_verdict_that_the_ledger_and_the_metrics_know(
    stage: Stage, rows: Found, provider_id: str | None
) -> None:
    one = judge(DUE, facts_of(due(stage, provider_id), rows))
    if stage in SLIS:
        assert (one.outcome, one.reason) in REASONS[stage]
