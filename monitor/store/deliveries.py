"""The outbox: deliveries that are planned, claimed, attempted, acknowledged, given up and driven again."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, or_, select, update

from monitor.domain.ledger import Counter
from monitor.domain.rows import Fields
from monitor.domain.vocabulary import OUTSTANDING, AttemptResult, DeliveryState, Stage
from monitor.store.commands import Single
from monitor.store.evidence import IDS_A_QUERY
from monitor.store.statements import Row as Statement
from monitor.store.statements import add_counts, insert_rows, is_one_of, lock_rows, update_rows
from monitor.store.tables import (
    bookings,
    counters,
    deliveries,
    delivery_attempts,
    live_subscriptions,
    push_subscriptions,
)

_EVENTS = (
    select(deliveries.c.id, deliveries.c.target, deliveries.c.attempts, deliveries.c.attempts_before, bookings)
    .join_from(deliveries, bookings, bookings.c.id == deliveries.c.booking_id)
    .order_by(deliveries.c.id)
)
_OPEN = is_one_of(deliveries.c.state, "pending", "retrying", "dead")
"""The condition of the index on open deliveries, which a query has to repeat word for word to use it."""
_WANTED = _OPEN & deliveries.c.state.in_([state.value for state in OUTSTANDING])
_DEAD = _OPEN & (deliveries.c.state == DeliveryState.DEAD.value)
_GIVEN_ID = deliveries.c.id.in_(bindparam("ids", expanding=True))
_EVENTS_BY_ID = _EVENTS.where(_GIVEN_ID)
_PLANNED = (
    select(deliveries.c.id)
    .where(
        deliveries.c.stage == bindparam("stage"),
        deliveries.c.next_attempt_at.is_not(None),
        deliveries.c.next_attempt_at <= bindparam("due_before"),
    )
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_DUE = _PLANNED.order_by(deliveries.c.next_attempt_at)
_DUE_TO_SOME = _DUE.where(deliveries.c.target.in_(bindparam("targets", expanding=True)))
_HEARD = exists().where(
    live_subscriptions.c.provider_id == deliveries.c.target, live_subscriptions.c.closed_at.is_(None)
)
_DUE_UNHEARD = _PLANNED.where(~_HEARD)
_PLAN = update(deliveries).where(_GIVEN_ID).values(next_attempt_at=bindparam("next_attempt"))
_MINE = (deliveries.c.target == bindparam("provider")) & (deliveries.c.stage == Stage.REALTIME.value)
_MY_EVENTS_BY_ID = _EVENTS_BY_ID.where(_MINE)
_PLAN_FOR_PROVIDER = (
    update(deliveries)
    .where(
        _MINE,
        or_(deliveries.c.next_attempt_at.is_(None), deliveries.c.next_attempt_at <= bindparam("at")),
        _WANTED,
    )
    .values(next_attempt_at=bindparam("at"))
)
_LATER_EVENTS = _EVENTS.where(deliveries.c.id > bindparam("after")).limit(bindparam("most"))
_UNHEARD = _LATER_EVENTS.where(deliveries.c.id.in_(select(deliveries.c.id).where(_MINE, _WANTED)))
_UNSEEN = _LATER_EVENTS.where(_MINE, deliveries.c.id > bindparam("seen"), deliveries.c.id != bindparam("last_seen"))


COMPARED = "compared "
"""What the error of a delivery begins with when a subscriber's filter did not match; the field follows."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is now ours to attempt, with the booking that it is about."""

    id: str
    target: str
    attempts: int
    """All attempts so far."""
    attempts_before: int
    """Those of them that a new drive does not count against its limit."""
    booking: Fields


def _claimed(row: Row[Any]) -> Claimed:
    delivery_id, target, attempts, attempts_before, *booking = tuple(row)
    return Claimed(delivery_id, target, attempts, attempts_before, dict(zip(bookings.c.keys(), booking, strict=True)))


