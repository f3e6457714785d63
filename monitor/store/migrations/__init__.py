"""The history of the tables (Alembic), and bringing a store to its end."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, func, select

from monitor.store.revision import NEWEST, current

_HERE = Path(__file__).parent
_one_at_a_time = threading.Lock()
"""Alembic keeps what it works on in a global."""
_LOCK = 0x626F6F6B6D6F6E
"""Any number that nobody else takes an advisory lock by."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the store to the newest revision. Returns the revisions before and after.

    Of several processes that do so at once, one upgrades and the others wait for it. Raises UnknownRevisionError.
    """
    with _one_at_a_time, engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's transaction is exclusive by itself
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        before = current(connection)
        command.upgrade(_config(connection), "head")
    return before, NEWEST
