"""The history of the tables (Alembic), and bringing a store to its end."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from monitor.store.revision import NEWEST, current

_HERE = Path(__file__).parent


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring the store to the newest revision. Returns the revisions before and after."""
    with engine.begin() as connection:
        before = current(connection)
        command.upgrade(_config(connection), "head")
    return before, NEWEST
