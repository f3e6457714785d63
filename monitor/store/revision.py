"""Which tables the store has, without loading what could change them."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

NEWEST = "0001"
"""The revision that this release works with: the head of `migrations`."""


def current(connection: Connection) -> str | None:
    """The revision that the store has, or None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found
