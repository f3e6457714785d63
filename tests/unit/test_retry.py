"""When a delivery that failed is tried again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.retry import RetryPolicy
from monitor.domain.times import HOUR, SECOND

DEFAULT = RetryPolicy(attempts=12, first_delay=2 * SECOND, longest_delay=4 * HOUR)
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 300),
    first_delay=st.integers(1, HOUR),
    longest_delay=st.integers(HOUR, 9 * HOUR),
)
CHANCES = st.floats(0, 1, exclude_max=True)


def test_delays_double_from_seconds_to_hours_and_end_after_the_last_attempt() -> None:
    delays = [DEFAULT.delay(attempts, 0.5) for attempts in range(1, 13)]
    assert delays == [2000 * 2**n for n in range(11)] + [None]
    assert RetryPolicy(20, 2 * SECOND, 4 * HOUR).delay(19, 0.5) == 4 * HOUR


@given(POLICIES, st.integers(1, 400), CHANCES)
def test_no_delay_is_longer_than_the_longest_or_far_from_what_is_planned(
    policy: RetryPolicy, attempts: int, chance: float
) -> None:
    delay = policy.delay(attempts, chance)
    assert (delay is None) == (attempts >= policy.attempts)
    if delay is not None:
        planned = min(policy.first_delay * 2 ** (attempts - 1), policy.longest_delay)
        assert 0.8 * planned - 1 <= delay <= min(1.2 * planned + 1, policy.longest_delay)


@given(POLICIES, CHANCES)
def test_a_delay_is_never_shorter_than_the_one_before_by_more_than_the_jitter(
    policy: RetryPolicy, chance: float
) -> None:
    delays = [policy.delay(attempts, chance) for attempts in range(1, policy.attempts)]
    assert all(earlier is not None and later is not None and earlier <= later for earlier, later in pairwise(delays))


@given(st.integers(1, 11), CHANCES, CHANCES)
def test_what_failed_together_does_not_return_together(attempts: int, one: float, other: float) -> None:
    first, second = DEFAULT.delay(attempts, one), DEFAULT.delay(attempts, other)
    assert first is not None
    assert second is not None
    if abs(one - other) > 0.01:
        assert first != second


@given(POLICIES, st.integers(1, 400), CHANCES, st.floats(0, 100_000))
def test_what_the_receiver_asks_for_is_the_least(
    policy: RetryPolicy, attempts: int, chance: float, asked: float
) -> None:
    delay, planned = policy.delay(attempts, chance, asked), policy.delay(attempts, chance)
    if delay is not None and planned is not None:
        assert delay == max(planned, round(asked * SECOND))
    else:
        assert delay is planned is None
