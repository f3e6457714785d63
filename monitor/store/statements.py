"""Statements that run for every booking, compiled once to the driver's own text.

SQLAlchemy's compiled cache is fast, but on the hot path it still costs more than the row; a prepared text
with plain tuples costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, literal
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

Row = tuple[Any, ...]

_POSTGRESQL_TYPES: dict[type, str] = {str: "text", int: "bigint"}


def is_one_of(column: Column[str], *values: str) -> ColumnElement[bool]:
    """A condition with its values in the text: the planner needs them to see that a partial index holds the rows."""
    return column.in_([literal(value, literal_execute=True) for value in values])


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row], *, skip_existing: bool = False) -> int:
    """Insert rows, each with the values of all columns in the table's order. Returns how many were inserted."""
    text = _insert_text(table, "ON CONFLICT DO NOTHING" if skip_existing else "")
    return run_many(connection, text, rows)


def add_counts(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Add to counters: rows are key columns followed by the numbers to add, in the table's order.

    Rows are sorted so that two writers lock them in the same order.
    """
    run_many(connection, _add_text(table), sorted(rows))


def update_rows(
    connection: Connection, table: Table, changed: tuple[str, ...], rows: Sequence[Row], *, only_where: str
) -> int:
    """Change columns of rows: each row has the new values, then its primary key. Returns how many were changed.

    `only_where` is a condition in SQL on the row as it is before. PostgreSQL gets all rows in one statement, as
    one array for each column: that takes it half the time of one statement for each row.
    """
    if connection.dialect.name == "sqlite" or not rows:
        return run_many(connection, _update_text(table, changed, only_where), rows)
    arrays = tuple(map(list, zip(*rows, strict=True)))
    return connection.exec_driver_sql(_update_from_arrays_text(table, changed, only_where), arrays).rowcount


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
    """Run one statement for many rows; `?` marks a parameter on every database. Returns the rows it touched."""
    if not rows:
        return 0
    if connection.dialect.name != "sqlite":
        text = text.replace("?", "%s")
    return connection.exec_driver_sql(text, list(rows)).rowcount


def array_marks(types: Iterable[type]) -> str:
    """PostgreSQL's marks for parameters that are arrays, one for each column, of Python's types."""
    return ", ".join(f"%s::{_POSTGRESQL_TYPES[kind]}[]" for kind in types)


@cache
def _insert_text(table: Table, tail: str) -> str:
    columns = ", ".join(column.name for column in table.columns)
    marks = ", ".join("?" for _ in table.columns)
    return f"INSERT INTO {table.name} ({columns}) VALUES ({marks}) {tail}"  # noqa: S608 - names of our own tables


def add_clause(table: Table) -> str:
    """The end of an INSERT into counters that adds where the row is there already."""
    keys = ", ".join(column.name for column in table.primary_key.columns)
    counts = [column.name for column in table.columns if not column.primary_key]
    changes = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in counts)
    return f"ON CONFLICT ({keys}) DO UPDATE SET {changes}"


@cache
def _add_text(table: Table) -> str:
    return _insert_text(table, add_clause(table))


@cache
def _update_text(table: Table, changed: tuple[str, ...], only_where: str) -> str:
    changes = ", ".join(f"{name} = ?" for name in changed)
    mine = " AND ".join(f"{column.name} = ?" for column in table.primary_key.columns)
    return f"UPDATE {table.name} SET {changes} WHERE {mine} AND {only_where}"  # noqa: S608 - names of our own tables


@cache
def _update_from_arrays_text(table: Table, changed: tuple[str, ...], only_where: str) -> str:
    keys = [column.name for column in table.primary_key.columns]
    names = (*changed, *keys)
    arrays = array_marks(table.c[name].type.python_type for name in names)
    changes = ", ".join(f"{name} = given.{name}" for name in changed)
    mine = " AND ".join(f"{table.name}.{name} = given.{name}" for name in keys)
    return (
        f"UPDATE {table.name} SET {changes} FROM unnest({arrays}) AS given ({', '.join(names)})"  # noqa: S608 - names of our own tables
        f" WHERE {mine} AND {only_where}"
    )
