"""When a delivery that failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass

_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays that double from seconds to hours, with jitter, up to a number of attempts."""

    attempts: int
    """After so many a delivery is dead."""
    first_delay: int
    """Milliseconds between the first and the second attempt."""
    longest_delay: int
    """Milliseconds between two attempts at the most."""

    def delay(self, attempts: int, chance: float, asked: float | None = None) -> int | None:
        """Milliseconds to wait after `attempts` attempts, or None when it was the last.

        `chance` in [0, 1) spreads the delay by a fifth either way, so that what failed together does not
        return together. `asked` is what the receiver wants (Retry-After, seconds) and is the least.
        """
        if attempts >= self.attempts:
            return None
        planned = min(self.first_delay << min(attempts - 1, 40), self.longest_delay)
        spread = min(round(planned * (1 - _SPREAD + 2 * _SPREAD * chance)), self.longest_delay)
        return max(spread, round((asked or 0) * 1000))
