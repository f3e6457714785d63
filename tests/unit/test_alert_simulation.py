"""The rate alerts on a simulated clock: what healthy and sick histories lead to, against the contract's numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.objectives import OBJECTIVES
from support.simulation import EVALUATION_INTERVAL, MONTH, Due, firings, poisson_bookings

from monitor.alerting.false_alarms import absence_per_month, critical_per_month, warning_per_month
from monitor.domain.alert_lifecycle import Timing
from monitor.domain.statistics import poisson_lower_tail
from monitor.domain.times import DAY, HOUR, MINUTE
from monitor.domain.vocabulary import Severity, Window

if TYPE_CHECKING:
    from support.simulation import Firing

    from monitor.domain.objectives import Objectives

MOST_FALSE_PAGES_PER_MONTH = 0.15
OBJECTIVE_VALUES = (0.95, 0.98)


def replay(
    *, per_hour: float, failing: float, length: int, seed: int, objective: float, objectives: Objectives = OBJECTIVES
) -> list[Firing]:
    history = poisson_bookings(per_hour=per_hour, failing=failing, length=length, seed=seed)
    return firings(history, objective, objectives, length=length)


def pages(found: list[Firing]) -> list[Firing]:
    return [firing for firing in found if firing.severity is Severity.CRITICAL]


def false_pages(months: int, *, per_hour: float, objective: float, objectives: Objectives = OBJECTIVES) -> int:
    healthy = (1 - objective) / 2
    return sum(
        len(
            pages(
                replay(
                    per_hour=per_hour,
                    failing=healthy,
                    length=MONTH,
                    seed=seed,
                    objective=objective,
                    objectives=objectives,
                )
            )
        )
        for seed in range(months)
    )


def is_within(count: int, expected: float) -> bool:
    """Whether a count is not above its expectation by more than one in a thousand would be by chance."""
    return count == 0 or 1 - poisson_lower_tail(expected, count - 1) > 0.001


@pytest.mark.parametrize("objective", OBJECTIVE_VALUES)
@pytest.mark.parametrize(("per_hour", "days"), [(2, 20), (20, 10), (2000, 2)])
def test_healthy_days_do_not_page(per_hour: float, days: int, objective: float) -> None:
    for seed in range(days):
        found = replay(
            per_hour=per_hour, failing=(1 - objective) / 2, length=DAY, seed=1000 + seed, objective=objective
        )
        assert pages(found) == []


@pytest.mark.parametrize(("per_hour", "months"), [(2, 8), (20, 1)])
def test_healthy_months_have_no_more_false_pages_than_promised(per_hour: float, months: int) -> None:
    found = false_pages(months, per_hour=per_hour, objective=0.95)
    assert is_within(found, MOST_FALSE_PAGES_PER_MONTH * months)


def test_a_laxer_alpha_breaks_that_promise_on_the_same_histories() -> None:
    lax = replace(OBJECTIVES, critical=replace(OBJECTIVES.critical, alpha=0.02))
    assert not is_within(false_pages(2, per_hour=2, objective=0.95, objectives=lax), MOST_FALSE_PAGES_PER_MONTH * 2)


@pytest.mark.parametrize("objective", OBJECTIVE_VALUES)
@pytest.mark.parametrize("per_hour", [2, 20, 2000])
def test_the_computed_bound_on_false_pages_keeps_the_promise(per_hour: float, objective: float) -> None:
    bound = critical_per_month(OBJECTIVES.critical, objective, per_hour, (1 - objective) / 2)
    assert 0 < bound <= MOST_FALSE_PAGES_PER_MONTH


@pytest.mark.parametrize("objective", OBJECTIVE_VALUES)
@pytest.mark.parametrize("per_hour", [50, 75, 100, 150])
def test_the_bound_on_false_pages_is_about_one_in_five_months_at_the_worst_traffic(
    per_hour: float, objective: float
) -> None:
    bound = critical_per_month(OBJECTIVES.critical, objective, per_hour, (1 - objective) / 2)
    assert bound <= 0.21


@pytest.mark.parametrize(("per_hour", "alpha", "months"), [(2, 0.02, 20), (10, 0.01, 4)])
def test_the_computed_bound_is_what_a_simulation_finds(per_hour: float, alpha: float, months: int) -> None:
    tier = replace(OBJECTIVES.critical, alpha=alpha, timing=Timing())
    found = false_pages(months, per_hour=per_hour, objective=0.95, objectives=replace(OBJECTIVES, critical=tier))
    bound = critical_per_month(tier, 0.95, per_hour, 0.025) * months
    assert is_within(found, bound)
    assert found > bound / 2


def test_the_computed_bound_on_false_warnings_is_above_what_a_simulation_finds() -> None:
    tier = replace(OBJECTIVES.warning, windows=(Window.H1,), timing=Timing())
    objectives = replace(OBJECTIVES, warning=tier)
    found = sum(
        len(replay(per_hour=10, failing=0.025, length=MONTH, seed=s, objective=0.95, objectives=objectives))
        for s in (1, 2)
    )
    bound = warning_per_month(tier, 0.95, 10, 0.025) * 2
    assert bound / 2 < found <= bound + 4 * math.sqrt(bound)


def test_the_computed_bound_on_absent_traffic_is_what_a_count_of_windows_finds() -> None:
    rule = replace(OBJECTIVES.traffic_absent, p_value=0.01, windows=(Window.H1,))
    at = [booking.at for booking in poisson_bookings(per_hour=10, failing=0, length=20 * MONTH, seed=7)]
    improbable = [k for k in range(11) if poisson_lower_tail(10, k) <= rule.p_value]
    least = max(improbable)
    begins = sum(
        # A booking leaves the window, and the largest improbable count stays behind.
        at[i + least - 1] <= leaves < at[i + least]
        for i in range(1, len(at) - least)
        if (leaves := at[i - 1] + HOUR)
    )
    bound = absence_per_month(rule, 10) * 20
    assert begins == pytest.approx(bound, abs=4 * math.sqrt(bound))


def test_a_real_rate_of_94_percent_at_2000_an_hour_warns() -> None:
    for seed in range(3):
        found = replay(per_hour=2000, failing=0.06, length=6 * HOUR, seed=seed, objective=0.95)
        warnings = [firing for firing in found if firing.severity is Severity.WARNING]
        assert warnings
        assert warnings[0].at < 2 * HOUR


@pytest.mark.parametrize("objective", OBJECTIVE_VALUES)
@pytest.mark.parametrize("per_hour", [0.5, 2, 20, 2000])
def test_a_total_outage_pages_at_the_third_due_booking(per_hour: float, objective: float) -> None:
    length = int(10 * HOUR / per_hour)
    for seed in range(10):
        history = list(poisson_bookings(per_hour=per_hour, failing=1, length=length, seed=seed))
        first = pages(firings(history, objective, OBJECTIVES, length=length))[0]
        third = history[2].at
        assert third <= first.at < third + EVALUATION_INTERVAL


@pytest.mark.parametrize(("per_hour", "most_bookings", "most_minutes"), [(2, 8, 300), (20, 12, 45), (2000, 40, 2)])
def test_a_total_outage_after_a_healthy_day_pages_after_a_few_bookings(
    per_hour: float, most_bookings: int, most_minutes: int
) -> None:
    for seed in range(3):
        healthy = poisson_bookings(per_hour=per_hour, failing=0, length=DAY, seed=seed)
        sick = poisson_bookings(per_hour=per_hour, failing=1, length=DAY // 3, seed=seed + 100, start=DAY)
        history = [*healthy, *sick]
        first = pages(firings(history, 0.95, OBJECTIVES, length=DAY + DAY // 3))[0]
        failed = sum(booking.bad and booking.at <= first.at for booking in history)
        assert failed <= most_bookings
        assert first.at - DAY <= most_minutes * MINUTE


def test_a_page_resolves_soon_after_a_short_fault_when_only_the_short_window_watches() -> None:
    quick = replace(OBJECTIVES, critical=replace(OBJECTIVES.critical, windows={Window.M5: Window.S25}))
    fault = [Due(at, bad=True) for at in range(0, 60_000, 5_000)]
    again = [Due(at + 10 * MINUTE, bad=True) for at in range(0, 60_000, 5_000)]
    found = pages(firings([*fault, *again], 0.95, quick, length=HOUR))
    assert len(found) == 2, "the first must have resolved for the second to fire"


def test_a_simulation_repeats_itself() -> None:
    first, second = (replay(per_hour=20, failing=0.2, length=DAY, seed=3, objective=0.95) for _ in range(2))
    assert first == second != []
