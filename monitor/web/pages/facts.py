"""What the status page is written from, and the one sentence that it all comes down to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from monitor.alerting.payload import PageContent
from monitor.domain.ledger import Count, Mark, Snapshot
from monitor.domain.objectives import RATE_ALERTS, Objectives
from monitor.domain.rows import Fields
from monitor.domain.vocabulary import SLIS, AlertState, PageState, Severity, Stage, Traffic, Window
from monitor.store.status import Reading, Series
from monitor.web.pages.formats import SLI_TITLES, number, words


class Level(StrEnum):
    """How things stand; also the class by which it is coloured."""

    BAD = "bad"
    WARN = "warn"
    GOOD = "good"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident with what its pages say. Times are milliseconds since the epoch."""

    number: int
    severity: Severity
    content: PageContent
    active_at: int
    fired_at: int
    resolved_at: int | None
    acknowledged_at: int | None

    @classmethod
    def from_row(cls, row: Fields) -> Incident:
        """Read an incident's row."""
        return cls(
            row["number"],
            Severity(row["severity"]),
            PageContent.model_validate_json(row["report"]),
            row["active_at"],
            row["fired_at"],
            row["resolved_at"],
            row["acknowledged_at"],
        )

    @property
    def level(self) -> Level:
        """How grave it is by now."""
        if self.resolved_at is not None:
            return Level.IDLE
        return Level.BAD if self.severity is Severity.CRITICAL else Level.WARN


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the status page shows. Times are milliseconds since the epoch."""

    now: int
    environment: str
    drill: bool
    snapshot: Snapshot
    objectives: Objectives
    reading: Reading
    hour: Series
    day: Series
    series_at: int
    """When the two series were read."""
    channels: Sequence[str]
    """By which pages can leave."""
    faults: Sequence[str] = ()
    """Why the numbers cannot be relied on."""
    blind: PageContent | None = None
    """The alarm that could not be written down, as the store is away."""

    @property
    def judged_at(self) -> int | None:
        """When bookings were last judged."""
        return self.snapshot.marks.get(Mark.JUDGED)

    @property
    def firing(self) -> list[Incident]:
        """Open incidents, the gravest first, then the newest."""
        found = [Incident.from_row(row) for row in self.reading.open_incidents]
        return sorted(found, key=lambda incident: (incident.severity is not Severity.CRITICAL, -incident.number))

    @property
    def pending(self) -> list[str]:
        """Alerts whose condition holds, though not for long enough."""
        return sorted(
            {
                " · ".join(filter(None, (name, severity, words(sli), traffic)))
                for (name, severity, sli, traffic), state in self.snapshot.alerts.items()
                if state == AlertState.PENDING.value
            }
        )

    def count(self, sli: Stage, traffic: Traffic, window: Window) -> Count:
        """The exact counts of a window."""
        return self.snapshot.windows.get((sli, traffic, window), Count())

    def level(self, sli: Stage, window: Window) -> Level:
        """How a rate of real bookings stands: below its objective is bad only where an alert says that it is proven."""
        ratio = self.count(sli, Traffic.REAL, window).good_ratio
        if ratio is None:
            return Level.IDLE
        if ratio >= self.objectives.ratios[sli]:
            return Level.GOOD
        key = (RATE_ALERTS[sli].value, Severity.CRITICAL.value, sli.value, Traffic.REAL.value)
        return Level.BAD if self.snapshot.alerts.get(key) == AlertState.FIRING.value else Level.WARN

    def overdue(self, traffic: Traffic) -> dict[Stage, int]:
        """Bookings that are overdue, by stage."""
        found = {
            stage: overdue.bookings for (stage, whose), overdue in self.snapshot.overdue.items() if whose is traffic
        }
        return {stage: found[stage] for stage in Stage if found.get(stage)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What it all comes down to."""

    level: Level
    headline: str
    notes: tuple[str, ...] = ()


def verdict(facts: Facts) -> Verdict:
    """Say how things stand, the worst first."""
    firing = facts.firing
    critical = sum(incident.severity is Severity.CRITICAL for incident in firing) + (facts.blind is not None)
    warnings = sum(incident.severity is Severity.WARNING for incident in firing)
    notes = _notes(facts)
    if critical or warnings:
        counted = [
            number(count, name) for count, name in ((critical, "critical alert"), (warnings, "warning")) if count
        ]
        return Verdict(Level.BAD if critical else Level.WARN, f"{' and '.join(counted)} firing", notes)
    if facts.faults:
        return Verdict(Level.BAD, "Not known: the numbers are old", notes)
    if any(facts.level(sli, window) is Level.WARN for sli in SLIS for window in _NOW) or facts.overdue(Traffic.REAL):
        return Verdict(Level.WARN, "No alert is firing, but not all is well", notes)
    if all(facts.count(sli, Traffic.REAL, Window.H24).events == 0 for sli in SLIS):
        return Verdict(Level.IDLE, "No bookings to judge in the last 24 hours", notes)
    return Verdict(Level.GOOD, "All is well", notes)


_NOW = (Window.M5, Window.H1)


def _notes(facts: Facts) -> tuple[str, ...]:
    notes = [
        f"{SLI_TITLES[sli]} is below its objective"
        for sli in SLIS
        if any(facts.level(sli, window) is Level.WARN for window in _NOW)
    ]
    overdue = facts.overdue(Traffic.REAL)
    if overdue:
        notes.append(f"{number(max(overdue.values()), 'booking')} overdue")
    waiting = sum(
        count for (_, state), count in facts.snapshot.pages.items() if state in (PageState.PENDING, PageState.DEAD)
    )
    if waiting:
        notes.append(f"{number(waiting, 'page')} not accepted")
    return tuple(notes)
