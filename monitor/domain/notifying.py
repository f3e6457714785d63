"""What a provider is told of a booking, in the inbox and by push. It names no person: pushes pass through others."""

from __future__ import annotations

from typing import Any

import orjson

NEW_BOOKING = "new_booking"
TITLE = "New booking request"
TEXT = "A customer is waiting for your answer."


def notification_row(notification_id: str, provider_id: str, booking_id: str, now: int) -> tuple[Any, ...]:
    """The row of the notification that is written at `now` (milliseconds since the epoch)."""
    return (notification_id, provider_id, booking_id, NEW_BOOKING, TITLE, TEXT, now, None)


def push_payload(event_id: str, booking_id: str, traceparent: str | None) -> bytes:
    """What a push carries, as JSON. By the `traceparent`, if it has one, its receiver joins the booking's trace."""
    payload = {"type": "booking.created", "id": event_id, "booking_id": booking_id, "title": TITLE, "body": TEXT}
    if traceparent is not None:
        payload["traceparent"] = traceparent
    return orjson.dumps(payload)
