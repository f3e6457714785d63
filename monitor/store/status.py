"""What the status page shows beyond the snapshot: rates over time, and the single things that are not in order.

Every query is bounded, so that a page costs the same however much has gone wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, literal, select

from monitor.domain.ledger import Count
from monitor.domain.rows import Fields
from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import SLIS, DeliveryState, Outcome, Stage, Traffic
from monitor.store import alerts
from monitor.store.repairs import WAITING
from monitor.store.tables import bookings, deliveries, sli_minutes, stages

SHOWN_INCIDENTS = 10
SHOWN_OPEN_INCIDENTS = 20
SHOWN_OVERDUE = 8
"""Bookings; those that are due the longest."""
SHOWN_DELIVERIES = 5
SHOWN_PAGES = 10
SHOWN_CANARIES = 10

Series = Mapping[Stage, tuple[Count, ...]]
"""Counts of each SLI, by spans of equal length, the oldest first."""


@dataclass(frozen=True, slots=True)
class OverdueBooking:
    """A booking that is past due for at least one stage, with all of its stages."""

    id: str
    provider_id: str
    stages: Sequence[Fields]


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """A canary's booking, with what became of its SLIs; None while that is open."""

    id: str
    created_at: int
    good: bool | None


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was read at one instant."""

    open_incidents: Sequence[Fields] = ()
    recent_incidents: Sequence[Fields] = ()
    overdue: Sequence[OverdueBooking] = ()
    deliveries: Sequence[Fields] = ()
    """Deliveries that are not acknowledged, with the traffic of their bookings."""
    unsent_pages: Sequence[Fields] = ()
    canaries: Sequence[CanaryRun] = ()


def read(connection: Connection, *, overdue_after: int) -> Reading:
    """Read it; bookings that became due before `overdue_after` (milliseconds since the epoch) are left out."""
    return Reading(
        alerts.incident_page(connection, before=None, active=True, limit=SHOWN_OPEN_INCIDENTS),
        alerts.incident_page(connection, before=None, active=False, limit=SHOWN_INCIDENTS),
        _overdue(connection, overdue_after),
        _open_deliveries(connection),
        alerts.unsent_pages(connection, SHOWN_PAGES),
        _canaries(connection),
    )


def read_series(connection: Connection, traffic: Traffic, *, now: int, minutes: int, spans: int) -> Series:
    """Counts of the last `spans` spans of `minutes` each, up to and with the minute of `now`."""
    column = sli_minutes.c
    first = now // MINUTE + 1 - minutes * spans
    span = ((column.minute - first) // minutes).label("span")
    query = (
        select(column.sli, span, func.sum(column.events), func.sum(column.bad))
        .where(column.minute >= first, column.minute <= now // MINUTE, column.traffic == traffic.value)
        .group_by(column.sli, "span")
    )
    series = {sli: [Count()] * spans for sli in SLIS}
    for sli, position, events, bad in connection.execute(query):
        series[Stage(sli)][int(position)] = Count(int(events), int(bad))
    return {sli: tuple(counts) for sli, counts in series.items()}


def _overdue(connection: Connection, due_after: int) -> list[OverdueBooking]:
    query = (
        select(stages.c.booking_id, bookings.c.provider_id)
        .outerjoin_from(stages, bookings, bookings.c.id == stages.c.booking_id)
        .where(
            _is_one_of(stages.c.outcome, (Outcome.MISSING, Outcome.FAILED)),
            stages.c.evidence_at.is_(None),
            stages.c.due_at > due_after,
            stages.c.traffic == Traffic.REAL.value,
            WAITING,
        )
        .order_by(stages.c.due_at, stages.c.booking_id)
        .limit(SHOWN_OVERDUE * len(Stage))
    )
    providers = {row.booking_id: row.provider_id or "(vanished)" for row in connection.execute(query)}
    shown = list(providers)[:SHOWN_OVERDUE]
    of_each = _stages_of(connection, shown)
    return [OverdueBooking(booking_id, providers[booking_id], of_each[booking_id]) for booking_id in shown]


def _canaries(connection: Connection) -> list[CanaryRun]:
    query = (
        select(bookings.c.id, bookings.c.created_at)
        .where(bookings.c.traffic == literal(Traffic.CANARY.value, literal_execute=True))
        .order_by(bookings.c.created_at.desc())
        .limit(SHOWN_CANARIES)
    )
    made = {row.id: row.created_at for row in connection.execute(query)}
    of_each = _stages_of(connection, list(made))
    return [CanaryRun(booking_id, created_at, _good(of_each[booking_id])) for booking_id, created_at in made.items()]


def _good(rows: Sequence[Fields]) -> bool | None:
    outcomes = [None if row["outcome"] is None else Outcome(row["outcome"]) for row in rows if row["stage"] in SLIS]
    if any(outcome is not None and outcome.bad for outcome in outcomes):
        return False
    return None if None in outcomes or not outcomes else True


def _stages_of(connection: Connection, booking_ids: Sequence[str]) -> defaultdict[str, list[Fields]]:
    found: defaultdict[str, list[Fields]] = defaultdict(list)
    for row in connection.execute(select(stages).where(stages.c.booking_id.in_(booking_ids))).mappings():
        found[row["booking_id"]].append(row)
    order = list(Stage)
    for rows in found.values():
        rows.sort(key=lambda row: order.index(Stage(row["stage"])))
    return found


def _open_deliveries(connection: Connection) -> Sequence[Fields]:
    """Those under way before those given up, and these before those that nobody is there to receive; newest first."""
    rank = case(
        (deliveries.c.state == DeliveryState.RETRYING.value, 0), (deliveries.c.state == DeliveryState.DEAD.value, 1)
    )
    query = (
        select(deliveries, bookings.c.traffic)
        .join_from(deliveries, bookings, bookings.c.id == deliveries.c.booking_id)
        .where(_is_one_of(deliveries.c.state, (DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.DEAD)))
        .order_by(rank.is_(None), rank, deliveries.c.id.desc())
        .limit(SHOWN_DELIVERIES)
    )
    return connection.execute(query).mappings().all()


def _is_one_of(column: ColumnElement[Any], values: Sequence[Outcome | DeliveryState]) -> ColumnElement[bool]:
    """A condition with its values in the text, as the planner needs them to use a partial index."""
    return column.in_([literal(value.value, literal_execute=True) for value in values])
