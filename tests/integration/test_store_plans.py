"""What runs each second costs what is open or due, never what has happened before: the databases' own plans say so."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import recorded
from support.store import NOON, TERMS, migrated

from monitor.domain.due import DueStage
from monitor.domain.intake import IntakeRules, take_in
from monitor.domain.times import HOUR, MINUTE
from monitor.domain.vocabulary import Stage, Traffic
from monitor.pipeline.making import plan
from monitor.store import bookings, inbox, journeys
from monitor.store.bookings import MakeBooking
from monitor.store.deliveries import ClaimDue, ParkUnheard, find_dead, missed_events
from monitor.store.evidence import IDS_A_QUERY, read
from monitor.store.judging import find_due
from monitor.store.lifecycle import ExpireUnanswered
from monitor.store.repairs import find_overdue
from monitor.store.retention import Prune, Retention
from monitor.store.snapshot import read_snapshot
from monitor.store.subscriptions import CloseAll, OpenSubscription, last_sign_of_life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from monitor.store.commands import Command

NOW = NOON + MINUTE
HISTORY = ("bookings", "stages", "deliveries", "notifications", "chat_rooms", "live_subscriptions", "sli_minutes")
"""Tables that grow with all that ever happened."""


def due(stage: Stage, count: int) -> list[DueStage]:
    """Stages that are due, each of a booking and a provider of its own."""
    return [DueStage(f"b-{one}", stage, Traffic.REAL, f"t-{one}", "c-1", NOON, NOW, None) for one in range(count)]


COMMANDS: dict[str, tuple[Command[Any], str]] = {
    "claim": (ClaimDue(Stage.REALTIME, NOW, 1000, 500), "ix_deliveries_due"),
    "claim for providers": (ClaimDue(Stage.REALTIME, NOW, 1000, 500, ("t-1", "t-2")), "ix_deliveries_due"),
    "park": (ParkUnheard(NOW, 500), "ix_deliveries_due"),
    "expire": (ExpireUnanswered(NOW, 500), "ix_bookings_awaiting"),
    "subscribe": (OpenSubscription("s-1", "t-1", "websocket", "r-1", NOW), "ix_deliveries_open"),
    "close all": (CloseAll(NOW), "ix_live_subscriptions_"),
    "prune": (Prune(Retention(NOON, NOON, NOON, 0, 0), 500), "ix_bookings_synthetic"),
}
QUERIES: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], str]] = {
    "due": (find_due, (NOW, 500), {}, "ix_stages_undecided"),
    "overdue": (find_overdue, (NOON, 500), {}, "ix_stages_(overdue|bad)"),
    "snapshot": (read_snapshot, (NOW, HOUR), {}, "ix_deliveries_open"),
    "snapshot of the overdue": (read_snapshot, (NOW, HOUR), {}, "ix_stages_(overdue|bad)"),
    "dead": (find_dead, (None, None), {}, "ix_deliveries_open"),
    "dead of a stage": (find_dead, (Stage.PUSH, None), {}, "ix_deliveries_open"),
    "listened": (read, (due(Stage.REALTIME, 2),), {"pushing": True}, "ix_live_subscriptions_provider_id"),
    "pushed": (read, (due(Stage.NOTIFICATION, 2),), {"pushing": True}, "ix_push_subscriptions_provider_id"),
    "missed events": (
        missed_events,
        ("t-1",),
        {"after": "", "seen": None, "last_seen": None, "limit": 500},
        "ix_deliveries_open",
    ),
    "events after": (
        missed_events,
        ("t-1",),
        {"after": "", "seen": "a", "last_seen": "b", "limit": 500},
        "ix_deliveries_target_id",
    ),
    "bookings": (bookings.page, (), {"provider_id": None, "status": None, "before": None, "limit": 50}, "bookings"),
    "bookings of a provider": (
        bookings.page,
        (),
        {"provider_id": "t-1", "status": None, "before": "x", "limit": 50},
        "ix_bookings_provider_id_id",
    ),
    "recent journeys": (
        journeys.recent_ids,
        (),
        {"provider_id": None, "traffic": None, "before": "x", "limit": 50},
        "bookings",
    ),
    "inbox": (inbox.page, ("t-1",), {"before": "x", "unread": False, "limit": 50}, "ix_notifications_provider_id_id"),
    "last sign of life": (last_sign_of_life, (), {}, "bookings"),
}


FINISHED = (
    """INSERT INTO bookings (id, platform, traffic, provider_id, provider_name, customer_id, customer_name, status,
        provider_response_status, response_deadline, created_at, updated_at)
       SELECT 'h-' || g, 'embedded', 'real', 't-' || g % 500, 'x', 'c-' || g, 'x', 'completed', 'confirmed', g, g, g
       FROM generate_series(1, 20000) g""",
    """INSERT INTO stages (booking_id, stage, traffic, created_at, due_at, outcome, reason, evidence_at, judged_at,
        repairs)
       SELECT id, kind, traffic, created_at, created_at, 'good', 'on_time', 1, 1, 0
       FROM bookings, unnest(ARRAY['chat_room', 'message', 'notification', 'realtime']) kind WHERE id LIKE 'h-%'""",
    """INSERT INTO deliveries (id, booking_id, stage, target, state, attempts, created_at, delivered_at,
        attempts_before)
       SELECT id, id, 'realtime', provider_id, 'delivered', 1, 1, 1, 0 FROM bookings WHERE id LIKE 'h-%'""",
    """INSERT INTO notifications (id, provider_id, booking_id, type, title, message, created_at)
       SELECT id, provider_id, id, 'new_booking', 'x', 'x', 1 FROM bookings WHERE id LIKE 'h-%'""",
    """INSERT INTO live_subscriptions (id, provider_id, transport, replica, opened_at, closed_at)
       SELECT id, provider_id, 'websocket', 'r-1', created_at, created_at FROM bookings WHERE id LIKE 'h-%'""",
    "ANALYZE",
)
"""A history for PostgreSQL, whose plans depend on how much of a table a statement wants."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with ExitStack() as opened:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/store.db"
        else:
            url = opened.enter_context(request.getfixturevalue("postgres").fresh_database())
        engine = opened.enter_context(migrated(url))
        with engine.begin() as connection:
            MakeBooking.execute(connection, [booking(number) for number in range(20)])
            if request.param == "postgresql":
                for statement in FINISHED:
                    connection.exec_driver_sql(statement.replace("%", "%%"))
        yield engine


