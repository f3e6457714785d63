"""Bookings: made with all that belongs to them in one transaction, and read back."""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from monitor.domain.ids import new_id
from monitor.domain.ledger import Counter
from monitor.domain.rows import Fields
from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import Stage, Traffic
from monitor.store.commands import InOneStatement
from monitor.store.rows import delivery_row, stage_row
from monitor.store.spread import insert_bookings
from monitor.store.statements import ROWS_A_STATEMENT, Row, add_counts, insert_rows
from monitor.store.tables import (
    bookings,
    chat_rooms,
    counters,
    deliveries,
    drift_minutes,
    idempotency_keys,
    notifications,
    stages,
)


class KeyReusedError(Exception):
    """The Idempotency-Key came before with another body."""


@dataclass(frozen=True, slots=True)
class PushTarget:
    """A push that was planned for a booking, with the subscription that it goes to."""

    delivery_id: str
    subscription_id: str
    endpoint: str
    p256dh: str
    auth: str


@dataclass(frozen=True, slots=True)
class Made:
    """A booking that is now in the store."""

    booking_id: str
    pushes: tuple[PushTarget, ...] = ()
    replayed: bool = False
    """Whether an earlier request with the same Idempotency-Key made it."""


@dataclass(frozen=True, slots=True)
class MakeBooking(InOneStatement):
    """Writes a booking, its chat room, message, notification, stages and deliveries: all or none."""

    booking_id: str
    provider_id: str
    traffic: str
    created_at: int
    given: Row
    """What its rows hold, in the order of `spread.COLUMNS`."""
    push_due_at: int
    push_retry_at: int | None
    """When a push without an answer is tried again; None where no pushes are sent, and so none are planned."""
    legacy_fields: tuple[str, ...] = ()
    drift: str | None = None
    """How the booking drifted from the schema, if it did."""
    idempotency_key: str | None = None
    body_hash: str = ""

    @property
    def odd(self) -> bool:
        """Whether it came in a way that is counted."""
        return bool(self.legacy_fields) or self.drift is not None

    @classmethod
    def is_one_statement(cls, commands: Sequence[MakeBooking]) -> bool:
        """Bookings are, where there is nothing to look up, to push or to count besides them."""
        plain = all(one.idempotency_key is None and one.push_retry_at is None and not one.odd for one in commands)
        return plain and len(commands) <= ROWS_A_STATEMENT

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[MakeBooking]) -> Sequence[Made | KeyReusedError]:
        """Write a group of bookings; a repeated Idempotency-Key yields the booking that it made before."""
        earlier = _known_keys(connection, commands)
        new: list[MakeBooking] = []
        replayed: dict[str, Made | KeyReusedError] = {}
        for command in commands:
            key = command.idempotency_key
            if key is not None and key in earlier:
                known_hash, booking_id = earlier[key]
                same = known_hash == command.body_hash
                replayed[command.booking_id] = Made(booking_id, replayed=True) if same else KeyReusedError()
                continue
            if key is not None:
                earlier[key] = (command.body_hash, command.booking_id)
            new.append(command)
        pushes = _insert(connection, new) if new else {}
        return [
            replayed.get(command.booking_id) or Made(command.booking_id, pushes.get(command.booking_id, ()))
            for command in commands
        ]


_KEYS = select(idempotency_keys.c.key, idempotency_keys.c.body_hash, idempotency_keys.c.booking_id).where(
    idempotency_keys.c.key.in_(bindparam("keys", expanding=True))
)


def _known_keys(connection: Connection, commands: Sequence[MakeBooking]) -> dict[str, tuple[str, str]]:
    keys = [command.idempotency_key for command in commands if command.idempotency_key is not None]
    if not keys:
        return {}
    rows = connection.execute(_KEYS, {"keys": keys})
    return {key: (body_hash, booking_id) for key, body_hash, booking_id in rows}


def _insert(connection: Connection, new: list[MakeBooking]) -> dict[str, tuple[PushTarget, ...]]:
    """Insert bookings with all that belongs to them. Returns the pushes that were planned, by booking."""
    pushing = any(command.push_retry_at is not None for command in new)
    subscriptions: defaultdict[str, list[Row]] = defaultdict(list)
    for provider_id, *subscription in insert_bookings(connection, [one.given for one in new], pushing=pushing):
        subscriptions[provider_id].append(tuple(subscription))
    wanted = [one for one in new if one.provider_id in subscriptions and one.push_retry_at is not None]
    pushes = _insert_pushes(connection, wanted, subscriptions) if wanted else {}
    insert_rows(
        connection,
        idempotency_keys,
        [
            (command.idempotency_key, command.body_hash, command.booking_id, command.created_at)
            for command in new
            if command.idempotency_key is not None
        ],
    )
    if odd := [command for command in new if command.odd]:
        _count_odd(connection, odd)
    return pushes


def _count_odd(connection: Connection, odd: list[MakeBooking]) -> None:
    drifted = Tally(
        (command.created_at // MINUTE, command.drift)
        for command in odd
        if command.drift is not None and command.traffic == Traffic.REAL.value
    )
    add_counts(connection, drift_minutes, [(*key, count) for key, count in drifted.items()])
    legacy = Tally((Counter.LEGACY_FIELDS.value, name, "") for command in odd for name in command.legacy_fields)
    add_counts(connection, counters, [(*key, count) for key, count in legacy.items()])


def _insert_pushes(
    connection: Connection, wanted: list[MakeBooking], subscriptions: Mapping[str, Sequence[Row]]
) -> dict[str, tuple[PushTarget, ...]]:
    pushes = {
        command.booking_id: tuple(
            PushTarget(new_id(command.created_at), *subscription) for subscription in subscriptions[command.provider_id]
        )
        for command in wanted
    }
    insert_rows(
        connection,
        stages,
        [
            stage_row(command.booking_id, Stage.PUSH, command.traffic, command.created_at, command.push_due_at)
            for command in wanted
        ],
    )
    insert_rows(
        connection,
        deliveries,
        [
            delivery_row(
                target.delivery_id,
                command.booking_id,
                Stage.PUSH,
                target.subscription_id,
                command.push_retry_at,
                command.created_at,
            )
            for command in wanted
            for target in pushes[command.booking_id]
        ],
    )
    return pushes


def find(connection: Connection, booking_id: str) -> Fields | None:
    """A booking by its id."""
    return connection.execute(select(bookings).where(bookings.c.id == booking_id)).mappings().one_or_none()


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows that a booking was answered with."""

    booking: Fields
    chat_room: Fields | None
    notification: Fields | None


def find_parts(connection: Connection, booking_id: str) -> Parts | None:
    """A booking with its chat room and notification, as far as they are there."""
    booking = find(connection, booking_id)
    if booking is None:
        return None
    room = connection.execute(select(chat_rooms).where(chat_rooms.c.booking_id == booking_id)).mappings().first()
    notification = (
        connection.execute(
            select(notifications).where(notifications.c.booking_id == booking_id).order_by(notifications.c.id)
        )
        .mappings()
        .first()
    )
    return Parts(booking, room, notification)


def page(
    connection: Connection,
    *,
    provider_id: str | None,
    status: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Fields]:
    """Bookings, newest first; `before` is the id of the last one of the page before."""
    query = select(bookings).order_by(bookings.c.id.desc()).limit(limit)
    if provider_id is not None:
        query = query.where(bookings.c.provider_id == provider_id)
    if status is not None:
        query = query.where(bookings.c.status == status)
    if before is not None:
        query = query.where(bookings.c.id < before)
    return connection.execute(query).mappings().all()
