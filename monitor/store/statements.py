"""Statements on many rows at once, as the driver's own text with plain tuples.

SQLAlchemy's compiled cache is fast, but on the hot path it still costs more than the row. And SQLite gets all rows
in one statement where it can: between two statements the interpreter lock changes hands, which costs more still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Table, literal

from monitor.store import driver

Row = tuple[Any, ...]

_POSTGRESQL_TYPES: dict[type, str] = {str: "text", int: "bigint", float: "double precision"}


def is_one_of(column: Column[str], *values: str) -> ColumnElement[bool]:
    """A condition with its values in the text: the planner needs them to see that a partial index holds the rows."""
    return column.in_([literal(value, literal_execute=True) for value in values])


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row], *, skip_existing: bool = False) -> int:
    """Insert rows, each with the values of all columns in the table's order. Returns how many were inserted."""
    return _insert(connection, table, rows, "ON CONFLICT DO NOTHING" if skip_existing else "")


def add_counts(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Add to counters: rows are key columns followed by the numbers to add, in the table's order; each key once.

    Rows are sorted so that two writers lock them in the same order.
    """
    _insert(connection, table, sorted(rows), add_clause(table))


def update_rows(
    connection: Connection, table: Table, changed: tuple[str, ...], rows: Sequence[Row], *, only_where: str = "TRUE"
) -> int:
    """Change columns of rows: each row has the new values, then its primary key. Returns how many were changed.

    `only_where` is a condition in SQL on the row as it is before.
    """
    if not rows:
        return 0
    names = (*changed, *_keys(table))
    if connection.dialect.name != "sqlite":
        text = _update_from_recordset_text(table, changed, only_where)
        return int(driver.run(connection, text, (recordset(names, rows),)).rowcount)
    return sum(
        driver.run(connection, _update_from_values_text(table, changed, only_where, some), flat(some)).rowcount
        for some in pieces(rows)
    )


def lock_rows(
    connection: Connection, table: Table, names: tuple[str, ...], keys: Iterable[str], *, only_where: str = "TRUE"
) -> Iterable[Row]:
    """Read columns of the rows with these primary keys, locked until the transaction ends.

    They are locked in the order of their keys. `only_where` is a condition in SQL.
    """
    text = _lock_text(table, names, only_where, connection.dialect.name)
    given = list(keys)
    rows: Iterable[Row] = driver.run(
        connection, text, (orjson.dumps(given).decode() if connection.dialect.name == "sqlite" else given,)
    )
    return rows


def upsert(
    connection: Connection, table: Table, row: dict[str, Any], *, keep_larger: Column[Any] | None = None
) -> None:
    """Insert a row or put its values over the row with the same key.

    With `keep_larger` an existing row is only replaced by one whose value in that column is larger.
    """
    keys = _keys(table)
    changes = ", ".join(f"{name} = excluded.{name}" for name in row if name not in keys)
    where = "" if keep_larger is None else f" WHERE excluded.{keep_larger.name} > {table.name}.{keep_larger.name}"
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    driver.run(
        connection,
        f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({', '.join([mark] * len(row))})"  # noqa: S608 - our names
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}{where}",
        tuple(row.values()),
    )


def _insert(connection: Connection, table: Table, rows: Sequence[Row], tail: str) -> int:
    """Insert many rows in one statement, or on SQLite in few."""
    if not rows:
        return 0
    if connection.dialect.name != "sqlite":
        text = _insert_from_recordset_text(table, tail)
        return int(driver.run(connection, text, (recordset(_columns(table), rows),)).rowcount)
    return sum(
        driver.run(connection, f"{_insert_into(table)} {values(some)} {tail}", flat(some)).rowcount
        for some in pieces(rows)
    )


ROWS_A_STATEMENT = 500
"""Rows that one statement takes at most: SQLite allows it 32,766 parameters."""


def pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows into as many as one statement of SQLite takes."""
    return (rows[at : at + ROWS_A_STATEMENT] for at in range(0, len(rows), ROWS_A_STATEMENT))


def values(rows: Sequence[Row]) -> str:
    """SQLite's VALUES clause for these rows."""
    return _values(len(rows), len(rows[0]))


@lru_cache(maxsize=256)
def _values(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


def flat(rows: Sequence[Row]) -> Row:
    """The parameters of that clause."""
    return tuple([cell for row in rows for cell in row])


def recordset(names: Iterable[str], rows: Sequence[Row]) -> str:
    """The parameter of `recordset_clause`: rows with the values of these columns."""
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows]).decode()


