"""The numbers of the ledger, as values: what a snapshot of it holds and what its counters are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from monitor.domain.vocabulary import (
    AttemptResult,
    CanaryResult,
    DeliveryState,
    Drift,
    Outcome,
    PageChannel,
    PageState,
    Reason,
    RepairResult,
    Stage,
    Traffic,
    Window,
)

DURATION_BUCKETS: tuple[float, ...] = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds, in seconds, of the histogram from creation to evidence. A last bucket is unbounded."""

REASONS: Mapping[Stage, tuple[tuple[Outcome, Reason], ...]] = {
    Stage.CHAT_ROOM: (
        (Outcome.GOOD, Reason.ON_TIME),
        (Outcome.LATE, Reason.LATE),
        (Outcome.MISSING, Reason.NEVER_ATTEMPTED),
        (Outcome.MISSING, Reason.FIELD_MISMATCH),
        (Outcome.MISSING, Reason.TARGET_MISSING),
        (Outcome.MISSING, Reason.PLATFORM_UNREACHABLE),
        (Outcome.FAILED, Reason.WRITE_REJECTED),
        (Outcome.FAILED, Reason.TARGET_MISSING),
        (Outcome.FAILED, Reason.PLATFORM_UNREACHABLE),
    ),
    Stage.NOTIFICATION: (
        (Outcome.GOOD, Reason.ON_TIME),
        (Outcome.LATE, Reason.LATE),
        (Outcome.MISSING, Reason.NEVER_ATTEMPTED),
        (Outcome.MISSING, Reason.FIELD_MISMATCH),
        (Outcome.MISSING, Reason.TARGET_MISSING),
        (Outcome.MISSING, Reason.PLATFORM_UNREACHABLE),
        (Outcome.FAILED, Reason.WRITE_REJECTED),
        (Outcome.FAILED, Reason.TARGET_MISSING),
        (Outcome.FAILED, Reason.PLATFORM_UNREACHABLE),
        (Outcome.FAILED, Reason.PUSH_REJECTED),
    ),
    Stage.REALTIME: (
        (Outcome.GOOD, Reason.ON_TIME),
        (Outcome.LATE, Reason.LATE),
        (Outcome.EXEMPT, Reason.NO_LIVE_SUBSCRIPTION),
        (Outcome.MISSING, Reason.NEVER_ATTEMPTED),
        (Outcome.MISSING, Reason.FIELD_MISMATCH),
        (Outcome.MISSING, Reason.TARGET_MISSING),
        (Outcome.FAILED, Reason.FIELD_MISMATCH),
        (Outcome.FAILED, Reason.SUBSCRIBER_SILENT),
    ),
}
"""The outcomes that an SLI can have, each with its reasons: the closed set of its label values."""


class Counter(StrEnum):
    """A cumulative count in the ledger; the comment names its one or two labels."""

    BOOKINGS = "bookings"  # traffic, platform
    LEGACY_FIELDS = "legacy_fields"  # field
    DELIVERY_ATTEMPTS = "delivery_attempts"  # stage, result
    REPAIRS = "repairs"  # stage, result
    CANARY_RUNS = "canary_runs"  # result
    CANARY_FAILURES = "canary_failures"  # none; in a row: the next success sets it back to 0


class Note(StrEnum):
    """A text that the ledger remembers from one start to the next."""

    RELEASE = "release"
    OBJECTIVES = "objectives"


class Mark(StrEnum):
    """A point in time that the ledger remembers."""

    JUDGED = "judged"
    CANARY_SUCCEEDED = "canary_succeeded"
    EVALUATED = "evaluated"


@dataclass(frozen=True, slots=True)
class Count:
    """Events of an SLI, and the bad ones among them."""

    events: int = 0
    bad: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.events + other.events, self.bad + other.bad)

    @property
    def good_ratio(self) -> float | None:
        """Share of good events, or None where there is no data."""
        return None if self.events == 0 else (self.events - self.bad) / self.events


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that stands for its bucket."""

    trace_id: str
    seconds: float
    at: int
    """Milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram of seconds from a booking's creation to a stage's evidence."""

    buckets: tuple[int, ...] = (0,) * (len(DURATION_BUCKETS) + 1)
    """Observations for each bound of DURATION_BUCKETS and for the unbounded rest; not cumulative."""
    sum_seconds: float = 0.0
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Overdue:
    """Bookings that are past due for a stage and still without evidence."""

    bookings: int = 0
    oldest_due_at: int | None = None
    """Milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All numbers of the ledger at one instant, as every replica shows them.

    Mappings need not hold zeros: whoever shows them fills in the combinations that did not occur.
    """

    at: int
    """When the ledger was read, in milliseconds since the epoch."""
    windows: Mapping[tuple[Stage, Traffic, Window], Count] = field(default_factory=dict)
    outcomes: Mapping[tuple[Stage, Traffic, Outcome, Reason], int] = field(default_factory=dict)
    durations: Mapping[tuple[Stage, Traffic], Durations] = field(default_factory=dict)
    overdue: Mapping[tuple[Stage, Traffic], Overdue] = field(default_factory=dict)
    revenue_at_risk: Mapping[str, int] = field(default_factory=dict)
    """Minor units by currency, over real bookings that are overdue."""
    bookings: Mapping[tuple[Traffic, str], int] = field(default_factory=dict)
    """Bookings entered so far, by traffic and platform."""
    legacy_fields: Mapping[str, int] = field(default_factory=dict)
    deliveries: Mapping[tuple[Stage, DeliveryState], int] = field(default_factory=dict)
    delivery_attempts: Mapping[tuple[Stage, AttemptResult], int] = field(default_factory=dict)
    repairs: Mapping[tuple[Stage, RepairResult], int] = field(default_factory=dict)
    canary_runs: Mapping[CanaryResult, int] = field(default_factory=dict)
    canary_failures: int = 0
    """Canaries that failed since one last succeeded."""
    drift: Mapping[Drift, int] = field(default_factory=dict)
    """Real bookings of the last hour that drifted from the schema, by how."""
    expected_bookings: Mapping[Window, float] = field(default_factory=dict)
    """Real bookings that this time of the week usually brings; none where history is too short."""
    marks: Mapping[Mark, int] = field(default_factory=dict)
    pages: Mapping[tuple[PageChannel, PageState], int] = field(default_factory=dict)
    oldest_page_at: Mapping[PageChannel, int] = field(default_factory=dict)
    alerts: Mapping[tuple[str, str, str, str], str] = field(default_factory=dict)
    """State of each alert by (alertname, severity, sli, traffic)."""
