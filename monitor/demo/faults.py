"""What goes wrong in a demonstration, as the command line names it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from enum import StrEnum


class Fault(StrEnum):
    """A way in which bookings fail."""

    CHAT_ROOM = "chat-room"
    """The chat room vanishes behind the service's back."""
    NOTIFICATION = "notification"
    """The notification vanishes behind the service's back."""
    REALTIME = "realtime"
    """The provider's dashboard never acknowledges the event."""
    LEGACY = "legacy"
    """The booking comes in the field names of old clients."""


IN_THE_STORE = {Fault.CHAT_ROOM: "chat_rooms", Fault.NOTIFICATION: "notifications"}
"""Faults that are put into the store itself, with the table that loses a row."""
ALL = ", ".join(Fault)


def parse_faults(given: Iterable[str]) -> dict[Fault, float]:
    """Read `NAME` or `NAME:SHARE` of each fault. Raises ValueError that says what is allowed."""
    faults = {}
    for text in given:
        name, _, share = text.partition(":")
        try:
            fault, ratio = Fault(name), float(share or 1)
        except ValueError:
            ratio = 0.0
        if not 0 < ratio <= 1:
            raise ValueError(f"--fault {text!r}: allowed is {ALL}, with a share above 0 and up to 1, as chat-room:0.2")
        faults[fault] = ratio
    return faults


def befalls(fault: Fault, booking_id: str, faults: Mapping[Fault, float]) -> bool:
    """Whether this booking is of the share that fails: the same answer however often it is asked."""
    chance = random.Random(f"{fault} {booking_id}")  # noqa: S311 - no secret
    return chance.random() < faults.get(fault, 0.0)
