"""Connections to the store: one that writes, a few that only read."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool, QueuePool

from monitor.store import driver, spread

_BUSY_TIMEOUT_MILLISECONDS = 5_000
_CACHE_KIBIBYTES = 65_536
_CONNECT_TIMEOUT_SECONDS = 5


class StoreInUseError(Exception):
    """Another process has the embedded store open for writing."""


def parse_url(text: str) -> URL:
    """The URL of a store, with the driver that we use."""
    url = make_url(text)
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def writing_engine(url: URL) -> Engine:
    """An engine whose one connection writes. On SQLite it is the only one that ever does.

    Its errors do not show the values of a statement: they hold personal data.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args={"check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite_writer)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    return create_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        paramstyle="format",
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            # A server, database or role may have it off: then what was answered 201 could be lost in a crash.
            "options": _options(url, "-c synchronous_commit=on"),
        },
    )


def reading_engine(url: URL, connections: int) -> Engine:
    """An engine whose connections only read, each query on the state at its start."""
    if url.get_backend_name() == "sqlite":
        location = url.set(database=f"file:{quote(url.database or '')}", query={"mode": "ro", "uri": "true"})
        engine = create_engine(
            location,
            poolclass=QueuePool,
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            connect_args={"check_same_thread": False},
        )
        event.listen(engine, "connect", _prepare_sqlite_reader)
        return engine
    return create_engine(
        url,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "options": _options(url, "-c default_transaction_read_only=on"),
        },
    )


def _options(url: URL, ours: str) -> str:
    """Settings of a PostgreSQL session: those in the URL, then ours, of which the last one counts."""
    return " ".join((*url.normalized_query.get("options", ()), ours))


def _prepare_sqlite_writer(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the begin event below opens each transaction, not the driver
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MILLISECONDS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"cache_size = -{_CACHE_KIBIBYTES}",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    for statement in spread.sqlite_setup():
        connection.execute(statement)


def _prepare_sqlite_reader(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MILLISECONDS}")
    connection.execute("PRAGMA query_only = ON")


def _begin_immediate(connection: Connection) -> None:
    if driver.begins_by_itself(connection):
        driver.begin(connection)


def sqlite_version() -> str:
    """Version of the SQLite library; before 3.51.3 two writing connections can corrupt a WAL."""
    return sqlite3.sqlite_version


class EmbeddedLock:
    """Keeps a second process from writing to the same SQLite file, for as long as it is held.

    The lock is on the file itself, by whatever name it was reached; SQLite's own locks are of another kind and do not
    meet with it. Closing it ends SQLite's locks of this process, so it is released when SQLite is closed.
    """

    def __init__(self, url: URL) -> None:
        # Of a loop of links `realpath` makes a name that cannot be opened, `Path.resolve` raises RuntimeError.
        self._path = None if url.get_backend_name() != "sqlite" else Path(os.path.realpath(str(url.database)))
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises StoreInUseError if another process has it."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreInUseError(
                f"{self._path} is in use by another booking-monitor: SQLite takes one writer;"
                " stop the other one, or use PostgreSQL for several"
            ) from error
        self._descriptor = descriptor

    def lost(self) -> bool:
        """Whether the file at our path is no longer the one that we hold: what is written now goes nowhere."""
        if self._path is None or self._descriptor is None:
            return False
        held = os.fstat(self._descriptor)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return (held.st_dev, held.st_ino) != (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
