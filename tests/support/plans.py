"""How a database goes about the statements that a piece of code really runs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


@dataclass
class Recorded:
    """The statements that went to the database while this was open, each with one set of its parameters."""

    statements: list[tuple[str, Any]] = field(default_factory=list)

    def plans(self, connection: Connection) -> list[str]:
        """How the database goes about each."""
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        found = []
        for statement, parameters in self.statements:
            rows = connection.exec_driver_sql(explain + statement, parameters)
            found.append("\n".join([statement, *(str(row[-1]) for row in rows)]))
        return found


@contextmanager
def recorded(engine: Engine) -> Iterator[Recorded]:
    """Record what an engine's connections are asked to run, without beginnings and ends of transactions."""
    found = Recorded()

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool) -> None:  # noqa: FBT001 - SQLAlchemy's signature
        if not statement.startswith("BEGIN"):
            found.statements.append((statement, parameters[0] if executemany else parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)
