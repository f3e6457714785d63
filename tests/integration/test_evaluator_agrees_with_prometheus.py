"""The same histories through the built-in evaluator and through Prometheus' own engine: the same states at each step.

One difference is stated and allowed: where the exact tail is proof and its Chernoff bound is not, the evaluator
sees what Prometheus cannot. It is taken out condition by condition, and nothing else is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.bounds import poisson_nats, smallest_failing_count
from support.objectives import FILE, OBJECTIVES, OBJECTIVES_TEXT, RULES
from support.promtool import History, play, selector

from monitor.alerting.objectives_file import parse
from monitor.alerting.prometheus_rules import write
from monitor.domain.alert_conditions import Signals, advance_all, conditions
from monitor.domain.ledger import Count, Mark, Overdue, Snapshot
from monitor.domain.objectives import CRITICAL_RATES, TRAFFIC_ABSENT, AlertKey
from monitor.domain.statistics import chernoff_nats, poisson_lower_tail
from monitor.domain.vocabulary import AlertState, Drift, PageChannel, PageState, Severity, Stage, Traffic, Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pytest

    from monitor.domain.alert_lifecycle import Alert
    from monitor.domain.objectives import Objectives

STEP_SECONDS = 15
STEPS = 80
GENERATED_RULES = RULES / "prometheus" / "booking-monitor.yaml"
TARGET = {"job": FILE.prometheus.job, "instance": "a"}
ALL_OF_THE_SERVICE = 'ALERTS{alertname!="BookingMonitorDown",alertname!="Watchdog"}'
TIER = OBJECTIVES.critical
NATS = -math.log(TIER.alpha)
WATCHED = ((Stage.CHAT_ROOM, Traffic.REAL), (Stage.NOTIFICATION, Traffic.CANARY))
WINDOWS = tuple(dict.fromkeys((*TIER.windows, *TIER.windows.values())))


def spells(values: st.SearchStrategy[Any], *, most: int = 6) -> st.SearchStrategy[list[Any]]:
    """A value for each step that changes now and then."""
    spell = st.tuples(values, st.integers(1, 30))
    return st.lists(spell, min_size=1, max_size=most).map(
        lambda found: list(chain(*(repeat(value, length) for value, length in found), repeat(found[-1][0], STEPS)))[
            :STEPS
        ]
    )


@st.composite
def counts(draw: st.DrawFn, objective: float) -> Count:
    """Counts at, and just beside, every threshold that there is."""
    events = draw(st.integers(0, 60))
    allowed = 1 - objective
    exact = smallest_failing_count(events, allowed, TIER.alpha) or events
    bound = next((bad for bad in range(events + 1) if chernoff_nats(events, bad, allowed) >= NATS), events)
    near = {0, 1, 2, int(events * allowed), int(events * allowed) + 1, exact - 1, exact, bound - 1, bound}
    return Count(events, draw(st.sampled_from(sorted(bad for bad in near if 0 <= bad <= events))))


@dataclass(slots=True)
class Moment:
    """What there is to be seen at one step."""

    counts: dict[tuple[Stage, Traffic, Window], Count] = field(default_factory=dict)
    judged_seconds: int = 0
    overdue_seconds: int = 0
    canary_failures: int = 0
    drift: dict[Drift, int] = field(default_factory=dict)
    expected: float = 0.0
    page_seconds: int = 0
    dead_pages: int = 0

    def signals(self, now: int) -> Signals:
        """Show it to the evaluator."""
        overdue = Overdue(1, now - self.overdue_seconds * 1000) if self.overdue_seconds else Overdue()
        oldest = {PageChannel.PAGERDUTY: now - self.page_seconds * 1000} if self.page_seconds else {}
        snapshot = Snapshot(
            at=now,
            windows=self.counts,
            overdue={(Stage.PUSH, Traffic.REAL): overdue},
            marks={Mark.JUDGED: self.judged_seconds * 1000},
            pages={(PageChannel.PAGERDUTY, PageState.DEAD): self.dead_pages},
            oldest_page_at=oldest,
        )
        return Signals(snapshot, self.canary_failures, self.drift, {Window.H1: self.expected})

    def samples(self) -> Iterator[tuple[str, float]]:
        """Show it to Prometheus."""

        def series(name: str, value: float, **labels: str) -> tuple[str, float]:
            return selector(name, TARGET | labels), value

        yield series("booking_ledger_judged_timestamp_seconds", self.judged_seconds)
        for sli, objective in OBJECTIVES.ratios.items():
            yield series("booking_sli_objective_ratio", objective, sli=sli)
        for (sli, traffic, window), count in self.counts.items():
            labels = {"sli": sli.value, "traffic": traffic.value, "window": window.value}
            yield series("booking_sli_events", count.events, **labels)
            yield series("booking_sli_bad", count.bad, **labels)
        yield series("booking_overdue_oldest_seconds", self.overdue_seconds, stage="push", traffic="real")
        yield series("booking_canary_consecutive_failures", self.canary_failures)
        for kind in Drift:
            yield series("booking_schema_drift", self.drift.get(kind, 0), kind=kind)
        yield series("booking_expected_bookings", self.expected, window="1h")
        yield series("booking_page_oldest_seconds", self.page_seconds, channel="pagerduty", state="pending")
        yield series("booking_pages", self.dead_pages, channel="pagerduty", state="dead")


@st.composite
def histories(draw: st.DrawFn) -> list[Moment]:
    moments = [Moment() for _ in range(STEPS)]
    for sli, traffic in WATCHED:
        for window in WINDOWS:
            for moment, count in zip(moments, draw(spells(counts(OBJECTIVES.ratios[sli]))), strict=True):
                moment.counts[sli, traffic, window] = count
    judged = 0
    for step, (moment, judging) in enumerate(zip(moments, draw(spells(st.booleans())), strict=True)):
        judged = step * STEP_SECONDS if judging else judged
        moment.judged_seconds = judged
    edges = {
        "overdue_seconds": st.sampled_from([0, 119, 120, 121, 500]),
        "canary_failures": st.integers(0, 4),
        "drift": st.builds(dict, st.lists(st.tuples(st.sampled_from(list(Drift)), st.integers(0, 2)), max_size=3)),
        "expected": st.sampled_from([0.0, 5.0, 9.2, 9.3, 14.0, 40.0]),
        "page_seconds": st.sampled_from([0, 299, 300, 301, 3600]),
        "dead_pages": st.integers(0, 1),
    }
    for name, values in edges.items():
        for moment, value in zip(moments, draw(spells(values)), strict=True):
            setattr(moment, name, value)
    return moments


def exact_tail(count: Count, allowed: Fraction) -> Fraction:
    """P(X >= bad), in rational arithmetic and without the code under test."""
    n = count.events
    return sum((math.comb(n, k) * allowed**k * (1 - allowed) ** (n - k) for k in range(count.bad, n + 1)), Fraction(0))


def critical_windows(counts: Mapping[Window, Count]) -> list[Count]:
    """The counts of the windows in which the critical condition asks for evidence."""
    return [
        counts[window]
        for window, companion in TIER.windows.items()
        if counts[window].bad >= TIER.min_bad and counts[companion].bad > 0
    ]


def without_what_the_bound_cannot_see(
    held: Mapping[AlertKey, bool | None], moment: Moment
) -> tuple[dict[AlertKey, bool | None], set[AlertKey]]:
    """Which conditions hold for Prometheus, and which of the evaluator's do not because of the bound alone."""
    seen = dict(held)
    unseen = set()
    for key in CRITICAL_RATES:
        pair = Stage(key.sli), Traffic(key.traffic)
        if not held[key] or pair not in WATCHED:
            continue
        objective = OBJECTIVES.ratios[pair[0]]
        asked = critical_windows({window: moment.counts[*pair, window] for window in WINDOWS})
        if not any(chernoff_nats(c.events, c.bad, 1 - objective) >= NATS for c in asked):
            assert any(exact_tail(c, Fraction(1 - objective)) <= TIER.alpha for c in asked)
            seen[key] = False
            unseen.add(key)
    if held[TRAFFIC_ABSENT]:
        came = moment.counts[Stage.CHAT_ROOM, Traffic.REAL, Window.H1].events
        p_value = OBJECTIVES.traffic_absent.p_value
        if poisson_nats(moment.expected, came) < -math.log(p_value):
            assert poisson_lower_tail(moment.expected, came) <= p_value
            seen[TRAFFIC_ABSENT] = False
            unseen.add(TRAFFIC_ABSENT)
    return seen, unseen


