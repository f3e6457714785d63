"""Statements that run for every booking, written once in the driver's own text.

SQLAlchemy's compiled cache is fast, but on the hot path it still costs more than the row; a prepared text
with plain tuples costs next to nothing. Many rows go to SQLite as one statement run many times, and to
PostgreSQL as one statement that takes an array for each column: each saves what is dear there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Float, Integer, Table, Text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.types import TypeEngine

Row = tuple[Any, ...]

_POSTGRESQL_TYPES: dict[type[TypeEngine[Any]], str] = {
    Text: "text",
    Integer: "integer",
    BigInteger: "bigint",
    Float: "double precision",
}


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row], *, skip_existing: bool = False) -> int:
    """Insert rows, each with the values of all columns in the table's order. Returns how many were inserted."""
    tail = "ON CONFLICT DO NOTHING" if skip_existing else ""
    return _run(connection, _insert_text(table, connection.dialect.name, tail), rows)


def add_counts(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Add to counters: rows are key columns followed by the numbers to add, in the table's order, each key once.

    Rows are sorted so that two writers lock them in the same order.
    """
    _run(connection, _add_text(table, connection.dialect.name), sorted(rows))


def update_rows(
    connection: Connection, table: Table, changed: tuple[str, ...], rows: Sequence[Row], *, only_where: str
) -> int:
    """Change columns of rows: each row has the new values, then its primary key. Returns how many were changed.

    `only_where` is a condition in SQL on the row as it is before.
    """
    return _run(connection, _update_text(table, connection.dialect.name, changed, only_where), rows)


def upsert(
    connection: Connection, table: Table, row: dict[str, Any], *, keep_larger: Column[Any] | None = None
) -> None:
    """Insert a row or put its values over the row with the same key.

    With `keep_larger` an existing row is only replaced by one whose value in that column is larger.
    """
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    statement = insert(table).values(row)
    keys = [column.name for column in table.primary_key.columns]
    changes = {name: statement.excluded[name] for name in row if name not in keys}
    where = None if keep_larger is None else statement.excluded[keep_larger.name] > keep_larger
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes, where=where))


def run_many(connection: Connection, text: str, rows: Sequence[Row]) -> int:
    """Run one statement for one row after the other; `?` marks a parameter on every database.

    Returns how many rows it touched.
    """
    if not rows:
        return 0
    if connection.dialect.name != "sqlite":
        text = text.replace("?", "%s")
    return connection.exec_driver_sql(text, list(rows)).rowcount


def _run(connection: Connection, text: str, rows: Sequence[Row]) -> int:
    """Run one of the texts below for all rows."""
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(text, list(rows)).rowcount
    return connection.exec_driver_sql(text, tuple(map(list, zip(*rows, strict=True)))).rowcount


def _marks(columns: Iterable[Column[Any]], dialect_name: str) -> str:
    """A parameter for each column: a value on SQLite, an array of values on PostgreSQL."""
    if dialect_name == "sqlite":
        return ", ".join("?" for _ in columns)
    return ", ".join(f"%s::{_POSTGRESQL_TYPES[type(column.type)]}[]" for column in columns)


@cache
def _insert_text(table: Table, dialect_name: str, tail: str) -> str:
    columns = ", ".join(column.name for column in table.columns)
    marks = _marks(table.columns, dialect_name)
    source = f"VALUES ({marks})" if dialect_name == "sqlite" else f"SELECT * FROM unnest({marks})"
    return f"INSERT INTO {table.name} ({columns}) {source} {tail}"


@cache
def _add_text(table: Table, dialect_name: str) -> str:
    keys = ", ".join(column.name for column in table.primary_key.columns)
    changes = ", ".join(
        f"{column.name} = {table.name}.{column.name} + excluded.{column.name}"
        for column in table.columns
        if not column.primary_key
    )
    return _insert_text(table, dialect_name, f"ON CONFLICT ({keys}) DO UPDATE SET {changes}")


@cache
def _update_text(table: Table, dialect_name: str, changed: tuple[str, ...], only_where: str) -> str:
    keys = [column.name for column in table.primary_key.columns]
    if dialect_name == "sqlite":
        changes = ", ".join(f"{name} = ?" for name in changed)
        mine = " AND ".join(f"{name} = ?" for name in keys)
        return f"UPDATE {table.name} SET {changes} WHERE {mine} AND {only_where}"  # noqa: S608 - names of our own tables
    marks = _marks([table.c[name] for name in (*changed, *keys)], dialect_name)
    given = f"unnest({marks}) AS given ({', '.join((*changed, *keys))})"
    changes = ", ".join(f"{name} = given.{name}" for name in changed)
    mine = " AND ".join(f"{table.name}.{name} = given.{name}" for name in keys)
    return f"UPDATE {table.name} SET {changes} FROM {given} WHERE {mine} AND {only_where}"  # noqa: S608 - names of our own tables
