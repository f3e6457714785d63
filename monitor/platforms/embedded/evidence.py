"""What the rows of our store say of a stage. Pure: rows in, facts out."""

from __future__ import annotations

from monitor.domain.due import DueStage
from monitor.domain.judgement import Fact, FactKind
from monitor.domain.vocabulary import AttemptResult, Reason, Stage
from monitor.store.evidence import Found, Sent

_PUSH_FAILURES: dict[str, Reason] = {
    AttemptResult.REJECTED.value: Reason.PUSH_REJECTED,
    AttemptResult.GONE.value: Reason.PUSH_REJECTED,
    AttemptResult.ERROR.value: Reason.PUSH_REJECTED,
}
_REALTIME_FAILURES: dict[str, Reason] = {
    AttemptResult.REJECTED.value: Reason.FIELD_MISMATCH,
    AttemptResult.UNACKNOWLEDGED.value: Reason.SUBSCRIBER_SILENT,
}


def facts_of(due: DueStage, found: Found) -> tuple[Fact, ...]:
    """The facts about one stage. Times in milliseconds since the epoch."""
    if due.provider_id is None or found.target_missing:
        return (Fact(FactKind.ABSENT, due.due_at, Reason.TARGET_MISSING),)
    match due.stage:
        case Stage.CHAT_ROOM | Stage.MESSAGE:
            return (_room(due, found),)
        case Stage.NOTIFICATION:
            return _notification(due, found)
        case Stage.PUSH:
            return _push(due, _pushes(due, found))
        case Stage.REALTIME:
            return _realtime(due, found)


def _room(due: DueStage, found: Found) -> Fact:
    room = found.rooms.get(due.booking_id)
    if room is None:
        return Fact(FactKind.ABSENT, due.due_at, Reason.NEVER_ATTEMPTED)
    if due.stage is Stage.CHAT_ROOM and (room.provider_id, room.customer_id) != (due.provider_id, due.customer_id):
        return Fact(FactKind.ABSENT, due.due_at, Reason.FIELD_MISMATCH)
    if room.received_at is None:
        return Fact(FactKind.ABSENT, due.due_at, Reason.NEVER_ATTEMPTED)
    return Fact(FactKind.FOUND, max(room.created_at, room.received_at), Reason.ON_TIME)


def _notification(due: DueStage, found: Found) -> tuple[Fact, ...]:
    rows = found.notifications[due.booking_id]
    written = [created_at for provider_id, created_at in rows if provider_id == due.provider_id]
    if not written:
        reason = Reason.FIELD_MISMATCH if rows else Reason.NEVER_ATTEMPTED
        return (Fact(FactKind.ABSENT, due.due_at, reason),)
    pushes = _pushes(due, found)
    if not pushes:
        return (Fact(FactKind.FOUND, min(written), Reason.ON_TIME),)
    accepted = [push.delivered_at for push in pushes if push.delivered_at is not None]
    if accepted:
        return (Fact(FactKind.FOUND, max(min(written), min(accepted)), Reason.ON_TIME),)
    return _push(due, pushes)


def _pushes(due: DueStage, found: Found) -> list[Sent]:
    """The pushes that were accepted, and those that are owed: one to each subscription that was there and still is.

    The subscriptions say what is owed, not the outbox: a push that is missing there is owed all the same.
    """
    sent = found.deliveries[due.booking_id]
    planned = {push.target for push in sent}
    owed = {one.id for one in found.subscriptions[due.booking_id] if one.id in planned or one.was_live(due.created_at)}
    there = [push for push in sent if push.target in owed or push.delivered_at is not None]
    return [*there, *map(Sent, owed - planned)]


def _push(due: DueStage, pushes: list[Sent]) -> tuple[Fact, ...]:
    if not pushes:
        return (Fact(FactKind.NOT_OWED, due.due_at, Reason.NO_LIVE_SUBSCRIPTION),)
    return tuple(_sent(due, push) for push in pushes)


def _sent(due: DueStage, sent: Sent) -> Fact:
    if sent.delivered_at is not None:
        return Fact(FactKind.FOUND, sent.delivered_at, Reason.ON_TIME)
    failures = _REALTIME_FAILURES if due.stage is Stage.REALTIME else _PUSH_FAILURES
    if sent.telling_result in failures:
        return Fact(FactKind.FAILED, due.due_at, failures[sent.telling_result])
    return Fact(FactKind.ABSENT, due.due_at, Reason.NEVER_ATTEMPTED)


def _realtime(due: DueStage, found: Found) -> tuple[Fact, ...]:
    facts = []
    for sent in found.deliveries[due.booking_id]:
        if sent.target != due.provider_id:
            facts.append(Fact(FactKind.ABSENT, due.due_at, Reason.FIELD_MISMATCH))
        else:
            facts.append(_sent(due, sent))
    if due.booking_id not in found.listened:
        facts.append(Fact(FactKind.NOT_OWED, due.due_at, Reason.NO_LIVE_SUBSCRIPTION))
    return tuple(facts)
