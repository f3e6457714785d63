"""The messages that the service itself writes into a chat room."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from monitor.domain.lifecycle import Action


class MessageKind(StrEnum):
    """What a chat message is."""

    BOOKING_RECEIVED = "booking_received"
    BOOKING_ACCEPTED = "booking_accepted"
    BOOKING_DECLINED = "booking_declined"
    BOOKING_CANCELLED = "booking_cancelled"
    BOOKING_COMPLETED = "booking_completed"
    BOOKING_EXPIRED = "booking_expired"
    TEXT = "text"


class Sender(StrEnum):
    """Who wrote a message."""

    SYSTEM = "system"
    CUSTOMER = "customer"
    PROVIDER = "provider"


TEXTS: dict[MessageKind, str] = {
    MessageKind.BOOKING_RECEIVED: "Your booking request was received. The provider has been notified.",
    MessageKind.BOOKING_ACCEPTED: "The provider accepted the booking.",
    MessageKind.BOOKING_DECLINED: "The provider declined the booking.",
    MessageKind.BOOKING_CANCELLED: "The booking was cancelled.",
    MessageKind.BOOKING_COMPLETED: "The booking is completed.",
    MessageKind.BOOKING_EXPIRED: "The provider did not answer in time. The booking has expired.",
}
"""What the system writes."""

TOLD: dict[Action, MessageKind] = {
    Action.ACCEPT: MessageKind.BOOKING_ACCEPTED,
    Action.DECLINE: MessageKind.BOOKING_DECLINED,
    Action.CANCEL: MessageKind.BOOKING_CANCELLED,
    Action.COMPLETE: MessageKind.BOOKING_COMPLETED,
    Action.EXPIRE: MessageKind.BOOKING_EXPIRED,
}
"""The message with which the chat learns of a step."""


def system_message(message_id: str, room_id: str, kind: MessageKind, now: int) -> tuple[Any, ...]:
    """The row of a message that the system writes at `now` (milliseconds since the epoch)."""
    return (message_id, room_id, kind.value, Sender.SYSTEM.value, None, TEXTS[kind], now)
