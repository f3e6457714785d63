"""What PagerDuty's V3 webhooks say about our incidents, once they are known to be genuine and new.

Protocol: PagerDuty/developer-docs, `docs/webhooks`. A signature proves that the body comes from PagerDuty. It
covers no time, so a recorded webhook stays valid for ever: its age and its id tell whether it is a replay.
PagerDuty delivers at least once, so it repeats an event itself when an answer was late. It drops what is refused
(class 4), and three drops in a row disable the subscription for a day: what is genuine but has no effect here is
therefore best answered with class 2.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from monitor.alerting.payload import MAX_DEDUP_KEY_CHARACTERS
from monitor.domain.times import HOUR, MINUTE, from_datetime

if TYPE_CHECKING:
    from pydantic import SecretStr

SIGNATURE_HEADER = "X-PagerDuty-Signature"
MAX_BODY_BYTES = 262_144
"""PagerDuty drops webhooks of more than 256 KB itself."""
MAX_SIGNATURES = 10
MAX_EVENT_ID_CHARACTERS = 128
MAX_AGE = 48 * HOUR
"""Milliseconds after which PagerDuty no longer repeats a webhook, and we no longer take it."""
MAX_CLOCK_SKEW = 5 * MINUTE
"""Milliseconds by which PagerDuty's clock may be ahead of ours."""
_VERSION = "v1="
_OUR_KEYS = "booking-monitor/"


class WebhookError(ValueError):
    """The body is not a V3 webhook; the message names the field."""


class IncidentChange(StrEnum):
    """What somebody did to an incident in PagerDuty."""

    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    """By hand, or as its time was over."""
    ESCALATED = "escalated"
    REASSIGNED = "reassigned"
    DELEGATED = "delegated"
    REOPENED = "reopened"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """A change of one of our incidents. Who made it is not read: that is a person's name."""

    id: str
    change: IncidentChange
    dedup_key: str
    occurred_at: int
    """Milliseconds since the epoch."""


class Admission(StrEnum):
    """Whether a genuine event may have an effect."""

    NEW = "new"
    REPEATED = "repeated"
    """Its id has been seen."""
    STALE = "stale"
    """Too old, or from the future."""


_CHANGES = {f"incident.{change.value}": change for change in IncidentChange}
_ASSIGNMENTS = (
    IncidentChange.ESCALATED,
    IncidentChange.REASSIGNED,
    IncidentChange.DELEGATED,
    IncidentChange.REOPENED,
)
"""Changes of who is to see to it: nobody has acknowledged it then, unless its status says so."""


def genuine(body: bytes, header: str | None, secret: SecretStr) -> bool:
    """Whether one of the signatures in the header is ours, compared in constant time.

    There are several while PagerDuty rotates the secret of a subscription.
    """
    key = secret.get_secret_value().encode()
    if not key or not header:
        return False
    expected = hmac.new(key, body, hashlib.sha256).hexdigest().encode()
    found = False
    for part in header.split(",")[:MAX_SIGNATURES]:
        version, _, digest = part.strip().partition("=")
        if version + "=" == _VERSION:
            found |= hmac.compare_digest(expected, digest.encode(errors="replace"))
    return found


def parse(body: bytes) -> IncidentEvent | None:
    """Read a genuine body; None when it is no concern of ours. Raises WebhookError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise WebhookError("body: JSON is needed") from None
    event = _object(_object({"body": document}, "body", ""), "event", "")
    change = _CHANGES.get(_string(event, "event_type", "event.", MAX_EVENT_ID_CHARACTERS))
    if change is None:
        return None
    data = _object(event, "data", "event.")
    if change in _ASSIGNMENTS and data.get("status") == IncidentChange.ACKNOWLEDGED:
        return None
    dedup_key = data.get("incident_key")
    if not isinstance(dedup_key, str) or not dedup_key.startswith(_OUR_KEYS):
        return None
    if len(dedup_key) > MAX_DEDUP_KEY_CHARACTERS or not dedup_key.isprintable():
        return None  # half of a surrogate pair, which no store takes, is not printable either
    return IncidentEvent(
        _string(event, "id", "event.", MAX_EVENT_ID_CHARACTERS), change, dedup_key, _instant(event, "occurred_at")
    )


class ReplayGuard:
    """Remembers the ids of events for as long as their age alone would let them in again."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[str, int] = OrderedDict()

    def admit(self, event: IncidentEvent, now: int) -> Admission:
        """Say whether the event may have an effect, and remember it. `now` is in milliseconds since the epoch."""
        if not now - MAX_AGE <= event.occurred_at <= now + MAX_CLOCK_SKEW:
            return Admission.STALE
        if event.id in self._seen:
            return Admission.REPEATED
        while self._seen and (len(self._seen) >= self._capacity or next(iter(self._seen.values())) < now - MAX_AGE):
            self._seen.popitem(last=False)
        self._seen[event.id] = event.occurred_at
        return Admission.NEW


def _object(parent: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise WebhookError(f"{path}{name}: an object is needed")
    return value


def _string(parent: dict[str, Any], name: str, path: str, limit: int) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise WebhookError(f"{path}{name}: a string of 1 to {limit} characters is needed")
    return value


def _instant(event: dict[str, Any], name: str) -> int:
    text = _string(event, name, "event.", 64)
    try:
        return from_datetime(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise WebhookError(f"event.{name}: an ISO 8601 time with its zone is needed") from None