@dataclass(frozen=True, slots=True)
class ClaimDue(Single[list[Claimed]]):
    """Takes deliveries that are due, and puts their next attempt off by `lease` milliseconds.

    If the one who claimed them dies, they come due again when the lease ends.
    """

    stage: Stage
    now: int
    lease: int
    limit: int
    targets: tuple[str, ...] | None = None
    """Only deliveries to these, where given."""

    def run(self, connection: Connection) -> list[Claimed]:
        """Return what each command claimed, the longest due first."""
        given = {"stage": self.stage.value, "due_before": self.now, "most": self.limit}
        if self.targets is None:
            due = connection.execute(_DUE, given)
        else:
            due = connection.execute(_DUE_TO_SOME, given | {"targets": self.targets})
        ids = list(due.scalars())
        if not ids:
            return []
        connection.execute(_PLAN, {"ids": ids, "next_attempt": self.now + self.lease})
        return [_claimed(row) for row in connection.execute(_EVENTS_BY_ID, {"ids": ids})]


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """Writes down how an attempt ended. Repeated or late reports of a delivered one change nothing.

    A delivery that has ended in another way (lapsed, or dead) keeps its state, unless it was received after all.
    """

    delivery_id: str
    at: int
    result: AttemptResult
    next_attempt_at: int | None = None
    """When to try again; None when there is no need or no use."""
    detail: str | None = None

    @property
    def state(self) -> DeliveryState:
        """Where the delivery stands after the attempt."""
        if self.result is AttemptResult.OK:
            return DeliveryState.DELIVERED
        if self.result is AttemptResult.GONE:
            return DeliveryState.LAPSED
        return DeliveryState.DEAD if self.next_attempt_at is None else DeliveryState.RETRYING

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[RecordAttempt]) -> Sequence[bool]:
        """Say of each whether it was news: whether its delivery had not been acknowledged before."""
        undelivered = _undelivered(connection, {command.delivery_id for command in commands})
        results: list[bool] = []
        history: list[Statement] = []
        tally: Tally[tuple[str, str, str]] = Tally()
        for command in commands:
            delivery = undelivered.get(command.delivery_id)
            news = delivery is not None and delivery.delivered_at is None
            results.append(news)
            if delivery is None or not news:
                continue
            delivery.take(command)
            history.append((command.delivery_id, delivery.attempts, command.at, command.result.value, command.detail))
            tally[Counter.DELIVERY_ATTEMPTS.value, delivery.stage, command.result.value] += 1
        update_rows(
            connection,
            deliveries,
            ("state", "attempts", "next_attempt_at", "last_error", "delivered_at"),
            [
                (one.state, one.attempts, one.next_attempt_at, one.last_error, one.delivered_at, delivery_id)
                for delivery_id, one in undelivered.items()
            ],
        )
        insert_rows(connection, delivery_attempts, history)
        add_counts(connection, counters, [(*key, count) for key, count in tally.items()])
        return results


@dataclass(slots=True)
class _Delivery:
    stage: str
    state: str
    attempts: int
    next_attempt_at: int | None
    last_error: str | None
    delivered_at: int | None

    def take(self, report: RecordAttempt) -> None:
        """Change as an attempt has it."""
        self.attempts += 1
        received = report.result is AttemptResult.OK
        if received or self.state in OUTSTANDING:
            self.state = report.state.value
            self.next_attempt_at = report.next_attempt_at
            self.last_error = None if received else report.detail or report.result.value
            self.delivered_at = report.at if received else None


_ATTEMPTED = ("id", "stage", "state", "attempts", "next_attempt_at", "last_error", "delivered_at")


def _undelivered(connection: Connection, ids: set[str]) -> dict[str, _Delivery]:
    """Those deliveries that are there and not acknowledged yet, by id, locked until the end."""
    rows = lock_rows(connection, deliveries, _ATTEMPTED, ids, only_where="delivered_at IS NULL")
    return {delivery_id: _Delivery(*row) for delivery_id, *row in rows}