def series_of(alerts: Mapping[AlertKey, Alert]) -> list[tuple[str, float]]:
    """The ALERTS series that show these states."""
    return [
        (selector("ALERTS", key.labels | {"alertstate": alert.state.value}), 1.0)
        for key, alert in alerts.items()
        if alert.state is not AlertState.INACTIVE
    ]


def firing(alerts: Mapping[AlertKey, Alert]) -> set[AlertKey]:
    return {key for key, alert in alerts.items() if alert.state is AlertState.FIRING}


def critical_of(key: AlertKey) -> AlertKey:
    return AlertKey(key.alertname, Severity.CRITICAL, key.sli, key.traffic)


def as_history(moments: Sequence[Moment], objectives: Objectives = OBJECTIVES) -> History:
    """Run a history through the evaluator and write down what Prometheus must show at each step."""
    history = History("random", STEP_SECONDS)
    own: Mapping[AlertKey, Alert] = {}
    theirs: Mapping[AlertKey, Alert] = {}
    ever_unseen: set[AlertKey] = set()
    for step, moment in enumerate(moments):
        for series, value in moment.samples():
            history.series.setdefault(series, []).append(value)
        now = step * STEP_SECONDS * 1000
        held = conditions(moment.signals(now), objectives, now)
        seen, unseen = without_what_the_bound_cannot_see(held, moment)
        ever_unseen |= unseen
        own = advance_all(own, held, objectives, now).alerts
        theirs = advance_all(theirs, seen, objectives, now).alerts
        critical = {key for key in firing(theirs) if key.severity is Severity.CRITICAL}
        assert critical <= firing(own), "the bound must never be more eager than the exact tail"
        assert all(own[key] == theirs[key] or key in ever_unseen or critical_of(key) in ever_unseen for key in own)
        history.expect(ALL_OF_THE_SERVICE, step, series_of(theirs))
    return history


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(histories(), min_size=3, max_size=3))
def test_random_histories_lead_to_the_same_states_at_the_same_steps(
    tmp_path_factory: pytest.TempPathFactory, found: list[list[Moment]]
) -> None:
    directory = tmp_path_factory.mktemp("histories")
    said = play([as_history(moments) for moments in found], GENERATED_RULES, directory)
    assert said.returncode == 0, said.stdout + said.stderr


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_maintenance_freezes_both_alike(tmp_path_factory: pytest.TempPathFactory, found: list[Moment]) -> None:
    directory = tmp_path_factory.mktemp("maintenance")
    # The clock of promtool begins with 1970.
    window = "{reason: move, starts: 1970-01-01T00:05:00Z, ends: 1970-01-01T00:12:00Z}"
    file = parse(OBJECTIVES_TEXT.replace("maintenance: []", f"maintenance: [{window}]").encode())
    rules, _manifest = write(file, directory)
    said = play([as_history(found, file.objectives)], rules, directory)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_two_differ_exactly_where_the_exact_tail_is_proof_and_its_bound_is_not(tmp_path: Path) -> None:
    played = []
    unseen = 0
    for sli, objective in OBJECTIVES.ratios.items():
        history = History(sli, STEP_SECONDS)
        labels = {"sli": sli.value, "traffic": "real"}
        grid = [Count(events, bad) for events in range(1, 41) for bad in range(2, min(events, 14) + 1)]
        for step, count in enumerate(grid):
            moment = Moment(
                {
                    (sli, Traffic.REAL, Window.M5): count,
                    (sli, Traffic.REAL, Window.S25): Count(1, 1),
                },
                judged_seconds=step * STEP_SECONDS,
            )
            for series, value in moment.samples():
                history.series.setdefault(series, []).append(value)
            now = step * STEP_SECONDS * 1000
            key = next(k for k in CRITICAL_RATES if (k.sli, k.traffic) == (sli, Traffic.REAL))
            own = conditions(moment.signals(now), OBJECTIVES, now)[key]
            tail = exact_tail(count, Fraction(1 - objective))
            theirs = chernoff_nats(count.events, count.bad, 1 - objective) >= NATS
            assert own == (tail <= TIER.alpha)
            unseen += own and not theirs
            evidence = selector("booking_sli:critical_evidence:nats", labels)
            history.expect(f"count({evidence})", step, [("{}", 1.0)] if theirs else [])
        played.append(history)
    assert unseen > 10
    said = play(played, GENERATED_RULES, tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
