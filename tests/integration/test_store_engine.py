"""What a connection to the store promises, whatever the server's or the library's defaults are."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from monitor.store.engine import parse_url, reading_engine, writing_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine import Engine
    from support.postgres import PostgresServer

FULL = 2
"""SQLite's number of `synchronous = FULL`: each commit waits for the disk, also in a WAL."""


@contextmanager
def connected(engine: Engine) -> Iterator[Connection]:
    """A new connection of an engine that is not used any more afterwards."""
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def told(engine: Engine, question: str) -> str:
    """What a new connection says of one of its settings."""
    with connected(engine) as connection:
        return str(connection.exec_driver_sql(question).scalar_one())


def test_the_connection_that_writes_to_sqlite_waits_for_the_disk_keeps_references_and_is_patient(
    sqlite_url: str,
) -> None:
    engine = writing_engine(parse_url(sqlite_url))
    assert told(engine, "PRAGMA journal_mode") == "wal"
    assert told(engine, "PRAGMA synchronous") == str(FULL)
    assert told(engine, "PRAGMA foreign_keys") == "1"
    assert told(engine, "PRAGMA busy_timeout") == "5000"


def test_sqlite_takes_no_row_that_refers_to_nothing(sqlite_url: str) -> None:
    engine = writing_engine(parse_url(sqlite_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql("CREATE TABLE children (parent INTEGER REFERENCES parents (id))")
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO children VALUES (1)")


@pytest.fixture
def careless_url(postgres: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of a PostgreSQL database whose commits do not wait for the disk."""
    with postgres.fresh_database() as url:
        postgres.execute(f"ALTER DATABASE {parse_url(url).database} SET synchronous_commit = off")
        yield url


def test_a_commit_on_postgresql_waits_for_the_disk_though_the_database_is_set_not_to(careless_url: str) -> None:
    url = parse_url(careless_url)
    assert told(reading_engine(url, 1), "SHOW synchronous_commit") == "off"
    assert told(writing_engine(url), "SHOW synchronous_commit") == "on"


def test_what_the_url_asks_of_postgresql_is_kept_unless_it_would_lose_commits(careless_url: str) -> None:
    options = "-c application_name=ours -c synchronous_commit=off -c default_transaction_read_only=off"
    url = parse_url(careless_url).update_query_dict({"options": options})
    for engine in (writing_engine(url), reading_engine(url, 1)):
        assert told(engine, "SHOW application_name") == "ours"
    assert told(writing_engine(url), "SHOW synchronous_commit") == "on"
    assert told(reading_engine(url, 1), "SHOW default_transaction_read_only") == "on"


def test_a_connection_that_reads_cannot_write(database_url: str) -> None:
    url = parse_url(database_url)
    with writing_engine(url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id INTEGER)")
    with pytest.raises(DBAPIError), connected(reading_engine(url, 1)) as connection:
        connection.exec_driver_sql("INSERT INTO notes VALUES (1)")
