"""Reading a store from outside, and recounting it: what must hold of it at any time, and when all is at rest."""

from __future__ import annotations

import functools
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from monitor.domain.vocabulary import SLIS, Outcome, Stage
from support.traffic import HEARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from sqlalchemy import Connection

    from support.traffic import Told

_OF_EVERY_BOOKING = (Stage.CHAT_ROOM, Stage.MESSAGE, Stage.NOTIFICATION, Stage.REALTIME)
_COMPLETE = {
    "one chat room of its provider and customer": """SELECT count(*) FROM chat_rooms WHERE booking_id = bookings.id
        AND provider_id = bookings.provider_id AND customer_id = bookings.customer_id""",
    "one booking-received message": """SELECT count(*) FROM chat_messages m JOIN chat_rooms r ON r.id = m.room_id
        WHERE r.booking_id = bookings.id AND m.kind = 'booking_received'""",
    "one notification of its provider": """SELECT count(*) FROM notifications WHERE booking_id = bookings.id
        AND provider_id = bookings.provider_id""",
    "one realtime delivery to its provider": """SELECT count(*) FROM deliveries WHERE booking_id = bookings.id
        AND stage = 'realtime' AND target = bookings.provider_id""",
}


@contextmanager
def store(url: str) -> Iterator[Connection]:
    """A connection to a service's store, by its SQLAlchemy URL."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def _at_one_instant(look: Callable[[Connection], list[str]]) -> Callable[[Connection], list[str]]:
    """Let all queries of a look see the store as it is now, whoever writes meanwhile."""

    @functools.wraps(look)
    def looking(connection: Connection) -> list[str]:
        level = "" if connection.dialect.name == "sqlite" else " ISOLATION LEVEL REPEATABLE READ READ ONLY"
        connection.exec_driver_sql(f"BEGIN{level}")
        try:
            return look(connection)
        finally:
            connection.exec_driver_sql("COMMIT")

    return looking


def rows(connection: Connection, query: str) -> list[Any]:
    """The rows of a query, as tuples; single values where there is one column."""
    found = [tuple(row) for row in connection.exec_driver_sql(query)]
    return [row[0] for row in found] if found and len(found[0]) == 1 else found


def damages(connection: Connection) -> list[str]:
    """What SQLite finds broken in its own file."""
    return [str(row) for row in rows(connection, "PRAGMA integrity_check") if row != "ok"] + [
        f"breaks a foreign key: {row}" for row in rows(connection, "PRAGMA foreign_key_check")
    ]


@_at_one_instant
def half_made(connection: Connection) -> list[str]:
    """Bookings that lack something of what is made together with them."""
    found = []
    for what, count in _COMPLETE.items():
        ids = rows(connection, f"SELECT id FROM bookings WHERE ({count}) <> 1")  # noqa: S608 - our own texts
        found += [f"{booking_id} has not {what}" for booking_id in ids]
    names = {stage.value for stage in _OF_EVERY_BOOKING}
    known: dict[str, set[str]] = {booking_id: set() for booking_id in rows(connection, "SELECT id FROM bookings")}
    for booking_id, stage in rows(connection, "SELECT booking_id, stage FROM stages WHERE stage <> 'push'"):
        known.setdefault(booking_id, set()).add(stage)
    return found + [f"{booking_id} has the stages {sorted(has)}" for booking_id, has in known.items() if has != names]


@_at_one_instant
def miscounts(connection: Connection) -> list[str]:
    """Counts of the ledger that differ from a recount of what it holds."""
    totals: Counter[tuple[Any, ...]] = Counter()
    seconds: Counter[tuple[Any, ...]] = Counter()
    bad: Counter[tuple[Any, ...]] = Counter()
    slis = ", ".join(f"'{sli.value}'" for sli in SLIS)
    for sli, traffic, outcome, reason, due_at in rows(
        connection,
        "SELECT stage, traffic, outcome, reason, due_at FROM stages"  # noqa: S608 - our own words
        f" WHERE outcome IS NOT NULL AND stage IN ({slis})",
    ):
        totals[sli, traffic, outcome, reason] += 1
        if Outcome(outcome).counts:
            seconds[due_at // 1000, sli, traffic] += 1
            bad[due_at // 1000, sli, traffic] += Outcome(outcome).bad
    minutes: Counter[tuple[Any, ...]] = Counter()
    bad_minutes: Counter[tuple[Any, ...]] = Counter()
    for (second, sli, traffic), events in seconds.items():
        minutes[second // 60, sli, traffic] += events
        bad_minutes[second // 60, sli, traffic] += bad[second, sli, traffic]
    attempts = Counter(
        rows(connection, "SELECT stage, result FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id")
    )
    made = Counter(rows(connection, "SELECT traffic, platform FROM bookings"))
    counters = {
        name: _table(connection, f"SELECT first, second, total FROM counters WHERE name = '{name}'")  # noqa: S608 - our own words
        for name in ("bookings", "delivery_attempts")
    }
    pairs = {
        "sli_totals": (totals, _table(connection, "SELECT sli, traffic, outcome, reason, total FROM sli_totals")),
        "events of sli_seconds": (seconds, _table(connection, "SELECT second, sli, traffic, events FROM sli_seconds")),
        "bad of sli_seconds": (+bad, _table(connection, "SELECT second, sli, traffic, bad FROM sli_seconds")),
        "events of sli_minutes": (minutes, _table(connection, "SELECT minute, sli, traffic, events FROM sli_minutes")),
        "bad of sli_minutes": (+bad_minutes, _table(connection, "SELECT minute, sli, traffic, bad FROM sli_minutes")),
        "bookings": (made, counters["bookings"]),
        "delivery_attempts": (attempts, counters["delivery_attempts"]),
    }
    return [
        f"{name}: {key} is counted {counted[key]} times and is there {there[key]} times"
        for name, (there, counted) in pairs.items()
        for key in sorted(there.keys() | counted.keys())
        if there[key] != counted[key]
    ]


def broken_promises(connection: Connection, told: Told) -> list[str]:
    """What was told to a customer and does not hold, and what came twice of one request."""
    found = list(told.faults)
    by_customer: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for booking_id, customer_id in rows(connection, "SELECT id, customer_id FROM bookings"):
        by_customer[customer_id] += 1
        ids[booking_id] = customer_id
    for customer_id, booking_id in told.made.items():
        if ids.get(booking_id) != customer_id:
            found.append(f"{booking_id} was answered 201 and is lost")
    found += [f"{customer_id} has {n} bookings for one request" for customer_id, n in by_customer.items() if n > 1]
    found += [f"{customer_id} was never answered" for customer_id in told.keyed - told.made.keys()]
    return found


def unheard(connection: Connection, told: Told) -> list[str]:
    """Bookings of providers who listen that were not acknowledged just once, or that the provider never got."""
    providers = ", ".join(f"'{provider_id}'" for provider_id in HEARD)
    acknowledged = Counter(
        rows(
            connection,
            "SELECT d.booking_id FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id"
            " WHERE d.state = 'delivered' AND d.stage = 'realtime' AND a.result = 'ok'",
        )
    )
    return [
        f"{booking_id}: acknowledged {acknowledged[booking_id]} times, heard {told.heard[provider_id][booking_id]}"
        for booking_id, provider_id in rows(
            connection,
            f"SELECT id, provider_id FROM bookings WHERE provider_id IN ({providers})",  # noqa: S608 - our own words
        )
        if acknowledged[booking_id] != 1 or not told.heard[provider_id][booking_id]
    ]


def unfinished(connection: Connection) -> list[str]:
    """What is not judged yet, and what is on its way to a provider who listens."""
    providers = ", ".join(f"'{provider_id}'" for provider_id in HEARD)
    undecided = rows(connection, "SELECT booking_id, stage, due_at FROM stages WHERE outcome IS NULL")
    under_way = rows(
        connection,
        "SELECT id, booking_id, target, state, attempts, created_at, next_attempt_at, last_error FROM deliveries"  # noqa: S608 - our own words
        f" WHERE stage = 'realtime' AND state <> 'delivered' AND target IN ({providers})",
    )
    return [f"not judged: {row}" for row in undecided] + [f"not delivered: {row}" for row in under_way]


def _table(connection: Connection, query: str) -> Counter[tuple[Any, ...]]:
    """Rows of a key and a count."""
    return Counter({tuple(key): count for *key, count in rows(connection, query) if count})
