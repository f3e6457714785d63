"""Making a booking: everything that must exist for it, planned as one write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from monitor.domain.booking import NewBooking
from monitor.domain.ids import new_ids
from monitor.domain.judgement import Grace
from monitor.domain.lifecycle import MADE
from monitor.domain.representation import show_booking
from monitor.domain.times import rfc3339
from monitor.store.bookings import MakeBooking
from monitor.store.spread import STAGES

PLATFORM = "embedded"


@dataclass(frozen=True, slots=True)
class Terms:
    """The times that a booking is given, in milliseconds."""

    grace: Grace
    response_deadline: int
    chat_room_lifetime: int
    acknowledge_timeout: int
    push_timeout: int | None
    """None where no pushes are sent."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A booking to be written, and what its caller and its provider will be shown."""

    command: MakeBooking
    booking: dict[str, Any]
    """Its row."""
    room_id: str
    room_expires_at: int
    notification_id: str
    event_id: str

    def show(self) -> bytes:
        """The booking as JSON, as everybody is shown it."""
        return orjson.dumps(show_booking(self.booking))

    def answer(self, booking_json: bytes) -> bytes:
        """The body that answers the one who made the booking."""
        return b'{"booking":%b,"chat_room":{"id":"%b","expires_at":"%b"},"notification":{"id":"%b"}}' % (
            booking_json,
            self.room_id.encode(),
            rfc3339(self.room_expires_at).encode(),
            self.notification_id.encode(),
        )


def plan(
    new: NewBooking,
    *,
    now: int,
    terms: Terms,
    traceparent: str | None,
    idempotency_key: str | None = None,
    body_hash: str = "",
) -> Plan:
    """Plan all rows of a booking that is made at `now` (milliseconds since the epoch)."""
    request = new.request
    booking_id, room_id, message_id, notification_id, event_id = new_ids(now, 5)
    room_expires_at = now + terms.chat_room_lifetime
    booking: dict[str, Any] = {
        "id": booking_id,
        "platform": PLATFORM,
        "traffic": request.traffic,
        "provider_id": request.provider_id,
        "provider_name": request.provider_name,
        "provider_type": request.provider_type,
        "customer_id": request.customer_id,
        "customer_name": request.customer_name,
        "customer_phone": request.customer_phone,
        "service_type": request.service_type,
        "duration_minutes": request.duration_minutes,
        "price_minor": request.price_minor,
        "currency": new.currency,
        "location": request.location,
        "scheduled_for": new.scheduled_for,
        "notes": request.notes,
        "extra": None if new.extra is None else orjson.dumps(new.extra).decode(),
        "status": MADE.status.value,
        "provider_response_status": MADE.response.value,
        "response_deadline": now + terms.response_deadline,
        "created_at": now,
        "updated_at": now,
        "traceparent": traceparent,
    }
    command = MakeBooking(
        booking_id=booking_id,
        provider_id=request.provider_id,
        traffic=request.traffic,
        created_at=now,
        given=(
            *booking.values(),
            room_id,
            room_expires_at,
            message_id,
            notification_id,
            event_id,
            now + terms.acknowledge_timeout,
            *[now + grace for grace in _graces(terms.grace)],
        ),
        push_due_at=now + terms.grace.notification,
        push_retry_at=None if terms.push_timeout is None else now + terms.push_timeout,
        legacy_fields=new.legacy_fields,
        drift=None if new.drift is None else new.drift.value,
        idempotency_key=idempotency_key,
        body_hash=body_hash,
    )
    return Plan(command, booking, room_id, room_expires_at, notification_id, event_id)


@cache
def _graces(grace: Grace) -> tuple[int, ...]:
    """The grace of each of the stages that every booking has, in milliseconds."""
    return tuple(grace.of(stage) for stage in STAGES)
