"""Cutting a window of due times out of counts by the minute and counts by the second.

A window covers the due seconds in (now - length, now]. Whole minutes inside it are read from the counts by
the minute, the rest from those by the second, so that a window is exact to the second at any length and
costs one row a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain.times import SECOND

_SECONDS_A_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Spans:
    """Where a window's counts stand. All bounds are half-open: from, up to but not including."""

    minutes: tuple[int, int]
    """Minutes since the epoch."""
    seconds: tuple[tuple[int, int], ...]
    """Seconds since the epoch; at most two spans."""


def spans(now: int, length: int) -> Spans:
    """Spans of the window of `length` seconds that ends with `now` (milliseconds since the epoch)."""
    end = now // SECOND + 1
    start = end - length
    first = -(-start // _SECONDS_A_MINUTE)
    last = end // _SECONDS_A_MINUTE
    if last <= first:
        return Spans((first, first), ((start, end),))
    edges = ((start, first * _SECONDS_A_MINUTE), (last * _SECONDS_A_MINUTE, end))
    return Spans((first, last), tuple(edge for edge in edges if edge[0] < edge[1]))
