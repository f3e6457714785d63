"""The service's clock: it never goes back, and it does not jump when somebody sets the machine's clock.

It starts at the system's time (or at the last instant that the store knows of, if that is later) and advances
with CLOCK_BOOTTIME, which nobody can set and which goes on while the machine is suspended. Where the system's
clock is ahead, the machine was paused or its clock was wrong before, and the service follows at once; where
it is behind, the service goes on a little slower until the system's clock has caught up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SLOWEST = 0.95
"""Rate at which the clock goes while it waits for the system's clock."""
STEP = 2_000
"""Milliseconds by which the system's clock must be ahead to be followed at once."""


def system_milliseconds() -> int:
    """The system's time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def boot_milliseconds() -> int:
    """Milliseconds since the machine was started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Clock:
    """Tells the time in milliseconds since the epoch. `align` is to be called about once a second."""

    def __init__(
        self,
        *,
        floor: int = 0,
        system: Callable[[], int] = system_milliseconds,
        elapsed: Callable[[], int] = boot_milliseconds,
    ) -> None:
        self._system = system
        self._elapsed = elapsed
        self._offset = max(system(), floor) - elapsed()
        self._last = 0
        self._aligned_at = elapsed()

    def __call__(self) -> int:
        """The present instant. Never less than what was told before."""
        self._last = max(self._last, self._elapsed() + self._offset)
        return self._last

    @property
    def ahead(self) -> int:
        """Milliseconds by which this clock is ahead of the system's."""
        return self._elapsed() + self._offset - self._system()

    def align(self) -> None:
        """Come closer to the system's clock."""
        elapsed = self._elapsed()
        passed = max(elapsed - self._aligned_at, 0)
        self._aligned_at = elapsed
        ahead = self.ahead
        if ahead <= -STEP:
            self._offset -= ahead
        else:
            most = round(passed * (1 - SLOWEST))
            self._offset -= max(-most, min(most, ahead))
