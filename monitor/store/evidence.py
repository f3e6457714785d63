"""Reading back, for many bookings at once, the rows that a stage calls for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, exists, func, inspect, select
from sqlalchemy.exc import DBAPIError

from monitor.domain.chat import MessageKind
from monitor.domain.due import DueStage
from monitor.domain.vocabulary import AttemptResult, Stage
from monitor.store.tables import (
    bookings,
    chat_messages,
    chat_rooms,
    deliveries,
    delivery_attempts,
    live_subscriptions,
    notifications,
    push_subscriptions,
    stages,
)

IDS_A_QUERY = 500
"""How many bookings one query asks for, within what every SQLite takes as parameters."""


@dataclass(frozen=True, slots=True)
class Room:
    """A chat room, and when the booking-received message was written into it."""

    provider_id: str
    customer_id: str
    created_at: int
    received_at: int | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery, and how its attempts went."""

    target: str
    delivered_at: int | None = None
    telling_result: str | None = None
    """A refusal, where there was one: it says more than a silence after it."""


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """A push subscription that is there now. Times in milliseconds since the epoch."""

    id: str
    created_at: int
    expires_at: int | None

    def was_live(self, at: int) -> bool:
        """Whether it was one to push to at this time."""
        return self.created_at <= at and (self.expires_at is None or self.expires_at > at)


@dataclass(slots=True)
class Found:
    """What is in the store for some bookings, by booking id. Times in milliseconds since the epoch."""

    rooms: dict[str, Room] = field(default_factory=dict)
    notifications: defaultdict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    """Provider and time of each notification."""
    deliveries: defaultdict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    subscriptions: defaultdict[str, list[PushSubscription]] = field(default_factory=lambda: defaultdict(list))
    """Those of its provider."""
    listened: set[str] = field(default_factory=set)
    """Bookings whose provider had a live subscription between creation and due time."""
    target_missing: bool = False
    """Whether the table, or a column, that the stage is kept in does not exist."""


def read(connection: Connection, due: Sequence[DueStage], *, pushing: bool) -> Found:
    """Read what there is for these stages, at least one and all of one kind.

    Where it is not `pushing`, no provider counts as one who has push subscriptions.
    """
    try:
        return _read(connection, due, pushing=pushing)
    except DBAPIError:
        if connection.invalidated or _all_there(connection, due[0].stage):
            raise
        return Found(target_missing=True)


_KEPT_IN = {
    Stage.CHAT_ROOM: (chat_rooms, chat_messages),
    Stage.MESSAGE: (chat_rooms, chat_messages),
    Stage.NOTIFICATION: (notifications,),
    Stage.PUSH: (),
    Stage.REALTIME: (),
}


def _all_there(connection: Connection, stage: Stage) -> bool:
    """Whether the tables that a stage is kept in have all their columns."""
    seen = inspect(connection)
    return all(
        seen.has_table(table.name)
        and {column["name"] for column in seen.get_columns(table.name)} >= set(table.columns.keys())
        for table in _KEPT_IN[stage]
    )


