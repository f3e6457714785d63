"""Statements and transactions in the driver's own words, for the writer.

SQLAlchemy's way of running a text costs some 30 microseconds each time, and that of a transaction as much; in a group
of one booking that is a third of all the work. Its errors are kept: whoever catches them need not know how the
statement was run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError


def open_connection(engine: Engine) -> Connection:
    """A connection that begins no transaction by itself. Raises SQLAlchemy's DBAPIError."""
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def begins_by_itself(connection: Connection) -> bool:
    """Whether a connection is none of `open_connection`."""
    return connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT"


def run(connection: Connection, text: str, parameters: tuple[Any, ...] = ()) -> Any:
    """Run a statement; returns the driver's cursor.

    Parameters are marked as the driver has it: `?` on SQLite, `%s` on PostgreSQL. Raises SQLAlchemy's DBAPIError, and
    gives the connection up when it is lost.
    """
    return _call(connection, text, _driver(connection).execute, text, parameters)


def begin(connection: Connection) -> None:
    """Begin a transaction; on SQLite as its one writer from the start. Raises as `run` does."""
    run(connection, "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "BEGIN")


def commit(connection: Connection) -> None:
    """Commit. Raises as `run` does; then it was not, or on a connection that was lost perhaps not."""
    _call(connection, "COMMIT", _driver(connection).commit)


def roll_back(connection: Connection) -> None:
    """Roll back, if there is still anything to. Raises as `run` does."""
    if not connection.invalidated:
        _call(connection, "ROLLBACK", _driver(connection).rollback)


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _call(connection: Connection, text: str, call: Callable[..., Any], *arguments: Any) -> Any:
    dialect = connection.dialect
    try:
        return call(*arguments)
    except dialect.loaded_dbapi.Error as error:
        lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            text,
            None,
            error,
            dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error
