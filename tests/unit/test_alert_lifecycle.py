from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.alert_lifecycle import Alert, Timing, Transition, advance
from monitor.domain.vocabulary import AlertState

LEGAL = {
    AlertState.INACTIVE: {(), (Transition.PENDING,), (Transition.PENDING, Transition.FIRED)},
    AlertState.PENDING: {(), (Transition.FIRED,), (Transition.LAPSED,)},
    AlertState.FIRING: {(), (Transition.RESOLVED,)},
}
ENDS_IN = {
    Transition.PENDING: AlertState.PENDING,
    Transition.FIRED: AlertState.FIRING,
    Transition.RESOLVED: AlertState.INACTIVE,
    Transition.LAPSED: AlertState.INACTIVE,
}

timings = st.builds(Timing, hold=st.sampled_from([0, 5, 20]), keep=st.sampled_from([0, 5, 20]))
conditions = st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 12)), max_size=60)


def run(
    history: list[tuple[bool | None, int]], timing: Timing
) -> list[tuple[int, bool | None, Alert, tuple[Transition, ...]]]:
    alert, now, steps = Alert(), 1000, []
    for condition, pause in history:
        now += pause
        alert, transitions = advance(alert, condition, now, timing)
        steps.append((now, condition, alert, transitions))
    return steps


def states(history: list[tuple[bool | None, int]], timing: Timing) -> list[AlertState]:
    return [alert.state for _now, _condition, alert, _transitions in run(history, timing)]


@given(conditions, timings)
def test_no_history_reaches_an_illegal_state(history: list[tuple[bool | None, int]], timing: Timing) -> None:
    before = Alert()
    for now, _condition, alert, transitions in run(history, timing):
        assert transitions in LEGAL[before.state]
        assert alert.state is (ENDS_IN[transitions[-1]] if transitions else before.state)
        assert (alert.active_at is None) == (alert.state is AlertState.INACTIVE)
        if alert.state is AlertState.FIRING:
            assert alert.active_at is not None
            assert alert.fired_at is not None
            assert alert.active_at + timing.hold <= alert.fired_at <= now
            assert alert.resolved_at is None
        else:
            assert alert.keeping_since is None
            assert (alert.resolved_at is None) == (alert.fired_at is None)
        before = alert


@given(conditions, timings)
def test_unknown_truth_fires_nothing_and_resolves_nothing(
    history: list[tuple[bool | None, int]], timing: Timing
) -> None:
    steps = run(history, timing)
    for (_, _, before, _), (_, condition, after, transitions) in pairwise(steps):
        if condition is None:
            assert not {Transition.FIRED, Transition.RESOLVED} & set(transitions)
            assert (after.state is AlertState.FIRING) == (before.state is AlertState.FIRING)


@given(conditions, timings)
def test_an_alert_fires_only_after_its_condition_was_seen_to_hold_all_along(
    history: list[tuple[bool | None, int]], timing: Timing
) -> None:
    steps = run(history, timing)
    for i, (now, _condition, _alert, transitions) in enumerate(steps):
        if Transition.FIRED in transitions:
            since = next((j for j in range(i, -1, -1) if not steps[j][1]), -1) + 1
            assert now - steps[since][0] >= timing.hold


@given(conditions, timings)
def test_an_alert_resolves_only_after_its_condition_was_seen_not_to_hold_for_long_enough(
    history: list[tuple[bool | None, int]], timing: Timing
) -> None:
    steps = run(history, timing)
    for i, (now, _condition, _alert, transitions) in enumerate(steps):
        if Transition.RESOLVED in transitions:
            since = next(j for j in range(i, -1, -1) if steps[j][1] is not False) + 1
            assert now - steps[since][0] >= timing.keep


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(-50, 50)), max_size=60), timings)
def test_a_clock_that_jumps_back_leads_to_no_illegal_state(
    history: list[tuple[bool | None, int]], timing: Timing
) -> None:
    before = Alert()
    for _now, _condition, alert, transitions in run(history, timing):
        assert transitions in LEGAL[before.state]
        assert (alert.active_at is None) == (alert.state is AlertState.INACTIVE)
        before = alert


def test_without_for_it_fires_at_once_and_without_keep_it_resolves_at_once() -> None:
    steps = run([(True, 0), (True, 5), (False, 5)], Timing())
    assert [transitions for *_, transitions in steps] == [
        (Transition.PENDING, Transition.FIRED),
        (),
        (Transition.RESOLVED,),
    ]
    assert (steps[-1][2].fired_at, steps[-1][2].resolved_at) == (1000, 1010)


def test_it_fires_when_the_for_is_exactly_over() -> None:
    history: list[tuple[bool | None, int]] = [(True, 0), (True, 5), (True, 5)]
    assert states(history, Timing(hold=10)) == [AlertState.PENDING, AlertState.PENDING, AlertState.FIRING]


def test_a_for_shorter_than_the_interval_fires_on_the_next_evaluation() -> None:
    history: list[tuple[bool | None, int]] = [(True, 0), (True, 15)]
    assert states(history, Timing(hold=1)) == [AlertState.PENDING, AlertState.FIRING]


def test_a_condition_that_comes_back_while_the_alert_is_kept_makes_no_second_alert() -> None:
    steps = run([(True, 0), (False, 5), (True, 5), (False, 5), (False, 5), (False, 5)], Timing(keep=10))
    assert [t for *_, transitions in steps for t in transitions] == [
        Transition.PENDING,
        Transition.FIRED,
        Transition.RESOLVED,
    ]
    assert steps[-2][2].state is AlertState.FIRING


def test_a_pending_alert_has_to_begin_its_for_again_after_unknown_truth() -> None:
    history: list[tuple[bool | None, int]] = [(True, 0), (None, 10), (True, 10), (True, 10)]
    assert states(history, Timing(hold=15)) == [
        AlertState.PENDING,
        AlertState.INACTIVE,
        AlertState.PENDING,
        AlertState.PENDING,
    ]


@pytest.mark.parametrize("keep", [0, 10])
def test_unknown_truth_does_not_use_up_the_time_for_which_an_alert_is_kept(keep: int) -> None:
    history: list[tuple[bool | None, int]] = [(True, 0), (False, 5), (None, 60), (False, 5)]
    assert states(history, Timing(keep=keep))[-1] is (AlertState.FIRING if keep else AlertState.INACTIVE)
