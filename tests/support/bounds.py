"""Bounds that the tests hold the product's statistics, and what Prometheus makes of them, against."""

from __future__ import annotations

import math
from bisect import bisect_left

from monitor.domain.statistics import binomial_tail_at_most


def smallest_failing_count(events: int, allowed: float, alpha: float, *, at_least: int = 1) -> int | None:
    """Fewest bad ones among `events` that are proof at `alpha`; None where even all of them are not."""
    candidates = range(max(at_least, math.floor(events * allowed)), events + 1)
    found = bisect_left(candidates, x=True, key=lambda bad: binomial_tail_at_most(events, bad, allowed, alpha))
    return candidates[found] if found < len(candidates) else None


def poisson_nats(expected: float, seen: int) -> float:
    """Evidence, in nats, that fewer come than expected; `exp(-nats)` is never below P(X <= seen)."""
    if seen >= expected:
        return 0.0
    return expected - seen + (seen * math.log(seen / expected) if seen else 0.0)
