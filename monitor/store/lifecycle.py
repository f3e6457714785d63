"""Steps in a booking's life: the provider's answer, cancelling, completing, expiry."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, literal, select, update

from monitor.domain.chat import TOLD, system_message
from monitor.domain.ids import new_id
from monitor.domain.lifecycle import Action, IllegalTransitionError, Response, Standing, Status, advance
from monitor.domain.rows import Fields
from monitor.domain.vocabulary import Traffic
from monitor.store.bookings import find
from monitor.store.commands import Single
from monitor.store.deliveries import lapse
from monitor.store.statements import insert_rows
from monitor.store.tables import bookings, chat_messages, chat_rooms, stages


class UnknownBookingError(Exception):
    """There is no such booking."""


class NotSyntheticError(Exception):
    """The booking is a real one, and real ones are not removed."""


@dataclass(frozen=True, slots=True)
class Take(Single[Fields]):
    """Takes one booking one step further, and tells its chat."""

    booking_id: str
    action: Action
    now: int
    provider_id: str | None = None
    """Only if it is this provider's booking, where given."""

    def run(self, connection: Connection) -> Fields | UnknownBookingError | IllegalTransitionError:
        """Return the booking after the step, or why it was not taken."""
        query = select(bookings).where(bookings.c.id == self.booking_id).with_for_update()
        booking = connection.execute(query).mappings().one_or_none()
        if booking is None or self.provider_id not in (None, booking["provider_id"]):
            return UnknownBookingError(self.booking_id)
        before = Standing(Status(booking["status"]), Response(booking["provider_response_status"]))
        try:
            after = advance(before, self.action, now=self.now, response_deadline=booking["response_deadline"])
        except IllegalTransitionError as error:
            return error
        if after == before:
            return booking
        _write_steps(connection, [self.booking_id], self.action, after, self.now)
        written = find(connection, self.booking_id)
        return UnknownBookingError(self.booking_id) if written is None else written


_OVERDUE = (
    select(bookings.c.id)
    .where(
        bookings.c.status == literal(Status.PENDING.value, literal_execute=True),
        bookings.c.response_deadline <= bindparam("now"),
    )
    .order_by(bookings.c.response_deadline)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class ExpireUnanswered(Single[list[str]]):
    """Expires bookings whose response deadline has passed."""

    now: int
    limit: int

    def run(self, connection: Connection) -> list[str]:
        """Return the ids of the bookings that expired."""
        ids = list(connection.execute(_OVERDUE, {"now": self.now, "most": self.limit}).scalars())
        if ids:
            expired = Standing(Status.EXPIRED, Response.TIMED_OUT)
            _write_steps(connection, ids, Action.EXPIRE, expired, self.now)
        return ids


def _write_steps(connection: Connection, ids: list[str], action: Action, after: Standing, now: int) -> None:
    connection.execute(
        update(bookings)
        .where(bookings.c.id.in_(ids))
        .values(status=after.status.value, provider_response_status=after.response.value, updated_at=now)
    )
    rooms = connection.execute(select(chat_rooms.c.id).where(chat_rooms.c.booking_id.in_(ids))).scalars()
    messages = [system_message(new_id(now), room_id, TOLD[action], now) for room_id in rooms]
    insert_rows(connection, chat_messages, messages)
    lapse(connection, ids)


@dataclass(frozen=True, slots=True)
class RemoveSynthetic(Single[UnknownBookingError | None]):
    """Removes a canary booking with all that belongs to it. What was counted of it stays counted."""

    booking_id: str

    def run(self, connection: Connection) -> UnknownBookingError | NotSyntheticError | None:
        """Return None for each that was removed, or why it was not."""
        booking = find(connection, self.booking_id)
        if booking is None:
            return UnknownBookingError(self.booking_id)
        if booking["traffic"] != Traffic.CANARY.value:
            return NotSyntheticError(self.booking_id)
        connection.execute(delete(stages).where(stages.c.booking_id == self.booking_id))
        connection.execute(delete(bookings).where(bookings.c.id == self.booking_id))
        return None
