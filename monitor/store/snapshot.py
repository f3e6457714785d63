"""Reading the ledger as one value. Its cost depends on what is open and on minutes, not on history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, case, func, or_, select

from monitor.domain.ledger import DURATION_BUCKETS, Count, Counter, Durations, Exemplar, Mark, Overdue, Snapshot
from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import (
    AlertName,
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
from monitor.domain.windows import spans
from monitor.store.repairs import WAITING
from monitor.store.statements import is_one_of
from monitor.store.tables import (
    alerts,
    bookings,
    counters,
    deliveries,
    drift_minutes,
    incidents,
    marks,
    pages,
    sli_minutes,
    sli_seconds,
    sli_totals,
    stage_durations,
    stage_exemplars,
    stages,
)

# Statements are put together once: to build one anew each second would cost ten times what running it does.

_DELIVERIES = (
    select(deliveries.c.stage, deliveries.c.state, func.count())
    .where(is_one_of(deliveries.c.state, "pending", "retrying", "dead"))
    .group_by(deliveries.c.stage, deliveries.c.state)
)


@cache
def _all(table: Table) -> Select[Any]:
    return select(table)


def read_snapshot(connection: Connection, now: int, overdue_window: int) -> Snapshot:
    """Read all numbers of the ledger; `now` and `overdue_window` in milliseconds."""
    totals = _counters(connection)
    overdue, at_risk = _overdue(connection, now - overdue_window)
    page_counts, oldest_pages = _pages(connection)
    return Snapshot(
        at=now,
        windows=read_windows(connection, now),
        outcomes={
            (Stage(row.sli), Traffic(row.traffic), Outcome(row.outcome), Reason(row.reason)): row.total
            for row in connection.execute(_all(sli_totals))
        },
        durations=_durations(connection),
        overdue=overdue,
        revenue_at_risk=at_risk,
        bookings=_pairs(totals, Counter.BOOKINGS, Traffic, str),
        legacy_fields={first: count for (first, _), count in totals[Counter.LEGACY_FIELDS.value].items()},
        deliveries={
            (Stage(stage), DeliveryState(state)): count for stage, state, count in connection.execute(_DELIVERIES)
        },
        delivery_attempts=_pairs(totals, Counter.DELIVERY_ATTEMPTS, Stage, AttemptResult),
        repairs=_pairs(totals, Counter.REPAIRS, Stage, RepairResult),
        canary_failures=totals[Counter.CANARY_FAILURES.value].get(("", ""), 0),
        drift=_drift(connection, now),
        expected_bookings=_expected_bookings(connection, now),
        canary_runs={CanaryResult(first): n for (first, _), n in totals[Counter.CANARY_RUNS.value].items()},
        marks={Mark(row.name): row.at for row in connection.execute(_all(marks))},
        pages=page_counts,
        oldest_page_at=oldest_pages,
        alerts={
            (row.alertname, row.severity, row.sli, row.traffic): row.state for row in connection.execute(_all(alerts))
        },
    )


def read_windows(connection: Connection, now: int) -> dict[tuple[Stage, Traffic, Window], Count]:
    """Exact counts of every window that ends with `now` (milliseconds since the epoch)."""
    cuts = {window: spans(now, window.seconds) for window in Window}
    counts: defaultdict[tuple[Stage, Traffic, Window], Count] = defaultdict(Count)
    _add_minutes(connection, {window: cut.minutes for window, cut in cuts.items()}, counts)
    _add_seconds(connection, {window: cut.seconds for window, cut in cuts.items()}, counts)
    return dict(counts)


_Span = tuple[int, int]
_Counts = defaultdict[tuple[Stage, Traffic, Window], Count]


def _within(column: ColumnElement[int], name: str) -> ColumnElement[bool]:
    """Whether a number is in the span that is given under a name."""
    return (column >= bindparam(f"{name}_start")) & (column < bindparam(f"{name}_end"))


def _given(name: str, span: _Span) -> dict[str, int]:
    return {f"{name}_start": span[0], f"{name}_end": span[1]}


_MINUTES = (
    select(
        sli_minutes.c.sli,
        sli_minutes.c.traffic,
        *(
            func.sum(case((_within(sli_minutes.c.minute, window.name), column), else_=0))
            for window in Window
            for column in (sli_minutes.c.events, sli_minutes.c.bad)
        ),
    )
    .where(_within(sli_minutes.c.minute, "all"))
    .group_by(sli_minutes.c.sli, sli_minutes.c.traffic)
)
_EDGES = range(2)
"""Spans of seconds that a window has at most."""
_SECONDS = select(sli_seconds).where(
    or_(*(_within(sli_seconds.c.second, f"{window.name}_{edge}") for window in Window for edge in _EDGES))
)


def _add_minutes(connection: Connection, chosen: dict[Window, _Span], counts: _Counts) -> None:
    """Sum the whole minutes of all windows, in the database and in one pass: the longest has thousands of them."""
    filled = [span for span in chosen.values() if span[0] < span[1]]
    given = _given("all", (min(start for start, _ in filled), max(end for _, end in filled)))
    for window, span in chosen.items():
        given |= _given(window.name, span)
    for sli, traffic, *sums in connection.execute(_MINUTES, given):
        for position, window in enumerate(Window):
            count = Count(int(sums[2 * position]), int(sums[2 * position + 1]))
            counts[Stage(sli), Traffic(traffic), window] += count


def _add_seconds(connection: Connection, chosen: dict[Window, tuple[_Span, ...]], counts: _Counts) -> None:
    """Add the seconds at the edges of all windows: a few dozen each, so that they are summed here."""
    given: dict[str, int] = {}
    for window, some in chosen.items():
        for edge in _EDGES:
            given |= _given(f"{window.name}_{edge}", some[edge] if edge < len(some) else (0, 0))
    for second, sli, traffic, events, bad in connection.execute(_SECONDS, given):
        for window, some in chosen.items():
            if any(start <= second < end for start, end in some):
                counts[Stage(sli), Traffic(traffic), window] += Count(events, bad)


def _counters(connection: Connection) -> defaultdict[str, dict[tuple[str, str], int]]:
    totals: defaultdict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for row in connection.execute(_all(counters)):
        totals[row.name][row.first, row.second] = row.total
    return totals


def _pairs(
    totals: dict[str, dict[tuple[str, str], int]],
    name: Counter,
    first: Callable[[str], Any],
    second: Callable[[str], Any],
) -> dict[tuple[Any, Any], int]:
    return {(first(a), second(b)): count for (a, b), count in totals.get(name.value, {}).items()}


def _durations(connection: Connection) -> dict[tuple[Stage, Traffic], Durations]:
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (len(DURATION_BUCKETS) + 1))
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for row in connection.execute(_all(stage_durations)):
        counts[row.stage, row.traffic][row.bucket] = row.total
        sums[row.stage, row.traffic] += row.sum_seconds
    exemplars: defaultdict[tuple[str, str], dict[int, Exemplar]] = defaultdict(dict)
    for row in connection.execute(_all(stage_exemplars)):
        exemplars[row.stage, row.traffic][row.bucket] = Exemplar(row.trace_id, row.seconds, row.at)
    return {
        (Stage(stage), Traffic(traffic)): Durations(
            tuple(buckets), sums[stage, traffic], exemplars.get((stage, traffic), {})
        )
        for (stage, traffic), buckets in counts.items()
    }


_JOINED = stages.outerjoin(bookings, bookings.c.id == stages.c.booking_id)
_WAITING = (
    is_one_of(stages.c.outcome, "missing", "failed")
    & stages.c.evidence_at.is_(None)
    & (stages.c.due_at > bindparam("due_after"))
    & WAITING
)
_OVERDUE = (
    select(stages.c.stage, stages.c.traffic, func.count(), func.min(stages.c.due_at))
    .select_from(_JOINED)
    .where(_WAITING)
    .group_by(stages.c.stage, stages.c.traffic)
)
_CONCERNED = (
    select(bookings.c.id, bookings.c.currency, bookings.c.price_minor)
    .select_from(_JOINED)
    .where(_WAITING, bookings.c.traffic == Traffic.REAL.value, bookings.c.price_minor.is_not(None))
    .distinct()
    .subquery()
)
_AT_RISK = select(_CONCERNED.c.currency, func.sum(_CONCERNED.c.price_minor)).group_by(_CONCERNED.c.currency)


def _overdue(connection: Connection, due_after: int) -> tuple[dict[tuple[Stage, Traffic], Overdue], dict[str, int]]:
    given = {"due_after": due_after}
    overdue = {
        (Stage(stage), Traffic(traffic)): Overdue(count, oldest)
        for stage, traffic, count, oldest in connection.execute(_OVERDUE, given)
    }
    if not overdue:
        return {}, {}
    return overdue, {currency: int(total) for currency, total in connection.execute(_AT_RISK, given)}


_LOST = (
    select(incidents.c.number)
    .where(
        incidents.c.number == pages.c.incident,
        incidents.c.resolved_at.is_(None),
        incidents.c.alertname != AlertName.PAGE_UNDELIVERED.value,
    )
    .exists()
)
_PAGES = (
    select(pages.c.channel, pages.c.state, func.count(), func.min(pages.c.created_at))
    .where((pages.c.state != PageState.DEAD.value) | _LOST)
    .group_by(pages.c.channel, pages.c.state)
)


def _pages(connection: Connection) -> tuple[dict[tuple[PageChannel, PageState], int], dict[PageChannel, int]]:
    """Count pages, of those that were given up only the ones whose incident is open.

    What gave word of such pages and was given up itself is not among them: it would keep its own alert up.
    """
    counts: dict[tuple[PageChannel, PageState], int] = {}
    oldest: dict[PageChannel, int] = {}
    for channel, state, count, first in connection.execute(_PAGES):
        counts[PageChannel(channel), PageState(state)] = count
        if state == PageState.PENDING.value:
            oldest[PageChannel(channel)] = first
    return counts, oldest


_DRIFT_MINUTES = 60
"""Bookings that drifted are counted over the last hour."""


_DRIFT = (
    select(drift_minutes.c.kind, func.sum(drift_minutes.c.bookings))
    .where(drift_minutes.c.minute > bindparam("minute"))
    .group_by(drift_minutes.c.kind)
)


def _drift(connection: Connection, now: int) -> dict[Drift, int]:
    rows = connection.execute(_DRIFT, {"minute": now // MINUTE - _DRIFT_MINUTES})
    return {Drift(kind): int(count) for kind, count in rows}


_OLDEST_MINUTE = select(func.min(sli_minutes.c.minute))
EXPECTED_WINDOWS = (Window.H1, Window.H6)
_WEEK_MINUTES = 7 * 24 * 60
WEEKS = 4
"""Weeks of history that an expectation is made of, at most."""
FEWEST_WEEKS = 2
"""Weeks of history without which nothing is expected."""


def _expected_bookings(connection: Connection, now: int) -> dict[Window, float]:
    """Real bookings that these minutes of the week brought on average in the weeks before."""
    table = sli_minutes.c
    mine = (table.sli == Stage.CHAT_ROOM.value) & (table.traffic == Traffic.REAL.value)
    this_minute = now // MINUTE
    oldest = connection.execute(_OLDEST_MINUTE).scalar_one_or_none()
    weeks = 0 if oldest is None else min((this_minute - oldest) // _WEEK_MINUTES, WEEKS)
    if weeks < FEWEST_WEEKS:
        return {}
    expected = {}
    for window in EXPECTED_WINDOWS:
        spans_ = [
            (table.minute > this_minute - week * _WEEK_MINUTES - window.seconds // 60)
            & (table.minute <= this_minute - week * _WEEK_MINUTES)
            for week in range(1, weeks + 1)
        ]
        total = connection.execute(select(func.sum(table.events)).where(mine, or_(*spans_))).scalar_one() or 0
        expected[window] = int(total) / weeks
    return expected
