"""What the rate alerts would do in a given history, on a simulated clock: the evaluator's own decisions, replayed.

Bookings become due at random instants (Poisson) and fail independently. Lengths and instants are milliseconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from monitor.domain.alert_conditions import critical_evidence, warning_evidence
from monitor.domain.alert_lifecycle import Alert, Transition, advance
from monitor.domain.ledger import Count
from monitor.domain.times import DAY, HOUR, SECOND
from monitor.domain.vocabulary import AlertState, Severity, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from monitor.domain.objectives import Objectives

MONTH = 730 * HOUR
EVALUATION_INTERVAL = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Due:
    """A booking that became due for an SLI."""

    at: int
    bad: bool


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert that began to fire."""

    at: int
    severity: Severity
    due: int
    """Bookings that had become due by then."""


def poisson_bookings(*, per_hour: float, failing: float, length: int, seed: int, start: int = 0) -> Iterator[Due]:
    """Make a history: bookings that come at random and fail with the probability `failing`."""
    source = random.Random(seed)  # noqa: S311 - a simulation that must repeat, not a secret
    at = float(start)
    while True:
        at += source.expovariate(per_hour / HOUR)
        if at >= start + length:
            return
        yield Due(int(at), source.random() < failing)


def firings(
    history: Iterable[Due],
    objective: float,
    objectives: Objectives,
    *,
    length: int,
    interval: int = EVALUATION_INTERVAL,
) -> list[Firing]:
    """Replay a history through the critical and the warning alert of one SLI, and tell when each began to fire.

    Evaluations at which nothing has changed are skipped: they could change nothing.
    """
    windows = _Windows(tuple(history))
    critical, warning = Alert(), Alert()
    found: list[Firing] = []
    now = 0
    while now <= length:
        counts = windows.advance(now)
        holds = critical_evidence(counts, objective, objectives.critical) is not None
        critical, changes = advance(critical, holds, now, objectives.critical.timing)
        found += [Firing(now, Severity.CRITICAL, windows.due) for c in changes if c is Transition.FIRED]
        holds = (
            critical.state is not AlertState.FIRING
            and warning_evidence(counts, objective, objectives.warning) is not None
        )
        warning, changes = advance(warning, holds, now, objectives.warning.timing)
        found += [Firing(now, Severity.WARNING, windows.due) for c in changes if c is Transition.FIRED]
        settled = all(a.state is not AlertState.PENDING and a.keeping_since is None for a in (critical, warning))
        soonest = windows.next_change if settled else now + 1
        now = max(now + interval, -(-soonest // interval) * interval)
    return found


class _Windows:
    """The counts of all windows at a moving instant, over due times in (now - window, now]."""

    def __init__(self, history: Sequence[Due]) -> None:
        self._at = [booking.at for booking in history]
        self._bad = [0, *accumulate(int(booking.bad) for booking in history)]
        self._first = dict.fromkeys(Window, 0)
        self._length = {window: window.seconds * SECOND for window in Window}
        self.due = 0
        self.next_change = 0

    def advance(self, now: int) -> dict[Window, Count]:
        """Move to `now`, which is not before the instant of the last call."""
        at, bad, due = self._at, self._bad, self.due
        while due < len(at) and at[due] <= now:
            due += 1
        self.due = due
        soonest = at[due] if due < len(at) else now + DAY
        counts = {}
        for window, length in self._length.items():
            first = self._first[window]
            while first < due and at[first] <= now - length:
                first += 1
            self._first[window] = first
            if first < due:
                soonest = min(soonest, at[first] + length)
            counts[window] = Count(due - first, bad[due] - bad[first])
        self.next_change = soonest
        return counts