def recordset_clause(columns: Mapping[str, type]) -> str:
    """PostgreSQL's FROM clause for rows, under the name of `given`, that come as one parameter.

    As JSON: the driver would render an array for each column cell by cell in Python, which took longer than all else.
    """
    described = ", ".join(f"{name} {_POSTGRESQL_TYPES[kind]}" for name, kind in columns.items())
    return f"json_to_recordset(%s::json) AS given ({described})"


@cache
def _columns(table: Table) -> tuple[str, ...]:
    return tuple(map(plain, table.columns.keys()))


@cache
def _keys(table: Table) -> tuple[str, ...]:
    return tuple(map(plain, table.primary_key.columns.keys()))


def plain(name: str) -> str:
    """A name of SQLAlchemy's as a mere text: JSON can have no other for a key."""
    return str.__str__(name)


@cache
def _insert_into(table: Table) -> str:
    return f"INSERT INTO {table.name} ({', '.join(_columns(table))})"


@cache
def add_clause(table: Table) -> str:
    """The end of an INSERT into counters that adds where the row is there already."""
    keys = ", ".join(_keys(table))
    counts = [column.name for column in table.columns if not column.primary_key]
    changes = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in counts)
    return f"ON CONFLICT ({keys}) DO UPDATE SET {changes}"


def _update_from_values_text(table: Table, changed: tuple[str, ...], only_where: str, rows: Sequence[Row]) -> str:
    """SQLite names the columns of VALUES `column1` and so on."""
    names = (*changed, *_keys(table))
    given = {name: f"given.column{number}" for number, name in enumerate(names, 1)}
    return _update_text(table, changed, f"({values(rows)}) AS given", given, only_where)


@cache
def _update_from_recordset_text(table: Table, changed: tuple[str, ...], only_where: str) -> str:
    names = (*changed, *_keys(table))
    source = recordset_clause({name: table.c[name].type.python_type for name in names})
    return _update_text(table, changed, source, {name: f"given.{name}" for name in names}, only_where)


@cache
def _lock_text(table: Table, names: tuple[str, ...], only_where: str, dialect: str) -> str:
    """SQLite has one writer, which holds the lock that there is; its list is JSON."""
    (key,) = _keys(table)
    one_of, lock = ("IN (SELECT value FROM json_each(?))", "") if dialect == "sqlite" else ("= ANY(%s)", " FOR UPDATE")
    return f"SELECT {', '.join(names)} FROM {table.name} WHERE {key} {one_of} AND {only_where} ORDER BY {key}{lock}"  # noqa: S608 - our names


@cache
def _insert_from_recordset_text(table: Table, tail: str) -> str:
    columns = {column.name: column.type.python_type for column in table.columns}
    names = ", ".join(f"given.{name}" for name in columns)
    return f"{_insert_into(table)} SELECT {names} FROM {recordset_clause(columns)} {tail}"  # noqa: S608 - names alone


def _update_text(table: Table, changed: tuple[str, ...], source: str, given: Mapping[str, str], only_where: str) -> str:
    changes = ", ".join(f"{name} = {given[name]}" for name in changed)
    mine = " AND ".join(f"{table.name}.{name} = {given[name]}" for name in _keys(table))
    return f"UPDATE {table.name} SET {changes} FROM {source} WHERE {mine} AND {only_where}"  # noqa: S608 - our names
