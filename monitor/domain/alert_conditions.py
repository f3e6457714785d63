"""Whether each alert's condition holds, and where all alerts stand after a step. Pure: the evaluator's mind.

The generated Prometheus rules say the same in PromQL; a differential test runs both on the same histories.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from monitor.domain import statistics
from monitor.domain.alert_lifecycle import Alert, Timing, Transition, advance
from monitor.domain.ledger import Count, Mark, Snapshot
from monitor.domain.objectives import (
    ALERT_KEYS,
    CANARY_FAILING,
    CRITICAL_RATES,
    DRIFTED_BOOKINGS,
    LEDGER_STALE,
    OVERDUE,
    PAGE_UNDELIVERED,
    SCHEMA_DRIFT,
    TRAFFIC_ABSENT,
    WARNING_RATES,
    AbsenceRule,
    AgeRule,
    AlertKey,
    CountRule,
    CriticalTier,
    Objectives,
    WarningTier,
)
from monitor.domain.vocabulary import AlertName, AlertState, Drift, PageState, Severity, Stage, Traffic, Window

Counts = Mapping[Window, Count]
"""The counts of one SLI and traffic, by window. A window that is not there has no events."""


@dataclass(frozen=True, slots=True)
class Signals:
    """All that the evaluator looks at in one step."""

    snapshot: Snapshot
    canary_failures: int = 0
    """Canaries that failed since one last succeeded."""
    drift: Mapping[Drift, int] = field(default_factory=dict)
    """Real bookings of the last hour, or attributes, that drifted."""
    expected_bookings: Mapping[Window, float] = field(default_factory=dict)
    """Real bookings that this time of the week usually brings, by window; none where history is too short."""
    begun_at: int = 0
    """Since when somebody could judge: the start of the process. In milliseconds since the epoch."""

    def counts(self, sli: Stage, traffic: Traffic) -> dict[Window, Count]:
        """Pick the counts of one SLI and traffic, by window."""
        windows = self.snapshot.windows
        return {window: windows.get((sli, traffic, window), Count()) for window in Window}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The window in which a rate is below its objective, most clearly if in several."""

    window: Window
    count: Count
    nats: float
    """ln(1/p) for the Chernoff bound p of the failures seen, if the objective were just met."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where all alerts stand after a step, and what it changed, in the order of the alerts."""

    alerts: Mapping[AlertKey, Alert]
    transitions: tuple[tuple[AlertKey, Transition], ...]


def rate_evidence(count: Count, objective: float, alpha: float) -> bool:
    """Whether the failures prove, at `alpha`, that the true rate is below the objective (exact binomial tail)."""
    return statistics.binomial_tail_at_most(count.events, count.bad, 1 - objective, alpha)


def critical_evidence(counts: Counts, objective: float, tier: CriticalTier) -> Evidence | None:
    """Find the clearest window in which the critical condition holds; None where it holds in none."""

    def holds(window: Window, count: Count) -> bool:
        companion = counts.get(tier.windows[window], Count())
        return companion.bad > 0 and rate_evidence(count, objective, tier.alpha)

    return _clearest(counts, objective, tier.windows, tier.min_bad, holds)


def warning_evidence(counts: Counts, objective: float, tier: WarningTier) -> Evidence | None:
    """Find the clearest window in which the warning condition holds; None where it holds in none."""
    threshold = 1 - tier.burn_rate * (1 - objective)

    def holds(_window: Window, count: Count) -> bool:
        return (count.events - count.bad) / count.events < threshold

    return _clearest(counts, objective, tier.windows, tier.min_bad, holds)


def is_fresh(snapshot: Snapshot, objectives: Objectives, now: int) -> bool:
    """Whether the ledger was judged so lately that alerts may rest on it."""
    judged_at = snapshot.marks.get(Mark.JUDGED)
    return judged_at is not None and now - judged_at <= objectives.ledger_stale.older_than


def conditions(signals: Signals, objectives: Objectives, now: int) -> dict[AlertKey, bool | None]:
    """Whether each alert's condition holds; None for a frozen one. Muting is not applied: see `advance_all`.

    A process that has just begun cannot know whether nothing could be judged, or nobody was there to do it.
    """
    fresh = is_fresh(signals.snapshot, objectives, now)
    held: dict[AlertKey, bool | None] = _on_truth(signals, objectives, now) if fresh else dict.fromkeys(ALERT_KEYS)
    if fresh:
        held[LEDGER_STALE] = False
    elif now - signals.begun_at > objectives.ledger_stale.older_than:
        held[LEDGER_STALE] = True
    return {
        key: None if objectives.in_maintenance(key.alertname, now) else condition for key, condition in held.items()
    }


