"""The booking that every side is asked to make: as a request, and as the rows that stand for it in the store.

The rows are those that the service itself plans for that request, with all of their columns, so that the peers write
neither less nor more. Ids, times and persons are then replaced, which is cheaper than planning anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any

from sqlalchemy import select
from uuid_utils import uuid7

from monitor.domain.intake import IntakeRules, take_in
from monitor.domain.judgement import Grace
from monitor.pipeline.making import Terms, plan
from monitor.store import tables
from monitor.store.bookings import MakeBooking
from monitor.store.engine import parse_url, writing_engine

PROVIDERS = 1000
"""Bookings are spread over this many providers."""

TERMS = Terms(
    grace=Grace(),
    response_deadline=300_000,
    chat_room_lifetime=1_500_000,
    acknowledge_timeout=2_000,
    push_timeout=10_000,
)
"""The defaults of the service, in milliseconds."""

TABLES = ("bookings", "chat_rooms", "chat_messages", "notifications", "deliveries", "stages")
"""The tables of a booking, in an order that satisfies the foreign keys."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""The rows of one booking, by table."""
Tuples = dict[str, list[tuple[Any, ...]]]
"""The same without the names of the columns."""


class Kind(Enum):
    """What stands in a cell of a row."""

    ID = auto()
    """The n-th of the ids that a booking needs."""
    AT = auto()
    """So many milliseconds after the booking is made."""
    PROVIDER = auto()
    CUSTOMER = auto()
    CONSTANT = auto()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a row, to be filled in for each booking."""

    kind: Kind
    value: Any = None


Fill = Callable[[Cell], Any]


def body(number: int, provider: str | None = None) -> dict[str, Any]:
    """The JSON object that a customer's client would post."""
    return {
        "provider_id": provider or f"t-{number % PROVIDERS}",
        "provider_name": "Ayu Lestari",
        "provider_type": "therapist",
        "customer_id": f"c-{number}",
        "customer_name": "Sam Example",
        "customer_phone": "+628123456789",
        "service_type": "massage",
        "duration_minutes": 60,
        "price_minor": 35_000_000,
        "currency": "IDR",
        "location": "Jalan Pantai 17, Canggu",
        "scheduled_for": "2030-12-01T14:00:00Z",
        "notes": "Second floor, please ring twice",
    }


def post(number: int, port: int, provider: str | None = None) -> bytes:
    """The bytes of a request that makes a booking."""
    content = json.dumps(body(number, provider), separators=(",", ":")).encode()
    head = (
        f"POST /v1/bookings HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def command(number: int, now: int) -> MakeBooking:
    """What the service would hand to its writer for a booking made at `now` (ms since the epoch)."""
    new = take_in(body(number), now=now, rules=IntakeRules())
    return plan(new, now=now, terms=TERMS, traceparent=None).command


@cache
def pattern() -> Mapping[str, Sequence[Mapping[str, Cell]]]:
    """The rows of one booking, by table, as the service plans them."""
    now = time.time_ns() // 1_000_000
    engine = writing_engine(parse_url("sqlite://"))
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        MakeBooking.execute(connection, [command(0, now)])
        written = {name: connection.execute(select(tables.metadata.tables[name])).all() for name in TABLES}
    ids: dict[Any, int] = {}
    asked = body(0)

    def cell(column: str, value: Any) -> Cell:
        if column == "id" or value in ids:
            return Cell(Kind.ID, ids.setdefault(value, len(ids)))
        if value == asked["provider_id"]:
            return Cell(Kind.PROVIDER)
        if value == asked["customer_id"]:
            return Cell(Kind.CUSTOMER)
        if isinstance(value, int) and now <= value <= now + 10 * TERMS.chat_room_lifetime:
            return Cell(Kind.AT, value - now)
        return Cell(Kind.CONSTANT, value)

    found: dict[str, list[dict[str, Cell]]] = {}
    for name in TABLES:
        columns = [column.name for column in tables.metadata.tables[name].columns]
        found[name] = [
            {column: cell(column, value) for column, value in zip(columns, row, strict=True)} for row in written[name]
        ]
    return found


def rows(fill: Fill) -> Rows:
    """The rows of one booking, each cell as `fill` gives it."""
    return {name: [{column: fill(cell) for column, cell in row.items()} for row in pattern()[name]] for name in TABLES}


def one(provider: str, customer: str, now: int) -> Tuples:
    """The rows of a booking made at `now` (ms since the epoch), as parameters for `insert_statements`."""
    ids: dict[int, str] = {}

    def fill(cell: Cell) -> Any:
        if cell.kind is Kind.CONSTANT:
            return cell.value
        if cell.kind is Kind.AT:
            return now + cell.value
        if cell.kind is Kind.ID:
            if cell.value not in ids:
                ids[cell.value] = str(uuid7())
            return ids[cell.value]
        return provider if cell.kind is Kind.PROVIDER else customer

    return {name: [tuple([fill(cell) for cell in row.values()]) for row in pattern()[name]] for name in TABLES}


def tuples(start: int, count: int) -> Iterator[Tuples]:
    """Bookings from number `start` on."""
    now = time.time_ns() // 1_000_000
    for number in range(start, start + count):
        yield one(f"t-{number % PROVIDERS}", f"c-{number}", now)


def insert_statements() -> dict[str, str]:
    """SQLite's parametrised INSERT for each table of a booking."""
    return {
        name: f"INSERT INTO {name} ({', '.join(made[0])}) VALUES ({', '.join('?' * len(made[0]))})"  # noqa: S608 - names are ours
        for name, made in pattern().items()
    }