@dataclass(frozen=True, slots=True)
class ParkUnheard(Single[int]):
    """Takes realtime deliveries off the plan that were due at `due_before` and that nobody is there to hear."""

    due_before: int
    limit: int

    def run(self, connection: Connection) -> int:
        """Return how many were put aside. They are planned again when their provider subscribes."""
        given = {"stage": Stage.REALTIME.value, "due_before": self.due_before, "most": self.limit}
        ids = list(connection.execute(_DUE_UNHEARD, given).scalars())
        for start in range(0, len(ids), IDS_A_QUERY):
            connection.execute(_PLAN, {"ids": ids[start : start + IDS_A_QUERY], "next_attempt": None})
        return len(ids)


def plan_for_provider(connection: Connection, provider_id: str, now: int) -> None:
    """Plan at once what was put aside for a provider who is here now.

    What is due is planned anew as well: so it waits for one who is just putting it aside, and wins.
    """
    connection.execute(_PLAN_FOR_PROVIDER, {"provider": provider_id, "at": now})


def lapse(connection: Connection, booking_ids: Iterable[str]) -> None:
    """End the deliveries that nobody received of bookings that no longer wait for an answer."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.booking_id.in_(list(booking_ids)), _WANTED)
        .values(state=DeliveryState.LAPSED.value, next_attempt_at=None)
    )


REDRIVEN_AT_ONCE = 500
"""Dead deliveries that one transaction plans anew: few enough that no booking waits long behind it."""


def find_dead(connection: Connection, stage: Stage | None, booking_id: str | None) -> Sequence[str]:
    """Ids of all dead deliveries, or of those of a stage, a booking, or both."""
    dead = select(deliveries.c.id).where(_DEAD)
    if stage is not None:
        dead = dead.where(deliveries.c.stage == stage.value)
    if booking_id is not None:
        dead = dead.where(deliveries.c.booking_id == booking_id)
    return connection.execute(dead).scalars().all()


@dataclass(frozen=True, slots=True)
class Redrive(Single[int]):
    """Plans deliveries that are dead anew, from their first attempt."""

    ids: Sequence[str]
    """At most `REDRIVEN_AT_ONCE`."""
    now: int

    def run(self, connection: Connection) -> int:
        """Return how many deliveries each command brought back."""
        return connection.execute(
            update(deliveries)
            .where(deliveries.c.id.in_(self.ids), _DEAD)
            .values(
                state=DeliveryState.RETRYING.value,
                next_attempt_at=self.now,
                attempts_before=deliveries.c.attempts,
            )
        ).rowcount


def find_push_targets(connection: Connection, subscription_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Push subscriptions by id."""
    query = select(push_subscriptions).where(push_subscriptions.c.id.in_(subscription_ids))
    return {row.id: row for row in connection.execute(query)}


def find_events(connection: Connection, provider_id: str, event_ids: Sequence[str]) -> list[Claimed]:
    """Those of these realtime events that are for this provider."""
    given = {"ids": event_ids, "provider": provider_id}
    return [_claimed(row) for row in connection.execute(_MY_EVENTS_BY_ID, given)]


def missed_events(
    connection: Connection, provider_id: str, *, after: str, seen: str | None, last_seen: str | None, limit: int
) -> list[Claimed]:
    """Realtime events of a provider with an id above `after` that it missed, the oldest first.

    Those are what nobody acknowledged, and, where `seen` is given, all with an id above that but the last seen one.
    """
    given = {"provider": provider_id, "after": after, "most": limit}
    rows = list(connection.execute(_UNHEARD, given))
    if seen is not None:
        rows += connection.execute(_UNSEEN, given | {"seen": seen, "last_seen": last_seen})
    found = {event.id: event for event in map(_claimed, rows)}
    return [found[event_id] for event_id in sorted(found)[:limit]]
