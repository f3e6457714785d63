"""The rows that every booking has, in seven tables, written by one statement for a whole group of bookings.

A booking is handed over as one flat row; the database itself spreads it over the tables. A statement for each row
would have this process give its interpreter lock away and wait to get it back a dozen times a booking, which costs
more than the rows; and on PostgreSQL each statement is a round trip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection, Table

from monitor.domain.chat import MessageKind, system_message
from monitor.domain.ledger import Counter
from monitor.domain.notifying import notification_row
from monitor.domain.vocabulary import Stage
from monitor.store import driver
from monitor.store.rows import delivery_row, stage_row
from monitor.store.statements import Row, add_clause, flat, pieces, plain, recordset, recordset_clause, values
from monitor.store.tables import bookings, chat_messages, chat_rooms, counters, deliveries, notifications, stages

STAGES = (Stage.CHAT_ROOM, Stage.MESSAGE, Stage.NOTIFICATION, Stage.REALTIME)
"""The stages of every booking; that of a push is there only where there is a subscription."""

_OF_BOOKING = tuple(map(plain, bookings.columns.keys()))
COLUMNS: dict[str, type] = {
    **{name: bookings.c[name].type.python_type for name in _OF_BOOKING},
    "room_id": str,
    "room_expires_at": int,
    "message_id": str,
    "notification_id": str,
    "event_id": str,
    "event_retry_at": int,
    **{f"{stage.value}_due_at": int for stage in STAGES},
}
"""The columns of the flat row, in its order: those of the booking first."""


@dataclass(frozen=True, slots=True)
class _Given:
    """A cell that is taken from the flat row."""

    column: str


def _given(column: str) -> Any:
    if column not in COLUMNS:
        raise KeyError(column)
    return _Given(column)


def _spread() -> dict[Table, list[Row]]:
    """The rows of a booking, each cell a constant or taken from the flat row."""
    booking_id, provider_id, created_at = _given("id"), _given("provider_id"), _given("created_at")
    room_id = _given("room_id")
    room = (room_id, booking_id, provider_id, _given("customer_id"), created_at, _given("room_expires_at"))
    return {
        bookings: [tuple(_given(name) for name in _OF_BOOKING)],
        chat_rooms: [room],
        chat_messages: [system_message(_given("message_id"), room_id, MessageKind.BOOKING_RECEIVED, created_at)],
        notifications: [notification_row(_given("notification_id"), provider_id, booking_id, created_at)],
        stages: [
            stage_row(booking_id, stage, _given("traffic"), created_at, _given(f"{stage.value}_due_at"))
            for stage in STAGES
        ],
        deliveries: [
            delivery_row(
                _given("event_id"), booking_id, Stage.REALTIME, provider_id, _given("event_retry_at"), created_at
            )
        ],
    }


_COUNTED = (Counter.BOOKINGS.value, _given("traffic"), _given("platform"))
"""The counter that grows with each booking."""


def insert_bookings(connection: Connection, given: Sequence[Row], *, pushing: bool) -> Iterable[Row]:
    """Insert bookings with all their rows, and count them; each is one flat row, in the order of `COLUMNS`.

    Returns, if `pushing`, the push subscriptions of their providers, without those that had expired before: provider,
    id, endpoint, public key and secret of each.
    """
    if connection.dialect.name != "sqlite":
        written = driver.run(connection, _postgresql_text(pushing), (recordset(COLUMNS, given),))
        return cast("Iterable[Row]", written)
    for some in pieces(given):
        driver.run(connection, f"INSERT INTO making {values(some)}", flat(some))
    if not pushing:
        return ()
    providers = tuple({row[_PROVIDER] for row in given})
    text = _subscriptions_text(", ".join("?" * len(providers)), "?")
    return cast("Iterable[Row]", driver.run(connection, text, (*providers, min(row[_CREATED_AT] for row in given))))


_PROVIDER, _CREATED_AT = map(list(COLUMNS).index, ("provider_id", "created_at"))


def _subscriptions_text(providers: str, at: str) -> str:
    """The query for the push subscriptions of these providers that had not expired at a time."""
    return (
        "SELECT provider_id, id, endpoint, p256dh, auth FROM push_subscriptions"  # noqa: S608 - expressions of ours
        f" WHERE provider_id IN ({providers}) AND (expires_at IS NULL OR expires_at > {at})"
    )


def sqlite_setup() -> tuple[str, ...]:
    """What a connection that writes needs to have run: a view of its own, whose trigger spreads what is inserted."""
    nothing = ", ".join(f"NULL AS {name}" for name in COLUMNS)
    inserts = [f"INSERT INTO {_target(table)} VALUES ({_cells(row, 'NEW')})" for table, row in _rows()]  # noqa: S608 - names and constants of ours
    counted = f"INSERT INTO {_target(counters)} VALUES ({_cells(_COUNTED, 'NEW')}, 1) {add_clause(counters)}"  # noqa: S608 - as above
    return (
        f"CREATE TEMP VIEW making AS SELECT {nothing}",
        f"CREATE TEMP TRIGGER making_spread INSTEAD OF INSERT ON making BEGIN {'; '.join([*inserts, counted])}; END",
    )


@cache
def _postgresql_text(pushing: bool) -> str:  # noqa: FBT001 - a key of the cache
    given = f"SELECT * FROM {recordset_clause(COLUMNS)}"  # noqa: S608 - names alone
    parts = [f"INSERT INTO {_target(table)} SELECT {_cells(row, 'given')} FROM given" for table, row in _rows()]  # noqa: S608 - as above
    by = ", ".join(_cell(cell, "given") for cell in _COUNTED if isinstance(cell, _Given))
    counts = f"SELECT {_cells(_COUNTED, 'given')}, count(*) FROM given GROUP BY {by} ORDER BY {by}"  # noqa: S608 - as above
    parts.append(f"INSERT INTO {_target(counters)} {counts} {add_clause(counters)}")
    named = ", ".join(f"part_{number} AS ({part})" for number, part in enumerate(parts))
    there = "(SELECT min(created_at) FROM given)"
    found = _subscriptions_text("SELECT provider_id FROM given", there) if pushing else "SELECT 1 WHERE FALSE"
    return f"WITH given AS ({given}), {named} {found}"


def _rows() -> Iterator[tuple[Table, Row]]:
    return ((table, row) for table, rows in _spread().items() for row in rows)


def _cells(row: Row, source: str) -> str:
    return ", ".join(_cell(cell, source) for cell in row)


def _target(table: Table) -> str:
    return f"{table.name} ({', '.join(table.columns.keys())})"


def _cell(cell: Any, source: str) -> str:
    if isinstance(cell, _Given):
        return f"{source}.{cell.column}"
    if cell is None:
        return "NULL"
    return str(cell) if isinstance(cell, int) else "'" + str(cell).replace("'", "''") + "'"
