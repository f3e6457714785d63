from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bounds import poisson_nats, smallest_failing_count

from monitor.domain.statistics import (
    MAX_ALPHA,
    binomial_tail,
    binomial_tail_at_most,
    chernoff_nats,
    events_until_proof,
    poisson_lower_tail,
    poisson_term,
)

ALPHA = 0.0002


def exact_tail(events: int, bad: int, allowed: Fraction) -> Fraction:
    """Sum the tail in rational arithmetic."""
    return sum(
        (math.comb(events, k) * allowed**k * (1 - allowed) ** (events - k) for k in range(bad, events + 1)),
        Fraction(0),
    )


@st.composite
def counts(draw: st.DrawFn, most: int = 120) -> tuple[int, int]:
    events = draw(st.integers(0, most))
    return events, draw(st.integers(0, events))


allowed_rates = st.integers(1, 31).map(lambda k: k / 64)
"""Failure rates that a float holds exactly, so that the rational sum is of the same number."""


@given(counts(), allowed_rates)
def test_the_tail_is_the_sum_in_rational_arithmetic(count: tuple[int, int], allowed: float) -> None:
    assert binomial_tail(*count, allowed) == pytest.approx(float(exact_tail(*count, Fraction(allowed))), rel=1e-11)


@pytest.mark.parametrize(
    ("bad", "tail"),
    [
        # 200,000 events at 1/20, summed in exact integers.
        (9990, 0.5422906670153171),
        (10001, 0.49733954405870423),
        (10300, 0.0011067387094410963),
        (10350, 0.00017998028515831704),
        (10600, 5.455871984007539e-10),
    ],
)
def test_the_tail_stays_exact_for_many_events(bad: int, tail: float) -> None:
    assert binomial_tail(200_000, bad, 0.05) == pytest.approx(tail, rel=1e-10)


@pytest.mark.parametrize("events", [1_000_000, 5_000_000])
def test_the_tail_neither_overflows_nor_underflows_for_millions(events: int) -> None:
    assert binomial_tail(events, events, 0.05) == 0.0
    assert binomial_tail(events, 0, 0.05) == 1.0
    assert binomial_tail(events, events // 20, 0.05) == pytest.approx(0.5, abs=0.001)
    assert math.isfinite(chernoff_nats(events, events, 0.05))


@given(counts(400), allowed_rates)
def test_the_tail_falls_with_each_further_failure(count: tuple[int, int], allowed: float) -> None:
    events, bad = count
    tails = [binomial_tail(events, b, allowed) for b in (bad, min(bad + 1, events))]
    assert 0 <= tails[1] <= tails[0] <= 1 + 1e-12


@given(counts(3000), allowed_rates, st.floats(1e-9, MAX_ALPHA))
def test_the_decision_is_that_of_the_tail(count: tuple[int, int], allowed: float, alpha: float) -> None:
    assert binomial_tail_at_most(*count, allowed, alpha) == (binomial_tail(*count, allowed) <= alpha)


@given(counts(3000), allowed_rates)
def test_the_chernoff_bound_is_never_below_the_tail(count: tuple[int, int], allowed: float) -> None:
    assert math.exp(-chernoff_nats(*count, allowed)) >= binomial_tail(*count, allowed) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("allowed", "smallest"),
    [(0.05, [None, 2, 3, 4, 5, 8, 12, 68]), (0.02, [None, 2, 2, 3, 3, 5, 7, 32])],
)
def test_the_smallest_failing_counts_are_those_of_the_published_table(
    allowed: float, smallest: list[int | None]
) -> None:
    # Clopper-Pearson at 0.01, for 1, 2, 5, 10, 20, 50, 100 and 1000 events.
    assert [smallest_failing_count(n, allowed, 0.01) for n in (1, 2, 5, 10, 20, 50, 100, 1000)] == smallest


@given(st.integers(1, 3000), allowed_rates, st.integers(1, 4))
def test_the_smallest_failing_count_is_proof_and_one_less_is_not(events: int, allowed: float, at_least: int) -> None:
    smallest = smallest_failing_count(events, allowed, ALPHA, at_least=at_least)
    if smallest is None:
        assert events < at_least or not binomial_tail_at_most(events, events, allowed, ALPHA)
        return
    assert binomial_tail_at_most(events, smallest, allowed, ALPHA)
    assert smallest == at_least or not binomial_tail_at_most(events, smallest - 1, allowed, ALPHA)


@pytest.mark.parametrize("allowed", [0.05, 0.02])
def test_a_total_outage_is_proven_by_three_bookings(allowed: float) -> None:
    assert events_until_proof(1.0, allowed, ALPHA, at_least=2) == 3


def test_a_fault_that_fails_less_takes_more_bookings_to_prove() -> None:
    needed = [events_until_proof(share, 0.05, ALPHA) for share in (1.0, 0.5, 0.2, 0.1)]
    assert needed == [3, 7, 42, 274]


def test_a_fault_within_what_is_allowed_is_not_proven_within_the_limit() -> None:
    assert events_until_proof(0.04, 0.05, ALPHA, limit=300) is None


@given(st.integers(0, 60), st.floats(0.01, 60))
def test_the_poisson_tail_is_the_sum_of_its_terms(seen: int, expected: float) -> None:
    terms = [math.exp(k * math.log(expected) - expected - math.lgamma(k + 1)) for k in range(seen + 1)]
    assert poisson_lower_tail(expected, seen) == pytest.approx(math.fsum(terms), rel=1e-9)
    assert poisson_term(expected, seen) == pytest.approx(terms[-1], rel=1e-10)


@given(st.integers(0, 5000), st.floats(0.01, 5000))
def test_the_poisson_bound_is_never_below_the_tail(seen: int, expected: float) -> None:
    assert math.exp(-poisson_nats(expected, seen)) >= poisson_lower_tail(expected, seen) * (1 - 1e-9)


def test_nothing_seen_where_nothing_is_expected_is_no_surprise() -> None:
    assert poisson_lower_tail(0.0, 0) == 1.0
    assert poisson_lower_tail(0.0, 5) == 1.0
    assert poisson_lower_tail(9.22, 0) < 1e-4 < poisson_lower_tail(9.2, 0)


@pytest.mark.parametrize(("events", "bad", "allowed"), [(3, 4, 0.05), (3, -1, 0.05), (3, 1, 0.0), (3, 1, 1.0)])
def test_impossible_counts_and_rates_are_refused(events: int, bad: int, allowed: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        binomial_tail(events, bad, allowed)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 0.2])
def test_a_decision_refuses_an_alpha_at_which_its_shortcut_would_be_wrong(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        binomial_tail_at_most(10, 5, 0.05, alpha)
