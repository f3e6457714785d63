"""How rows are shown to callers: neutral names, times in RFC 3339."""

from __future__ import annotations

from typing import Any

import orjson

from monitor.domain.rows import Fields
from monitor.domain.times import optional_rfc3339, rfc3339

Shown = dict[str, Any]


class UnreadableBookingError(Exception):
    """The row of a booking holds what cannot be shown: something else than this service has written it."""


def booking_json(row: Fields) -> bytes:
    """A booking as JSON, from its row. Raises UnreadableBookingError, which tells no value of the row."""
    try:
        return orjson.dumps(show_booking(row))
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise UnreadableBookingError(f"the row cannot be read: {type(error).__name__}") from error


def show_booking(row: Fields) -> Shown:
    """A booking, from its row."""
    extra = row["extra"]
    return {
        "id": row["id"],
        "platform": row["platform"],
        "traffic": row["traffic"],
        "status": row["status"],
        "provider_response_status": row["provider_response_status"],
        "provider_id": row["provider_id"],
        "provider_name": row["provider_name"],
        "provider_type": row["provider_type"],
        "customer_id": row["customer_id"],
        "customer_name": row["customer_name"],
        "customer_phone": row["customer_phone"],
        "service_type": row["service_type"],
        "duration_minutes": row["duration_minutes"],
        "price_minor": row["price_minor"],
        "currency": row["currency"],
        "location": row["location"],
        "scheduled_for": optional_rfc3339(row["scheduled_for"]),
        "notes": row["notes"],
        "extra": None if extra is None else orjson.loads(extra),
        "response_deadline": rfc3339(row["response_deadline"]),
        "created_at": rfc3339(row["created_at"]),
        "updated_at": rfc3339(row["updated_at"]),
    }


def show_message(row: Fields) -> Shown:
    """A chat message, from its row."""
    return {
        "id": row["id"],
        "room_id": row["room_id"],
        "kind": row["kind"],
        "sender_type": row["sender_type"],
        "sender_id": row["sender_id"],
        "body": row["body"],
        "created_at": rfc3339(row["created_at"]),
    }


def show_notification(row: Fields) -> Shown:
    """A notification, from its row."""
    return {
        "id": row["id"],
        "provider_id": row["provider_id"],
        "booking_id": row["booking_id"],
        "type": row["type"],
        "title": row["title"],
        "message": row["message"],
        "created_at": rfc3339(row["created_at"]),
        "read_at": optional_rfc3339(row["read_at"]),
    }


def booking_created_event(
    event_id: str, booking_id: str, sequence: int, booking_json: bytes, traceparent: str | None
) -> bytes:
    """The event with which a provider's subscriber learns of a booking.

    A repeat carries the same id and a higher `sequence`, so that a receiver can drop it. By the `traceparent` the
    receiver joins the booking's trace; a booking without one has an event without one.
    """
    traced = b"" if traceparent is None else b'"traceparent":"%b",' % traceparent.encode()
    return b'{"type":"booking.created","id":"%b","booking_id":"%b","sequence":%d,%b"booking":%b}' % (
        event_id.encode(),
        booking_id.encode(),
        sequence,
        traced,
        booking_json,
    )
