"""Which tables the store has, and making them where there are none, without loading what could change them."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from monitor.store.tables import metadata

NEWEST = "0001"
"""The revision that this release works with: the head of `migrations`."""


def current(connection: Connection) -> str | None:
    """The revision that the store has, or None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def create(engine: Engine) -> None:
    """Make the tables of an empty store: those that all migrations together would have made."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": NEWEST})
