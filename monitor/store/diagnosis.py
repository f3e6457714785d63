"""What the diagnosis of an alert reads: the bad bookings of a spell, and what came before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, literal, select

from monitor.domain.ledger import Count
from monitor.domain.times import SECOND
from monitor.domain.vocabulary import Outcome, Stage, Traffic
from monitor.domain.windows import spans
from monitor.store.tables import bookings, deliveries, sli_minutes, sli_seconds, stages

_BAD = [literal(outcome.value, literal_execute=True) for outcome in (Outcome.LATE, Outcome.MISSING, Outcome.FAILED)]


_DELIVERY_ERROR = (
    select(func.max(deliveries.c.last_error))
    .where(deliveries.c.booking_id == stages.c.booking_id, deliveries.c.stage == stages.c.stage)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class BadStage:
    """A stage that was judged bad, with what its booking may have in common with others."""

    booking_id: str
    due_at: int
    reason: str
    provider_id: str | None
    provider_type: str | None
    currency: str | None
    price_minor: int | None
    traceparent: str | None
    delivery_error: str | None
    """What the last attempt to deliver for this stage ended in."""


def bad_stages(
    connection: Connection, sli: Stage, traffic: Traffic, *, due_after: int, limit: int
) -> Sequence[BadStage]:
    """Bad stages with a due time after an instant, the longest due first."""
    query = (
        select(
            stages.c.booking_id,
            stages.c.due_at,
            stages.c.reason,
            bookings.c.provider_id,
            bookings.c.provider_type,
            bookings.c.currency,
            bookings.c.price_minor,
            bookings.c.traceparent,
            _DELIVERY_ERROR,
        )
        .outerjoin_from(stages, bookings, bookings.c.id == stages.c.booking_id)
        .where(
            stages.c.outcome.in_(_BAD),
            stages.c.stage == sli.value,
            stages.c.traffic == traffic.value,
            stages.c.due_at > due_after,
        )
        .order_by(stages.c.due_at)
        .limit(limit)
    )
    return [BadStage(*tuple(row)) for row in connection.execute(query)]


def last_good(connection: Connection, sli: Stage, traffic: Traffic, before: str) -> tuple[str, int] | None:
    """The newest booking before this one whose stage was good, with its due time."""
    query = (
        select(stages.c.booking_id, stages.c.due_at)
        .where(
            stages.c.booking_id < before,
            stages.c.stage == sli.value,
            stages.c.traffic == traffic.value,
            stages.c.outcome == Outcome.GOOD.value,
        )
        .order_by(stages.c.booking_id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.booking_id, row.due_at)


def count_since(connection: Connection, sli: Stage, traffic: Traffic, *, since: int, now: int) -> Count:
    """Exact counts over due times from `since` to `now` (milliseconds since the epoch, to the second)."""
    cut = spans(now, now // SECOND - since // SECOND + 1)
    total = Count()
    for table, some in ((sli_minutes, (cut.minutes,)), (sli_seconds, cut.seconds)):
        bucket = next(iter(table.primary_key.columns))
        for start, end in some:
            query = select(func.sum(table.c.events), func.sum(table.c.bad)).where(
                bucket >= start, bucket < end, table.c.sli == sli.value, table.c.traffic == traffic.value
            )
            events, bad = connection.execute(query).one()
            total += Count(int(events or 0), int(bad or 0))
    return total
