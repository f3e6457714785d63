"""The judge's part of the store: what is due, and writing down verdicts with the counts they change."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from monitor.domain.due import DueStage, Judged
from monitor.domain.ledger import DURATION_BUCKETS, Count, Mark
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.traces import sampled_trace_id
from monitor.domain.vocabulary import SLIS, Outcome, Reason, Stage, Traffic
from monitor.store.commands import Single
from monitor.store.leases import Fence, check_fence
from monitor.store.statements import Row, add_counts, update_rows, upsert
from monitor.store.tables import (
    bookings,
    marks,
    sli_minutes,
    sli_seconds,
    sli_totals,
    stage_durations,
    stage_exemplars,
    stages,
)


class VerdictsOutdatedError(Exception):
    """Some of the stages were judged or removed meanwhile; nothing was written."""


DUE_COLUMNS = (
    stages.c.traffic,
    bookings.c.provider_id,
    bookings.c.customer_id,
    stages.c.created_at,
    stages.c.due_at,
    bookings.c.traceparent,
)
"""What a DueStage holds after its booking's id and its kind, of a stage and of its booking, which may be gone."""
_DUE = (
    select(stages.c.booking_id, stages.c.stage, *DUE_COLUMNS)
    .outerjoin_from(stages, bookings, bookings.c.id == stages.c.booking_id)
    .where(
        stages.c.outcome.is_(None),
        stages.c.due_at <= bindparam("due_before"),
        # A word that is none of ours, as somebody else may write it, keeps nothing else from being judged.
        stages.c.stage.in_([stage.value for stage in Stage]),
        stages.c.traffic.in_([traffic.value for traffic in Traffic]),
    )
    .order_by(stages.c.due_at)
    .limit(bindparam("limit"))
)


def find_due(connection: Connection, due_before: int, limit: int) -> list[DueStage]:
    """Undecided stages of all kinds with a due time up to and including `due_before`, the longest due first."""
    rows = connection.execute(_DUE, {"due_before": due_before, "limit": limit}).all()
    return [DueStage(booking_id, Stage(stage), Traffic(traffic), *rest) for booking_id, stage, traffic, *rest in rows]


@dataclass(frozen=True, slots=True)
class RecordVerdicts(Single[None]):
    """Writes verdicts and every count that they change, in one transaction."""

    judged: tuple[Judged, ...]
    now: int
    """Milliseconds since the epoch."""
    fence: Fence | None

    def run(self, connection: Connection) -> None:
        """Write them. Raises VerdictsOutdatedError or FencedOffError, and then nothing is written."""
        check_fence(connection, self.fence)
        rows = [
            (
                judged.verdict.outcome.value,
                judged.verdict.reason.value,
                judged.verdict.evidence_at,
                self.now,
                judged.due.booking_id,
                judged.due.stage.value,
            )
            for judged in self.judged
        ]
        written = update_rows(
            connection,
            stages,
            ("outcome", "reason", "evidence_at", "judged_at"),
            rows,
            only_where="stages.outcome IS NULL",
        )
        if written != len(rows):
            raise VerdictsOutdatedError(f"{len(rows) - written} of {len(rows)} stages are no longer undecided")
        events = _events(self.judged)
        add_counts(connection, sli_minutes, _buckets(events, MINUTE // SECOND))
        add_counts(connection, sli_seconds, _buckets(events, 1))
        add_counts(connection, sli_totals, _totals(events))
        observations = _observations(self.judged)
        add_counts(connection, stage_durations, _durations(observations))
        _keep_exemplars(connection, observations, self.now)
        upsert(connection, marks, {"name": Mark.JUDGED.value, "at": self.now}, keep_larger=marks.c.at)


@dataclass(frozen=True, slots=True)
class RecordMark(Single[None]):
    """Remembers that something happened now."""

    mark: Mark
    now: int
    fence: Fence | None = None

    def run(self, connection: Connection) -> None:
        """Write it; a mark never goes back."""
        check_fence(connection, self.fence)
        upsert(connection, marks, {"name": self.mark.value, "at": self.now}, keep_larger=marks.c.at)


_Events = Tally[tuple[int, Stage, Traffic, Outcome, Reason]]
"""How often each outcome came, by second of due time."""
_Observation = tuple[tuple[str, str, int], float, str | None]
"""Stage, traffic and bucket of a duration, its seconds, and the trace context of its booking."""


def _events(judged: Iterable[Judged]) -> _Events:
    return Tally(
        (one.due.due_at // SECOND, one.due.stage, one.due.traffic, one.verdict.outcome, one.verdict.reason)
        for one in judged
        if one.due.stage in SLIS
    )


def _buckets(events: _Events, width: int) -> list[Row]:
    """Events and bad ones by bucket of due time; `width` in seconds."""
    counts: defaultdict[tuple[int, str, str], Count] = defaultdict(Count)
    for (second, stage, traffic, outcome, _), count in events.items():
        if outcome.counts:
            counts[second // width, stage.value, traffic.value] += Count(count, count if outcome.bad else 0)
    return [(*key, count.events, count.bad) for key, count in counts.items()]


def _totals(events: _Events) -> list[Row]:
    totals: Tally[tuple[str, str, str, str]] = Tally()
    for (_, stage, traffic, outcome, reason), count in events.items():
        totals[stage.value, traffic.value, outcome.value, reason.value] += count
    return [(*key, count) for key, count in totals.items()]


def _observations(judged: Iterable[Judged]) -> list[_Observation]:
    """What is known of the time from creation to evidence."""
    found = []
    for one in judged:
        due, evidence_at = one.due, one.verdict.evidence_at
        if evidence_at is not None:
            seconds = max(evidence_at - due.created_at, 0) / SECOND
            bucket = bisect_left(DURATION_BUCKETS, seconds)
            found.append(((due.stage.value, due.traffic.value, bucket), seconds, due.traceparent))
    return found


def _durations(observations: Iterable[_Observation]) -> list[Row]:
    totals: Tally[tuple[str, str, int]] = Tally()
    sums: defaultdict[tuple[str, str, int], float] = defaultdict(float)
    for key, seconds, _ in observations:
        totals[key] += 1
        sums[key] += seconds
    return [(*key, count, sums[key]) for key, count in totals.items()]


def _keep_exemplars(connection: Connection, observations: Iterable[_Observation], now: int) -> None:
    latest: dict[tuple[str, str, int], dict[str, Any]] = {}
    for key, seconds, traceparent in observations:
        trace_id = sampled_trace_id(traceparent)
        if trace_id is not None:
            latest[key] = {"trace_id": trace_id, "seconds": seconds, "at": now}
    for (stage, traffic, bucket), values in latest.items():
        upsert(connection, stage_exemplars, {"stage": stage, "traffic": traffic, "bucket": bucket, **values})
