"""What a push service's answer means."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from monitor.domain.vocabulary import AttemptResult

MAX_RETRY_AFTER_SECONDS = 3600
"""A push service that asks for more gets another attempt after this."""
MAX_RETRY_AFTER_CHARACTERS = 64
"""The longest HTTP date has 33 (RFC 9110, section 5.6.7)."""

_ACCEPTED = frozenset({200, 201, 202, 204})
_GONE = frozenset({404, 410})
"""RFC 8030, section 7.3; browsers' push services answer 410 where the RFC has 404."""
_REFUSED = range(300, 500)
_WORTH_ANOTHER_ATTEMPT = frozenset({406, 408, 421, 425, 429})
"""406 is how the Windows push service says 429 (its documentation, "Push notification service request and response
headers")."""


@dataclass(frozen=True, slots=True)
class PushResult:
    """How one attempt to hand a message to a push service ended."""

    result: AttemptResult
    detail: str
    """The status code, or the name of the fault. Never a URL and nothing that the push service wrote."""
    retry_after_seconds: int | None = None
    """How long the push service asks to be left alone, at most MAX_RETRY_AFTER_SECONDS."""


def result_of(status: int) -> AttemptResult:
    """Return what a status code says. A redirect is a refusal: it is never followed."""
    if status in _ACCEPTED:
        return AttemptResult.OK
    if status in _GONE:
        return AttemptResult.GONE
    if status in _REFUSED and status not in _WORTH_ANOTHER_ATTEMPT:
        return AttemptResult.REJECTED
    return AttemptResult.ERROR


def retry_after_seconds(value: str | None, now: float) -> int | None:
    """Read a Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date.

    `now` is in seconds since the epoch. None where there is no header, or none that can be understood.
    """
    if value is None or len(value) > MAX_RETRY_AFTER_CHARACTERS:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(int(value), MAX_RETRY_AFTER_SECONDS)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError, OSError):
        return None
    return min(max(int(seconds), 0), MAX_RETRY_AFTER_SECONDS)
