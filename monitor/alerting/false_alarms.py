"""How often a rule would fire although all is well: bounds that are computed, not simulated.

With bookings that come at random (Poisson) and fail independently, the good and the bad ones in a window are
independent Poisson counts. A condition on them can begin to hold only at an instant when a booking comes into
the window or leaves it, and the window is then otherwise in its usual state (PASTA). So the rate of such
instants is a sum over that state. Summed over a tier's windows it is an upper bound on the alerts: windows
overlap, `for` suppresses short spells and `keep_firing_for` joins neighbours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from monitor.domain.statistics import binomial_tail_at_most, poisson_lower_tail, poisson_term

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.domain.objectives import AbsenceRule, CriticalTier, WarningTier

HOURS_PER_MONTH = 730.0
_SPREAD = 8.0
"""Standard deviations of the count of good bookings that are looked at to either side."""
_NEGLIGIBLE = 1e-15


def critical_per_month(tier: CriticalTier, objective: float, per_hour: float, failing: float) -> float:
    """Bound the false pages a month of one SLI with `per_hour` bookings that fail with the healthy `failing`."""

    def is_proof(good: int, bad: int) -> bool:
        return binomial_tail_at_most(good + bad, bad, 1 - objective, tier.alpha)

    return HOURS_PER_MONTH * math.fsum(
        _begins_per_hour(
            window.seconds / 3600, per_hour, failing, is_proof, tier.min_bad, 1 - companion.seconds / window.seconds
        )
        for window, companion in tier.windows.items()
    )


def warning_per_month(tier: WarningTier, objective: float, per_hour: float, failing: float) -> float:
    """Bound the false warnings a month of one SLI, as `critical_per_month` does."""
    threshold = 1 - tier.burn_rate * (1 - objective)

    def is_below(good: int, bad: int) -> bool:
        return good / (good + bad) < threshold

    return HOURS_PER_MONTH * math.fsum(
        _begins_per_hour(window.seconds / 3600, per_hour, failing, is_below, tier.min_bad, 0.0)
        for window in tier.windows
    )


def absence_per_month(rule: AbsenceRule, per_hour: float) -> float:
    """Bound the false alarms a month about missing traffic, where `per_hour` bookings come and are expected.

    The condition begins when a booking leaves the window and the largest improbable count stays behind.
    """
    total = 0.0
    for window in rule.windows:
        usual = per_hour * window.seconds / 3600
        largest = -1
        while poisson_lower_tail(usual, largest + 1) <= rule.p_value:
            largest += 1
        if largest >= 0:
            total += per_hour * poisson_term(usual, largest)
    return HOURS_PER_MONTH * total


def _begins_per_hour(
    hours: float, per_hour: float, failing: float, holds: Callable[[int, int], bool], min_bad: int, outside: float
) -> float:
    """Rate at which a condition on a window of so many hours begins to hold.

    `outside` is the chance that a failure of the window is not in its companion; 0 where there is no companion.
    """
    good_rate, bad_rate = per_hour * (1 - failing), per_hour * failing
    usual_good, usual_bad = good_rate * hours, bad_rate * hours
    spread = _SPREAD * math.sqrt(usual_good) + _SPREAD
    first, last = max(0, math.floor(usual_good - spread)), math.ceil(usual_good + spread)
    here = _threshold(first, min_bad, holds)
    total = 0.0
    for good in range(first, last):
        with_one_more = _threshold(good + 1, here, holds)
        # A bad booking comes: it tips the count over, or the count was over and showed no recent failure.
        comes = poisson_term(usual_bad, here - 1) + _weighted_tail(usual_bad, here, outside)
        # A good booking leaves: what did not hold with it holds without it, and shows a recent failure.
        leaves = math.fsum(poisson_term(usual_bad, bad) * (1 - outside**bad) for bad in range(here, with_one_more))
        total += poisson_term(usual_good, good) * (bad_rate * comes + good_rate * leaves)
        here = with_one_more
    return total


def _threshold(good: int, start: int, holds: Callable[[int, int], bool]) -> int:
    """Fewest bad bookings beside the `good` ones for which the condition holds, not below `start`."""
    bad = start
    while not holds(good, bad):
        bad += 1
    return bad


def _weighted_tail(usual: float, first: int, weight: float) -> float:
    """Sum P(X = k) weight^k over k >= first, where X is a Poisson count."""
    term = poisson_term(usual, first) * weight**first
    total, seen = term, first
    while term > total * _NEGLIGIBLE:
        seen += 1
        term *= usual * weight / seen
        total += term
    return total