def _read(connection: Connection, due: Sequence[DueStage], *, pushing: bool) -> Found:
    found = Found()
    stage = due[0].stage
    for start in range(0, len(due), IDS_A_QUERY):
        some = due[start : start + IDS_A_QUERY]
        ids = [one.booking_id for one in some]
        if stage in (Stage.CHAT_ROOM, Stage.MESSAGE):
            found.rooms.update(_rooms(connection, ids))
        if stage is Stage.NOTIFICATION:
            for booking_id, provider_id, created_at in connection.execute(_NOTIFICATIONS, {"ids": ids}):
                found.notifications[booking_id].append((provider_id, created_at))
        if stage in (Stage.NOTIFICATION, Stage.PUSH):
            for booking_id, sent in _deliveries(connection, Stage.PUSH, ids):
                found.deliveries[booking_id].append(sent)
            if pushing:
                found.subscriptions.update(_subscriptions(connection, some))
        if stage is Stage.REALTIME:
            for booking_id, sent in _deliveries(connection, Stage.REALTIME, ids):
                found.deliveries[booking_id].append(sent)
            found.listened.update(_listened(connection, ids))
    return found


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_NOTIFICATIONS = select(notifications.c.booking_id, notifications.c.provider_id, notifications.c.created_at).where(
    notifications.c.booking_id.in_(_IDS)
)
_RECEIVED_AT = (
    select(func.min(chat_messages.c.created_at))
    .where(chat_messages.c.room_id == chat_rooms.c.id, chat_messages.c.kind == MessageKind.BOOKING_RECEIVED.value)
    .scalar_subquery()
)
_ROOMS = select(
    chat_rooms.c.booking_id, chat_rooms.c.provider_id, chat_rooms.c.customer_id, chat_rooms.c.created_at, _RECEIVED_AT
).where(chat_rooms.c.booking_id.in_(_IDS))
_TELLING_RESULT = (
    select(delivery_attempts.c.result)
    .where(delivery_attempts.c.delivery_id == deliveries.c.id)
    .order_by((delivery_attempts.c.result == AttemptResult.REJECTED.value).desc(), delivery_attempts.c.attempt.desc())
    .limit(1)
    .scalar_subquery()
)
_DELIVERIES = select(deliveries.c.booking_id, deliveries.c.target, deliveries.c.delivered_at, _TELLING_RESULT).where(
    deliveries.c.booking_id.in_(_IDS), deliveries.c.stage == bindparam("stage")
)


def _rooms(connection: Connection, ids: Sequence[str]) -> Iterator[tuple[str, Room]]:
    for booking_id, *room in connection.execute(_ROOMS, {"ids": ids}).all():
        yield booking_id, Room(*room)


def _deliveries(connection: Connection, stage: Stage, ids: Sequence[str]) -> Iterator[tuple[str, Sent]]:
    for booking_id, *sent in connection.execute(_DELIVERIES, {"ids": ids, "stage": stage.value}).all():
        yield booking_id, Sent(*sent)


_PUSH_SUBSCRIPTIONS = select(
    push_subscriptions.c.provider_id,
    push_subscriptions.c.id,
    push_subscriptions.c.created_at,
    push_subscriptions.c.expires_at,
).where(push_subscriptions.c.provider_id.in_(bindparam("providers", expanding=True)))


def push_subscriptions_of(
    connection: Connection, provider_ids: Iterable[str]
) -> defaultdict[str, list[PushSubscription]]:
    """The push subscriptions that are there now, by provider."""
    found: defaultdict[str, list[PushSubscription]] = defaultdict(list)
    for provider_id, *subscription in connection.execute(_PUSH_SUBSCRIPTIONS, {"providers": list(provider_ids)}):
        found[provider_id].append(PushSubscription(*subscription))
    return found


def _subscriptions(connection: Connection, due: Sequence[DueStage]) -> Iterator[tuple[str, list[PushSubscription]]]:
    providers = {one.booking_id: one.provider_id for one in due if one.provider_id is not None}
    found = push_subscriptions_of(connection, set(providers.values()))
    return ((booking_id, found[provider_id]) for booking_id, provider_id in providers.items())


_THERE_IN_TIME = (live_subscriptions.c.provider_id == bookings.c.provider_id) & (
    live_subscriptions.c.opened_at <= stages.c.due_at
)
_STILL_OPEN = exists().where(_THERE_IN_TIME, live_subscriptions.c.closed_at.is_(None))
_CLOSED_SINCE = exists().where(_THERE_IN_TIME, live_subscriptions.c.closed_at >= stages.c.created_at)
_LISTENED = (
    select(stages.c.booking_id)
    .join_from(stages, bookings, bookings.c.id == stages.c.booking_id)
    .where(stages.c.booking_id.in_(_IDS), stages.c.stage == Stage.REALTIME.value, _STILL_OPEN | _CLOSED_SINCE)
)


def _listened(connection: Connection, ids: Sequence[str]) -> Iterator[str]:
    """Bookings with a subscription that was open at some time in [creation, due time]."""
    for (booking_id,) in connection.execute(_LISTENED, {"ids": ids}):
        yield booking_id
