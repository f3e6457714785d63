"""Our own rate limit: however many alerts there are at once, a receiver sees no more calls than it allows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_SHORTEST_WAIT_SECONDS = 0.001


@dataclass(slots=True)
class SlidingWindow:
    """At most so many calls within any span of so many seconds."""

    calls: int
    seconds: float
    _times: deque[float] = field(default_factory=deque, init=False, repr=False)

    def acquire(self, now: float) -> float:
        """Take a place at `now` (seconds of a monotonic clock) and give 0, or give the seconds until one is free."""
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        if len(self._times) < self.calls:
            self._times.append(now)
            return 0.0
        return max(self._times[0] + self.seconds - now, _SHORTEST_WAIT_SECONDS)
