"""Making a booking: everything that must exist for it, planned as one write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from monitor.domain.booking import NewBooking
from monitor.domain.chat import MessageKind, system_message
from monitor.domain.ids import new_id
from monitor.domain.judgement import Grace
from monitor.domain.lifecycle import MADE
from monitor.domain.notifying import notification_row
from monitor.domain.representation import Shown, show_booking
from monitor.domain.times import rfc3339
from monitor.domain.vocabulary import DeliveryState, Stage
from monitor.store.bookings import MakeBooking, stage_row

PLATFORM = "embedded"


@dataclass(frozen=True, slots=True)
class Terms:
    """The times that a booking is given, in milliseconds."""

    grace: Grace
    response_deadline: int
    chat_room_lifetime: int
    acknowledge_timeout: int
    push_timeout: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A booking to be written, and what its caller and its provider will be shown."""

    command: MakeBooking
    shown: Shown
    room_id: str
    room_expires_at: int
    notification_id: str
    event_id: str

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
    booking_id, room_id, notification_id, event_id = (new_id(now) for _ in range(4))
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
        platform=PLATFORM,
        created_at=now,
        booking=tuple(booking.values()),
        room=(room_id, booking_id, request.provider_id, request.customer_id, now, room_expires_at),
        message=system_message(room_id, MessageKind.BOOKING_RECEIVED, now),
        notification=notification_row(notification_id, request.provider_id, booking_id, now),
        stages=tuple(
            stage_row(booking_id, stage, request.traffic, now, now + terms.grace.of(stage))
            for stage in (Stage.CHAT_ROOM, Stage.MESSAGE, Stage.NOTIFICATION, Stage.REALTIME)
        ),
        realtime=(
            event_id,
            booking_id,
            Stage.REALTIME.value,
            request.provider_id,
            DeliveryState.PENDING.value,
            0,
            now + terms.acknowledge_timeout,
            None,
            now,
            None,
            0,
        ),
        push_due_at=now + terms.grace.notification,
        push_retry_at=now + terms.push_timeout,
        legacy_fields=new.legacy_fields,
        drift=None if new.drift is None else new.drift.value,
        idempotency_key=idempotency_key,
        body_hash=body_hash,
    )
    return Plan(command, show_booking(booking), room_id, room_expires_at, notification_id, event_id)
