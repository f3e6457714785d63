"""Ids: UUIDv7 (RFC 9562), which sort by the time at which they were made."""

from __future__ import annotations

from threading import Lock
from uuid import UUID

import uuid_utils

_COUNTER_DIGITS = 12


class _Ids:
    """Makes ids that grow within a millisecond too: the last 48 bits count on from a random start (RFC 9562, 6.2).

    Rows then go to the end of their indexes instead of being strewn over the last pages.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._now = -1
        self._head = ""
        self._counter = 0
        self._step = 0

    def next(self, now: int, count: int) -> list[str]:
        """Return the next ids."""
        with self._lock:
            if now != self._now:
                self._start(now)
            head, first, step = self._head, self._counter, self._step
            self._counter = last = first + count * step
        return [f"{head}{number:012x}" for number in range(first, last, step)]

    def _start(self, now: int) -> None:
        random = str(uuid_utils.uuid7(nanoseconds=now * 1_000_000))
        self._now = now
        self._head = random[:-_COUNTER_DIGITS]
        self._counter = int(random[-_COUNTER_DIGITS:], 16) >> 1
        self._step = 1 + self._counter % 2**20


_ids = _Ids()


def new_id(now: int) -> str:
    """A new id for something made at `now` (milliseconds since the epoch).

    Those that this process makes one after the other for the same millisecond grow.
    """
    return _ids.next(now, 1)[0]


def new_ids(now: int, count: int) -> list[str]:
    """As many new ids, growing, for things that are made together at `now` (milliseconds since the epoch)."""
    return _ids.next(now, count)


def time_of(identifier: str) -> int:
    """When an id was made, in milliseconds since the epoch. Raises ValueError for what is no UUIDv7."""
    uuid = UUID(identifier)
    if uuid.version != 7:  # noqa: PLR2004 - the version of RFC 9562
        raise ValueError("not a UUIDv7")
    return uuid.int >> 80


def first_id(at: int) -> str:
    """A text that sorts before all ids made at or after `at` (milliseconds since the epoch)."""
    digits = f"{max(at, 0):012x}"
    return f"{digits[:8]}-{digits[8:]}"
