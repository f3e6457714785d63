"""A stage that has come due, as the judge meets it."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.domain.judgement import Verdict
from monitor.domain.vocabulary import Stage, Traffic


@dataclass(frozen=True, slots=True)
class DueStage:
    """What the judge knows of a stage before it looks for evidence. Times in milliseconds since the epoch."""

    booking_id: str
    stage: Stage
    traffic: Traffic
    provider_id: str | None
    """None when the booking itself is no longer there."""
    customer_id: str | None
    created_at: int
    due_at: int
    traceparent: str | None

    def __hash__(self) -> int:
        return hash(self.booking_id)


@dataclass(frozen=True, slots=True)
class Judged:
    """A stage and the verdict on it."""

    due: DueStage
    verdict: Verdict
