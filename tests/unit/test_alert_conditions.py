from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from support.objectives import OBJECTIVES

from monitor.domain.alert_conditions import (
    Signals,
    Step,
    advance_all,
    conditions,
    critical_evidence,
    rate_evidence,
    warning_evidence,
)
from monitor.domain.alert_lifecycle import Alert, Transition
from monitor.domain.ledger import Count, Mark, Overdue, Snapshot
from monitor.domain.objectives import (
    ALERT_KEYS,
    CANARY_FAILING,
    LEDGER_STALE,
    OVERDUE,
    PAGE_UNDELIVERED,
    SCHEMA_DRIFT,
    TRAFFIC_ABSENT,
    AlertKey,
    Maintenance,
)
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import (
    AlertName,
    AlertState,
    Drift,
    PageChannel,
    PageState,
    Severity,
    Stage,
    Traffic,
    Window,
)

NOW = 1_800_000_000_000
CRITICAL = AlertKey(AlertName.CHAT_ROOM_LOW, Severity.CRITICAL, "chat_room", "real")
WARNING = AlertKey(AlertName.CHAT_ROOM_LOW, Severity.WARNING, "chat_room", "real")
FAILING = {Window.M5: Count(3, 3), Window.S25: Count(1, 1)}


def signals(counts: dict[Window, Count] | None = None, *, judged: int | None = NOW, **snapshot: object) -> Signals:
    windows = {(Stage.CHAT_ROOM, Traffic.REAL, window): count for window, count in (counts or {}).items()}
    marks = {} if judged is None else {Mark.JUDGED: judged}
    return Signals(replace(Snapshot(at=NOW, windows=windows, marks=marks), **snapshot))  # type: ignore[arg-type]  # fields of Snapshot


def step(alerts: Mapping[AlertKey, Alert], seen: Signals, now: int) -> Step:
    """One evaluation."""
    return advance_all(alerts, conditions(seen, OBJECTIVES, now), OBJECTIVES, now)


def holding(seen: Signals, now: int = NOW) -> set[AlertKey]:
    return {key for key, holds in conditions(seen, OBJECTIVES, now).items() if holds}


def test_nothing_holds_in_an_empty_and_healthy_ledger() -> None:
    assert conditions(signals(), OBJECTIVES, NOW) == dict.fromkeys(ALERT_KEYS, False)


@pytest.mark.parametrize(
    ("count", "objective", "proof"),
    [
        (Count(2, 2), 0.95, False),
        (Count(3, 3), 0.95, True),
        (Count(2, 2), 0.98, False),
        (Count(3, 3), 0.98, True),
        (Count(0, 0), 0.95, False),
        (Count(1000, 40), 0.95, False),
        (Count(1000, 90), 0.95, True),
    ],
)
def test_evidence_is_the_exact_tail_against_alpha(count: Count, objective: float, *, proof: bool) -> None:
    assert rate_evidence(count, objective, OBJECTIVES.critical.alpha) is proof


def test_a_rate_pages_only_while_its_companion_shows_a_failure() -> None:
    assert critical_evidence(FAILING, 0.95, OBJECTIVES.critical) is not None
    assert critical_evidence({**FAILING, Window.S25: Count(4, 0)}, 0.95, OBJECTIVES.critical) is None
    assert critical_evidence({Window.M5: Count(3, 3)}, 0.95, OBJECTIVES.critical) is None


def test_the_companion_of_another_window_does_not_count() -> None:
    assert critical_evidence({Window.H24: Count(9, 9), Window.S25: Count(1, 1)}, 0.95, OBJECTIVES.critical) is None


@pytest.mark.parametrize(
    ("short", "long", "clearest"),
    [(Count(3, 3), Count(9, 7), Window.H1), (Count(3, 3), Count(40, 9), Window.M5)],
)
def test_evidence_names_the_clearest_window(short: Count, long: Count, clearest: Window) -> None:
    counts = {Window.S25: Count(1, 1), Window.M5: short, Window.H1: long}
    evidence = critical_evidence(counts, 0.95, OBJECTIVES.critical)
    assert evidence is not None
    assert (evidence.window, evidence.count) == (clearest, counts[clearest])


@pytest.mark.parametrize("objective", [0.9, 0.95, 0.98, 0.99, 0.999])
def test_a_rate_exactly_at_its_objective_is_not_below_it(objective: float) -> None:
    for events in (1000, 2000, 7000):
        allowed = round(events * (1 - objective))
        at, below = Count(events, allowed), Count(events, allowed + 1)
        assert warning_evidence({Window.H1: at}, objective, OBJECTIVES.warning) is None
        assert (warning_evidence({Window.H1: below}, objective, OBJECTIVES.warning) is None) == (allowed + 1 < 2)


def test_one_bad_booking_does_not_warn() -> None:
    assert warning_evidence({Window.H1: Count(1, 1)}, 0.95, OBJECTIVES.warning) is None
    assert warning_evidence({Window.H1: Count(2, 2)}, 0.95, OBJECTIVES.warning) is not None


def test_a_burn_rate_of_two_warns_at_twice_the_allowed_failures() -> None:
    tier = replace(OBJECTIVES.warning, burn_rate=2.0)
    assert warning_evidence({Window.H1: Count(100, 10)}, 0.95, tier) is None
    assert warning_evidence({Window.H1: Count(100, 11)}, 0.95, tier) is not None


def test_real_and_canary_traffic_are_never_pooled() -> None:
    windows = {
        (Stage.CHAT_ROOM, traffic, window): Count(2, 2) for traffic in Traffic for window in (Window.M5, Window.S25)
    }
    assert not holding(signals(windows=windows))


