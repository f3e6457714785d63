"""When a missing stage is to be made good once more."""

from __future__ import annotations

FIRST_PAUSE = 5_000
"""Milliseconds between the first and the second repair."""
LONGER = 4
"""Each further pause is so many times longer."""


def repair_is_due(*, repairs: int, repaired_at: int | None, limit: int, now: int) -> bool:
    """Whether another repair is worth trying. Times in milliseconds since the epoch."""
    if repairs >= limit:
        return False
    return repaired_at is None or now - repaired_at >= FIRST_PAUSE * LONGER ** max(repairs - 1, 0)
