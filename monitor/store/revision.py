"""Which tables the store has, and making them where there are none, without loading what could change them."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

from monitor.store.tables import metadata

REVISIONS = ("0001",)
"""Those that this release knows, in their order: the history of `migrations`."""
NEWEST = REVISIONS[-1]
"""The revision that this release works with."""


class UnknownRevisionError(Exception):
    """The store has a revision that this release does not know: a newer one has upgraded it."""


def current(connection: Connection) -> str | None:
    """The revision that the store has, or None when it is empty. Raises UnknownRevisionError."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    if found is not None and found not in REVISIONS:
        raise UnknownRevisionError(
            f"the store is at revision {found}, which this release does not know: a newer release has upgraded it;"
            " run that one, or restore a backup from before the upgrade"
        )
    return found


def create(engine: Engine) -> None:
    """Make the tables of an empty store: those that all migrations together would have made."""
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": NEWEST})
