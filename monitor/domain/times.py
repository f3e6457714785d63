"""Instants: integers, milliseconds since the epoch in UTC; RFC 3339 with milliseconds on the outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Now = Callable[[], int]
"""A clock: the present instant, in milliseconds since the epoch."""

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LAST_INSTANT = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write."""


def rfc3339(instant: int) -> str:
    """Write an instant as `2026-12-01T14:00:00.000Z`."""
    seconds, milliseconds = divmod(instant, SECOND)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4096)
def _to_the_second(seconds: int) -> str:
    """Most instants that are written share their second with others."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def optional_rfc3339(instant: int | None) -> str | None:
    """Write an instant that may be absent."""
    return None if instant is None else rfc3339(instant)


def from_datetime(moment: datetime) -> int:
    """Turn an aware datetime into an instant. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time zone is needed")
    return round(moment.timestamp() * SECOND)


def milliseconds(seconds: float) -> int:
    """Turn a length in seconds into milliseconds."""
    return round(seconds * SECOND)
