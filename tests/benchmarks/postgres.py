"""A real PostgreSQL with the tables of the service, and pgbench on it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Integer, create_engine, text
from support.postgres import PostgresServer

from benchmarks.booking import PROVIDERS, Cell, Kind, rows
from benchmarks.processes import BenchmarkError, environment
from monitor.store.tables import metadata

MUST_BE_ON = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Databases:
    """The databases of a running server."""

    server: PostgresServer

    def url(self, database: str) -> str:
        """The address of a database, as libpq and the service read it."""
        return self.server.url(database).replace("+psycopg", "", 1)

    def create(self, database: str, *, tables: bool) -> None:
        """Make a database; with the tables of the service or empty."""
        self.server.execute(f"CREATE DATABASE {database}")
        if tables:
            engine = create_engine(self.server.url(database))
            metadata.create_all(engine)
            engine.dispose()

    def scalar(self, database: str, query: str) -> Any:
        """The one value that a query gives."""
        engine = create_engine(self.server.url(database))
        with engine.connect() as connection:
            found = connection.execute(text(query)).scalar_one()
        engine.dispose()
        return found

    def pgbench(self, database: str, script: Path, *, clients: int, seconds: int) -> float:
        """Transactions a second of a script."""
        done = subprocess.run(
            [
                *(str(self.server.programs / "pgbench"), "-n", "-f", str(script), "-M", "prepared"),
                *("-c", str(clients), "-j", "2", "-T", str(seconds), database),
            ],
            env={**environment(), **self.server.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        if done.returncode != 0 or found is None or (failed and int(failed[1])):
            raise BenchmarkError(f"pgbench: {done.stdout[-300:]} {done.stderr[-300:]}")
        return float(found[1])


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[Databases]:
    """Run a durable PostgreSQL, with its data below `directory`, until the block ends."""
    folder = directory / f"pg{time.monotonic_ns()}"
    folder.mkdir(mode=0o755)
    with PostgresServer(folder, durable=True) as server:
        databases = Databases(server)
        for setting in MUST_BE_ON:
            value = databases.scalar("postgres", f"SHOW {setting}")
            if value != "on":
                raise BenchmarkError(f"PostgreSQL is not durable: {setting} = {value}")
        yield databases


def booking_script(path: Path) -> Path:
    """Write a pgbench script that makes one booking, with all of its rows, in one statement."""
    ids: set[str] = set()

    def fill(cell: Cell) -> str:
        if cell.kind is Kind.ID:
            ids.add(f"id{cell.value}")
            return f"ids.id{cell.value}"
        if cell.kind is Kind.AT:
            return f"ids.now + {cell.value}"
        if cell.kind is Kind.PROVIDER:
            return "ids.provider"
        return "ids.customer" if cell.kind is Kind.CUSTOMER else _literal(cell.value)

    parts = []
    for table, made in rows(fill).items():
        types = {
            column.name: "bigint" if isinstance(column.type, Integer) else "text"
            for column in metadata.tables[table].columns
        }
        selects = [
            f"SELECT {', '.join(f'CAST({value} AS {types[column]})' for column, value in row.items())} FROM ids"  # noqa: S608 - values are ours
            for row in made
        ]
        parts.append(f"made_{table} AS (INSERT INTO {table} ({', '.join(made[0])}) {' UNION ALL '.join(selects)})")
    values = [f"CAST(uuidv7() AS text) AS {name}" for name in sorted(ids)]
    values.append(f"'t-' || floor(random() * {PROVIDERS}) AS provider, 'c-' || floor(random() * 1000000) AS customer")
    values.append("CAST(extract(epoch FROM now()) * 1000 AS bigint) AS now")
    head = f"WITH ids AS MATERIALIZED (SELECT {', '.join(values)})"
    script = f"{head}, {', '.join(parts)} SELECT id0 FROM ids;\n"  # noqa: S608 - values are ours
    if ":" in script:
        raise BenchmarkError("pgbench takes a colon for a variable")
    path.write_text(script, encoding="utf-8")
    return path


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