def test_stale_truth_freezes_everything_but_the_alert_that_says_so() -> None:
    held = conditions(signals(FAILING, judged=NOW - 60 * SECOND - 1), OBJECTIVES, NOW)
    assert held.pop(LEDGER_STALE) is True
    assert set(held.values()) == {None}
    assert conditions(signals(judged=None), OBJECTIVES, NOW)[LEDGER_STALE] is True
    assert CRITICAL in holding(signals(FAILING, judged=NOW - 60 * SECOND))


@pytest.mark.parametrize("judged", [None, NOW - HOUR])
def test_a_process_that_has_just_begun_does_not_know_whether_the_ledger_is_stale(judged: int | None) -> None:
    def held(begun_at: int) -> dict[AlertKey, bool | None]:
        return conditions(replace(signals(FAILING, judged=judged), begun_at=begun_at), OBJECTIVES, NOW)

    assert set(held(NOW - 60 * SECOND).values()) == {None}
    assert held(NOW - 60 * SECOND - 1)[LEDGER_STALE] is True


def test_a_start_does_not_resolve_the_alarm_that_nothing_is_judged() -> None:
    firing = {LEDGER_STALE: Alert(AlertState.FIRING, NOW - HOUR, NOW - HOUR)}
    begun = replace(signals(judged=NOW - HOUR), begun_at=NOW)
    assert step(firing, begun, NOW).alerts[LEDGER_STALE].state is AlertState.FIRING


def test_maintenance_freezes_the_alerts_that_it_covers() -> None:
    window = Maintenance("move", NOW - 1, NOW + HOUR, frozenset({AlertName.CHAT_ROOM_LOW.value}))
    held = conditions(signals(FAILING), replace(OBJECTIVES, maintenance=(window,)), NOW)
    assert held[CRITICAL] is None
    assert held[CANARY_FAILING] is False


def test_an_overdue_booking_alerts_when_repair_had_its_time() -> None:
    def overdue(age: int, traffic: Traffic = Traffic.REAL) -> set[AlertKey]:
        return holding(signals(overdue={(Stage.PUSH, traffic): Overdue(1, NOW - age)}))

    assert overdue(2 * MINUTE) == set()
    assert overdue(2 * MINUTE + 1) == {OVERDUE[Stage.PUSH]}
    assert overdue(2 * MINUTE + 1, Traffic.CANARY) == set()


def test_three_canaries_in_a_row_alert() -> None:
    assert not holding(replace(signals(), canary_failures=2))
    assert holding(replace(signals(), canary_failures=3)) == {CANARY_FAILING}


def test_schema_drift_is_two_bookings_of_any_kind_or_one_attribute() -> None:
    assert not holding(replace(signals(), drift={Drift.LEGACY_FIELD: 1}))
    assert holding(replace(signals(), drift={Drift.LEGACY_FIELD: 1, Drift.UNKNOWN_FIELD: 1})) == {SCHEMA_DRIFT}
    assert holding(replace(signals(), drift={Drift.MISSING_ATTRIBUTE: 1})) == {SCHEMA_DRIFT}


def test_absent_traffic_alerts_where_enough_was_expected() -> None:
    def expected(bookings: float, seen: int = 0) -> set[AlertKey]:
        return holding(replace(signals({Window.H1: Count(seen, 0)}), expected_bookings={Window.H1: bookings}))

    assert expected(9.2) == set()
    assert expected(9.22) == {TRAFFIC_ABSENT}
    assert expected(20, seen=15) == set()
    assert expected(0) == set()


def test_a_page_that_waits_too_long_or_is_given_up_alerts() -> None:
    assert not holding(signals(oldest_page_at={PageChannel.PAGERDUTY: NOW - 5 * MINUTE}))
    assert holding(signals(oldest_page_at={PageChannel.PAGERDUTY: NOW - 5 * MINUTE - 1})) == {PAGE_UNDELIVERED}
    assert holding(signals(pages={(PageChannel.WEBHOOK, PageState.DEAD): 1})) == {PAGE_UNDELIVERED}
    assert not holding(signals(pages={(PageChannel.WEBHOOK, PageState.SENT): 9}))


def test_the_warning_is_muted_while_the_critical_alert_fires_and_begins_anew_after_it() -> None:
    both = signals({Window.H1: Count(9, 7), Window.M5: Count(1, 1)})
    weak = signals({Window.H1: Count(9, 3)})
    alerts: dict[AlertKey, Alert] = {}
    seen = []
    for at, seen_signals in enumerate([weak] * 3 + [both] * 2 + [weak] * 5):
        now = NOW + at * MINUTE
        fresh = replace(seen_signals, snapshot=replace(seen_signals.snapshot, marks={Mark.JUDGED: now}))
        after = step(alerts, fresh, now)
        alerts = dict(after.alerts)
        seen.append((alerts[CRITICAL].state, alerts[WARNING].state))
    pending, firing, inactive = AlertState.PENDING, AlertState.FIRING, AlertState.INACTIVE
    assert seen == [
        *[(inactive, pending)] * 2,
        (inactive, firing),
        *[(firing, inactive)] * 3,  # kept for a minute
        *[(inactive, pending)] * 2,
        *[(inactive, firing)] * 2,
    ]


def test_a_step_tells_what_it_changed() -> None:
    first = step({}, signals(FAILING), NOW)
    assert first.transitions == ((CRITICAL, Transition.PENDING), (CRITICAL, Transition.FIRED))
    assert set(first.alerts) == set(ALERT_KEYS)
    assert step(first.alerts, signals(FAILING), NOW + 5 * SECOND).transitions == ()
