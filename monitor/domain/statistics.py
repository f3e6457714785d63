"""How surprising a count of failures is: exact tails, their Chernoff bounds, and what follows from them.

All tails are summed from their largest term downwards: every term is positive and smaller than the one
before, so nothing cancels and nothing underflows, at two events as at millions. The largest term is in Loader's
saddle-point form (C. Loader, "Fast and Accurate Computation of Binomial Probabilities", 2000): the Chernoff
bound times a correction of the order of one over a square root.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_ALPHA = 0.05
"""Largest false-alarm probability that a decision may use. Below 1/4 a count at or under its expectation is
never proof (Greenberg and Mohri, "Tight lower bound on the probability of a binomial exceeding its
expectation", 2014), which is what the early exit of `binomial_tail_at_most` rests on."""

_NEGLIGIBLE = 1e-17
_HALF = 0.5


def chernoff_nats(events: int, bad: int, allowed: float) -> float:
    """Evidence, in nats, that the true failure rate is above `allowed`; 0 where there is none.

    `exp(-nats)` is never below P(X >= bad): the Chernoff bound, `events * KL(bad / events || allowed)`.
    """
    _check_binomial(events, bad, allowed)
    if events == 0 or bad / events <= allowed:
        return 0.0
    return _binomial_deviance(events, bad, allowed)


def binomial_tail(events: int, bad: int, allowed: float) -> float:
    """P(X >= bad) of `events` independent trials that each fail with probability `allowed`."""
    _check_binomial(events, bad, allowed)
    if bad == 0:
        return 1.0
    odds = allowed / (1 - allowed)
    if bad > events * allowed:
        rest = _falling_sum(lambda k: (events - k) / (k + 1) * odds, range(bad, events))
        return _binomial_term(events, bad, allowed) * rest
    rest = _falling_sum(lambda k: k / (events - k + 1) / odds, range(bad - 1, 0, -1))
    return 1 - _binomial_term(events, bad - 1, allowed) * rest


def binomial_tail_at_most(events: int, bad: int, allowed: float, alpha: float) -> bool:
    """Whether P(X >= bad) is at most `alpha`. Sums a series only where a bound does not already decide.

    Raises ValueError for an alpha that is not above 0 and at most MAX_ALPHA.
    """
    _check_binomial(events, bad, allowed)
    if not 0 < alpha <= MAX_ALPHA:
        raise ValueError(f"alpha is {alpha}; allowed: above 0 and at most {MAX_ALPHA}")
    if bad <= events * allowed:
        return False
    if _binomial_deviance(events, bad, allowed) >= -math.log(alpha):
        return True
    if _binomial_term(events, bad, allowed) > alpha:
        return False
    return binomial_tail(events, bad, allowed) <= alpha


def events_until_proof(
    failing: float, allowed: float, alpha: float, *, at_least: int = 1, limit: int = 5000
) -> int | None:
    """Events, counted from its beginning, by which half of the faults that fail the share `failing` are proven.

    Exact: carries the distribution of the failures among the histories that are not proven yet. None where it
    takes more than `limit` events.
    """
    unproven = [1.0]
    threshold = at_least
    for events in range(1, limit + 1):
        succeeded = (*(share * (1 - failing) for share in unproven), 0.0)
        failed = (0.0, *(share * failing for share in unproven))
        while threshold <= events and not binomial_tail_at_most(events, threshold, allowed, alpha):
            threshold += 1
        unproven = [a + b for a, b in zip(succeeded, failed, strict=True)][:threshold]
        if math.fsum(unproven) <= _HALF:
            return events
    return None


def poisson_lower_tail(expected: float, seen: int) -> float:
    """P(X <= seen) where `expected` come on average."""
    _check_poisson(expected, seen)
    if expected == 0:
        return 1.0
    if seen < expected:
        return poisson_term(expected, seen) * _falling_sum(lambda k: k / expected, range(seen, 0, -1))
    return 1 - poisson_term(expected, seen + 1) * _falling_sum(lambda k: expected / (k + 1), count(seen + 1))


def poisson_term(expected: float, seen: int) -> float:
    """P(X = seen) where `expected` come on average."""
    _check_poisson(expected, seen)
    if seen == 0 or expected == 0:
        return math.exp(-expected) if seen == 0 else 0.0
    return math.exp(-_poisson_deviance(expected, seen) - _stirling_error(seen)) / math.sqrt(math.tau * seen)


def _falling_sum(ratio: Callable[[int], float], steps: Iterable[int]) -> float:
    """1 + r(a) + r(a) r(b) + ... over the steps, until a term no longer matters."""
    term = total = 1.0
    for step in steps:
        term *= ratio(step)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return total


def _binomial_term(events: int, bad: int, allowed: float) -> float:
    """P(X = bad)."""
    good = events - bad
    if good == 0 or bad == 0:
        return math.exp(-_binomial_deviance(events, bad, allowed))
    correction = _stirling_error(events) - _stirling_error(bad) - _stirling_error(good)
    scale = math.sqrt(events / (math.tau * bad * good))
    return scale * math.exp(correction - _binomial_deviance(events, bad, allowed))


def _binomial_deviance(events: int, bad: int, allowed: float) -> float:
    good = events - bad
    nats = bad * math.log(bad / (events * allowed)) if bad else 0.0
    return nats + (good * math.log(good / (events * (1 - allowed))) if good else 0.0)


def _poisson_deviance(expected: float, seen: int) -> float:
    return expected - seen + (seen * math.log(seen / expected) if seen else 0.0)


def _stirling_error(n: int) -> float:
    """ln(n!) less Stirling's approximation of it, for n of at least 1."""
    if n < _STIRLING_SERIES_FROM:
        return math.lgamma(n + 1) - (n + 0.5) * math.log(n) + n - 0.5 * math.log(math.tau)
    square = n * n
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / n


_STIRLING_SERIES_FROM = 16
"""From here on the four terms of the asymptotic series are exact to double precision."""


def _check_binomial(events: int, bad: int, allowed: float) -> None:
    if not 0 <= bad <= events:
        raise ValueError(f"{bad} bad of {events} events; allowed: from 0 to the number of events")
    if not 0 < allowed < 1:
        raise ValueError(f"the allowed failure rate is {allowed}; allowed: between 0 and 1, both excluded")


def _check_poisson(expected: float, seen: int) -> None:
    if seen < 0 or not (math.isfinite(expected) and expected >= 0):
        raise ValueError(f"{seen} seen where {expected} are expected; allowed: finite and not negative")
