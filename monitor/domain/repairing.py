"""When a missing stage is to be made good once more."""

from __future__ import annotations

FIRST_PAUSE = 5_000
"""Milliseconds between the first and the second repair."""
LONGER = 4
"""Each further pause is so many times longer."""


def has_failed(*, repairs: int, repaired_at: int | None, limit: int, now: int) -> bool:
    """Whether the last repair that is allowed was tried, and has had its time to show."""
    return repairs == limit > 0 and repaired_at is not None and now - repaired_at >= _pause(repairs)


def repair_is_due(*, repairs: int, repaired_at: int | None, limit: int, now: int) -> bool:
    """Whether another repair is worth trying. Times in milliseconds since the epoch."""
    if repairs >= limit:
        return False
    return repaired_at is None or now - repaired_at >= _pause(repairs)


def _pause(repairs: int) -> int:
    return int(FIRST_PAUSE * LONGER ** max(repairs - 1, 0))
