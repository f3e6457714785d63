"""What is promised, and when somebody must be told: the objectives file as values.

Lengths of time are milliseconds, instants milliseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.domain.vocabulary import SLIS, AlertName, Drift, PageChannel, Severity, Stage, Traffic, Window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.domain.alert_lifecycle import Timing

RATE_ALERTS: Mapping[Stage, AlertName] = {
    Stage.CHAT_ROOM: AlertName.CHAT_ROOM_LOW,
    Stage.NOTIFICATION: AlertName.NOTIFICATION_LOW,
    Stage.REALTIME: AlertName.REALTIME_LOW,
}
"""The alert that watches each SLI's rate."""


DRIFTED_BOOKINGS = (Drift.LEGACY_FIELD, Drift.UNKNOWN_FIELD)
"""The kinds of drift that are counted in bookings; the other is counted in attributes."""


@dataclass(frozen=True, slots=True)
class CriticalTier:
    """When a rate is below its objective with evidence."""

    alpha: float
    """Largest probability of the failures seen, or more, if the objective were just met."""
    min_bad: int
    windows: Mapping[Window, Window]
    """Each window with its companion: the short one that must still show a failure."""
    timing: Timing


@dataclass(frozen=True, slots=True)
class WarningTier:
    """When a rate is below its objective, however weak the evidence."""

    burn_rate: float
    """The failures that warn, as a multiple of those allowed: 1 is the objective itself."""
    min_bad: int
    windows: tuple[Window, ...]
    timing: Timing


@dataclass(frozen=True, slots=True)
class AgeRule:
    """Something must not get older than this."""

    older_than: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class CountRule:
    """So many are too many."""

    at_least: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class AbsenceRule:
    """Fewer bookings than can be chance."""

    p_value: float
    """Largest Poisson probability of the bookings seen, or fewer, if all were well."""
    windows: tuple[Window, ...]
    timing: Timing


@dataclass(frozen=True, slots=True)
class Route:
    """Where the pages of a severity go."""

    channels: tuple[PageChannel, ...]
    pagerduty_severity: str
    """In the words of PagerDuty's Events API v2: `critical`, `error`, `warning` or `info`."""
    repeat_every: int | None
    """How long after a page a reminder follows, as long as nobody acknowledged the incident; None for never."""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A planned spell during which alerts are frozen: what does not fire yet does not, what fires goes on."""

    reason: str
    starts: int
    ends: int
    """The first instant after it."""
    alerts: frozenset[str]
    """Alert names; empty for all."""

    def covers(self, alertname: str) -> bool:
        """Whether the alert is among those that it freezes."""
        return not self.alerts or alertname in self.alerts

    def at(self, now: int) -> bool:
        """Whether it is going on."""
        return self.starts <= now < self.ends


@dataclass(frozen=True, slots=True)
class Objectives:
    """All of the objectives file but what only the generated Prometheus rules need."""

    ratios: Mapping[Stage, float]
    """The share of good events that is promised, by SLI."""
    critical: CriticalTier
    warning: WarningTier
    overdue: AgeRule
    canary_failing: CountRule
    schema_drift: CountRule
    traffic_absent: AbsenceRule
    ledger_stale: AgeRule
    page_undelivered: AgeRule
    routes: Mapping[Severity, Route]
    maintenance: tuple[Maintenance, ...]
    runbook_base_url: str
    """Where the runbooks are read; each is there as `<alert name>.md`."""

    def runbook_url(self, alertname: str) -> str:
        """Where the runbook of an alert is read."""
        return f"{self.runbook_base_url}/{alertname}.md"

    def in_maintenance(self, alertname: str, now: int) -> bool:
        """Whether a maintenance window freezes the alert now."""
        return any(window.at(now) and window.covers(alertname) for window in self.maintenance)


@dataclass(frozen=True, slots=True, order=True)
class AlertKey:
    """The labels that an alert leaves with; `sli` and `traffic` are empty where they mean nothing."""

    alertname: AlertName
    severity: Severity
    sli: str = ""
    traffic: str = ""

    @property
    def values(self) -> tuple[str, str, str, str]:
        """The four labels, in the order in which the ledger has them."""
        return (self.alertname.value, self.severity.value, self.sli, self.traffic)

    @property
    def labels(self) -> dict[str, str]:
        """The labels that are not empty, as Prometheus shows them."""
        pairs = {"alertname": self.alertname, "severity": self.severity, "sli": self.sli, "traffic": self.traffic}
        return {name: str(value) for name, value in pairs.items() if value}


def _rate_keys(severity: Severity) -> tuple[AlertKey, ...]:
    return tuple(AlertKey(RATE_ALERTS[sli], severity, sli.value, traffic.value) for sli in SLIS for traffic in Traffic)


LEDGER_STALE = AlertKey(AlertName.LEDGER_STALE, Severity.CRITICAL)
PAGE_UNDELIVERED = AlertKey(AlertName.PAGE_UNDELIVERED, Severity.CRITICAL)
CANARY_FAILING = AlertKey(AlertName.CANARY_FAILING, Severity.CRITICAL, traffic=Traffic.CANARY.value)
SCHEMA_DRIFT = AlertKey(AlertName.SCHEMA_DRIFT, Severity.CRITICAL, traffic=Traffic.REAL.value)
TRAFFIC_ABSENT = AlertKey(AlertName.TRAFFIC_ABSENT, Severity.WARNING, traffic=Traffic.REAL.value)
OVERDUE = {stage: AlertKey(AlertName.OVERDUE, Severity.WARNING, stage.value, Traffic.REAL.value) for stage in Stage}
CRITICAL_RATES = _rate_keys(Severity.CRITICAL)
WARNING_RATES = _rate_keys(Severity.WARNING)

ALERT_KEYS: tuple[AlertKey, ...] = (
    *CRITICAL_RATES,
    *WARNING_RATES,
    *OVERDUE.values(),
    CANARY_FAILING,
    SCHEMA_DRIFT,
    TRAFFIC_ABSENT,
    LEDGER_STALE,
    PAGE_UNDELIVERED,
)
"""Every alert that the service itself evaluates; each critical rate stands before the warning that it mutes."""