def advance_all(
    alerts: Mapping[AlertKey, Alert], held: Mapping[AlertKey, bool | None], objectives: Objectives, now: int
) -> Step:
    """Advance every alert by one evaluation, given which conditions hold, and mute what says nothing new.

    An alert that `alerts` lacks is inactive so far.
    """
    after: dict[AlertKey, Alert] = {}
    transitions: list[tuple[AlertKey, Transition]] = []
    for key in ALERT_KEYS:
        condition = held[key]
        if condition and _muted(key, after):
            condition = False
        after[key], changes = advance(alerts.get(key, Alert()), condition, now, timing(key, objectives))
        transitions += [(key, change) for change in changes]
    return Step(after, tuple(transitions))


def timing(key: AlertKey, objectives: Objectives) -> Timing:
    """Look up `for` and `keep_firing_for` of an alert."""
    rules: Mapping[AlertName, AgeRule | CountRule | AbsenceRule] = {
        AlertName.OVERDUE: objectives.overdue,
        AlertName.CANARY_FAILING: objectives.canary_failing,
        AlertName.SCHEMA_DRIFT: objectives.schema_drift,
        AlertName.TRAFFIC_ABSENT: objectives.traffic_absent,
        AlertName.LEDGER_STALE: objectives.ledger_stale,
        AlertName.PAGE_UNDELIVERED: objectives.page_undelivered,
    }
    if rule := rules.get(key.alertname):
        return rule.timing
    return (objectives.critical if key.severity is Severity.CRITICAL else objectives.warning).timing


def traffic_absent(expected: Mapping[Window, float], counts: Counts, objectives: Objectives) -> bool:
    """Whether real bookings stay away: every one of them is an event of the chat room's SLI."""
    rule = objectives.traffic_absent
    return any(
        statistics.poisson_lower_tail(expected.get(window, 0.0), counts.get(window, Count()).events) <= rule.p_value
        for window in rule.windows
    )


def _clearest(
    counts: Counts,
    objective: float,
    windows: Mapping[Window, Window] | tuple[Window, ...],
    min_bad: int,
    holds: Callable[[Window, Count], bool],
) -> Evidence | None:
    candidates = [(window, counts.get(window, Count())) for window in windows]
    found = [
        Evidence(window, count, statistics.chernoff_nats(count.events, count.bad, 1 - objective))
        for window, count in candidates
        if count.bad >= min_bad and holds(window, count)
    ]
    return max(found, key=lambda evidence: evidence.nats, default=None)


def _on_truth(signals: Signals, objectives: Objectives, now: int) -> dict[AlertKey, bool | None]:
    """Every condition but the ledger's own age, on truth that is fresh enough to judge by."""
    held: dict[AlertKey, bool | None] = {}
    for critical, warning in zip(CRITICAL_RATES, WARNING_RATES, strict=True):
        sli = Stage(critical.sli)
        counts = signals.counts(sli, Traffic(critical.traffic))
        held[critical] = critical_evidence(counts, objectives.ratios[sli], objectives.critical) is not None
        held[warning] = warning_evidence(counts, objectives.ratios[sli], objectives.warning) is not None
    for stage, key in OVERDUE.items():
        overdue = signals.snapshot.overdue.get((stage, Traffic.REAL))
        oldest = overdue.oldest_due_at if overdue and overdue.bookings else None
        held[key] = oldest is not None and now - oldest > objectives.overdue.older_than
    held[CANARY_FAILING] = signals.canary_failures >= objectives.canary_failing.at_least
    drifted = sum(signals.drift.get(kind, 0) for kind in DRIFTED_BOOKINGS)
    gone = signals.drift.get(Drift.MISSING_ATTRIBUTE, 0)
    held[SCHEMA_DRIFT] = drifted >= objectives.schema_drift.at_least or gone > 0
    real = signals.counts(Stage.CHAT_ROOM, Traffic.REAL)
    held[TRAFFIC_ABSENT] = traffic_absent(signals.expected_bookings, real, objectives)
    held[PAGE_UNDELIVERED] = _page_undelivered(signals.snapshot, objectives, now)
    return held


def _page_undelivered(snapshot: Snapshot, objectives: Objectives, now: int) -> bool:
    oldest = min(snapshot.oldest_page_at.values(), default=math.inf)
    dead = any(pages for (_channel, state), pages in snapshot.pages.items() if state is PageState.DEAD)
    return dead or now - oldest > objectives.page_undelivered.older_than


def _muted(key: AlertKey, after: Mapping[AlertKey, Alert]) -> bool:
    """Tell whether this is the warning of a rate whose critical alert fires: it would say nothing new."""
    if key not in WARNING_RATES:
        return False
    critical = AlertKey(key.alertname, Severity.CRITICAL, key.sli, key.traffic)
    return after[critical].state is AlertState.FIRING