def booking(number: int) -> MakeBooking:
    asked = {"provider_id": f"t-{number % 2}", "provider_name": "Ayu", "customer_id": "c-1", "customer_name": "Sam"}
    new = take_in(asked, now=NOON, rules=IntakeRules())
    return plan(new, now=NOON, terms=TERMS, traceparent=None).command


@pytest.mark.parametrize("what", COMMANDS)
def test_a_command_finds_what_it_needs_by_an_index(engine: Engine, what: str) -> None:
    command, index = COMMANDS[what]
    expect_no_scan(engine, lambda connection: command.execute(connection, [command]), index)


@pytest.mark.parametrize("what", QUERIES)
def test_a_query_finds_what_it_needs_by_an_index(engine: Engine, what: str) -> None:
    query, positional, named, index = QUERIES[what]
    expect_no_scan(engine, lambda connection: query(connection, *positional, **named), index)


@pytest.mark.parametrize("stage", Stage)
def test_evidence_for_many_stages_takes_no_more_queries_than_for_one(engine: Engine, stage: Stage) -> None:
    with engine.connect() as connection:
        asked = []
        for count in (1, IDS_A_QUERY):
            with recorded(engine) as found:
                read(connection, due(stage, count), pushing=True)
            asked.append(len(found.statements))
    assert asked[0] == asked[1] <= 3


def expect_no_scan(engine: Engine, run: Callable[[Connection], object], index: str) -> None:
    """Expect that an index is used, and that no statement goes over all of a table that holds history."""
    with engine.connect() as connection:
        with recorded(engine) as found:
            run(connection)
        connection.rollback()
        if connection.dialect.name == "postgresql":
            # of a table that is empty here a scan is the cheapest; what matters is whether there is another way
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plans = found.plans(connection)
        connection.rollback()
    told = "\n\n".join(plans)
    assert re.search(index, told), told
    assert not [line for one in plans for line in one.splitlines() if scans_history(line)], told


def scans_history(line: str) -> bool:
    """Whether a line of a plan says that a table is read from one end to the other.

    To walk along an index in the order that is asked for, until the page is full, is no scan of the table, nor is
    reading a partial index.
    """
    on_sqlite = re.match(
        r"SCAN (\w+)(?! USING (COVERING )?INDEX (sqlite_autoindex_bookings_1|ix_\w+_(open|overdue)))", line
    )
    on_postgresql = re.search(r"Seq Scan on (\w+)", line)
    found = on_sqlite or on_postgresql
    return found is not None and found.group(1) in HISTORY
