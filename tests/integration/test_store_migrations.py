"""The tables that the migrations make are the tables that the queries are written for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from support.store import migrated

from monitor.store import migrations
from monitor.store.engine import parse_url, writing_engine
from monitor.store.revision import NEWEST, REVISIONS, UnknownRevisionError, create, current
from monitor.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def differences(connection: Connection) -> list[object]:
    """What Alembic would change of the database to make it as the tables are declared."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def test_the_revisions_that_are_known_are_the_history_of_the_migrations() -> None:
    history = ScriptDirectory.from_config(migrations._config()).walk_revisions()
    assert [one.revision for one in history] == list(reversed(REVISIONS))


def test_a_store_of_a_newer_release_is_left_as_it_is_and_told_by_its_revision(database_url: str) -> None:
    with migrated(database_url) as engine:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(UnknownRevisionError, match="at revision 9999, which this release does not know"):
            migrations.upgrade(engine)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
            assert set(inspect(connection).get_table_names()) > set(metadata.tables)


def test_an_upgrade_of_an_empty_database_makes_the_declared_tables(database_url: str) -> None:
    with migrated(database_url) as engine, engine.connect() as connection:
        assert differences(connection) == []


def test_a_store_that_is_made_at_once_is_one_that_needs_no_upgrade(database_url: str) -> None:
    engine = writing_engine(parse_url(database_url))
    create(engine)
    assert migrations.upgrade(engine) == (NEWEST, NEWEST)
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


def test_the_indexes_have_the_conditions_that_are_declared(database_url: str) -> None:
    """Alembic does not compare the conditions of partial indexes, and it is these that keep the service fast."""
    with migrated(database_url) as engine, engine.begin() as connection:
        by_migration = conditions(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert by_migration == conditions(connection)
        assert sum(condition is not None for condition in by_migration.values()) >= 8


def conditions(connection: Connection) -> dict[str, object]:
    """Each index of the database with its columns and its condition, as the database tells them."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        )
        return {name: " ".join(sql.split()).replace('"', "").partition(" WHERE ")[2] or None for name, sql in rows}
    rows = connection.exec_driver_sql(
        "SELECT indexrelid::regclass::text, pg_get_expr(indpred, indrelid) FROM pg_index"
        " JOIN pg_class ON pg_class.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'"
    )
    return {name: condition for name, condition in rows if name != "alembic_version_pkc"}


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    with migrated(database_url) as engine:
        assert migrations.upgrade(engine) == (NEWEST, NEWEST)


def test_an_empty_database_has_no_revision(database_url: str) -> None:
    engine = writing_engine(parse_url(database_url))
    with engine.connect() as connection:
        assert current(connection) is None
    before, after = migrations.upgrade(engine)
    assert (before, after) == (None, NEWEST)
    with engine.connect() as connection:
        assert current(connection) == after
    engine.dispose()


def test_a_downgrade_to_nothing_leaves_nothing_and_can_be_taken_back(database_url: str) -> None:
    with migrated(database_url) as engine:
        with engine.begin() as connection:
            command.downgrade(migrations._config(connection), "base")
        with engine.connect() as connection:
            assert inspect(connection).get_table_names() == ["alembic_version"]
        migrations.upgrade(engine)
        with engine.connect() as connection:
            assert differences(connection) == []


UPGRADE = """
import sys
from monitor.store import migrations
from monitor.store.engine import parse_url, writing_engine
print(*migrations.upgrade(writing_engine(parse_url(sys.argv[1]))))
"""


def test_of_several_processes_that_upgrade_at_once_one_does(database_url: str) -> None:
    upgrades = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, database_url], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = sorted(upgrade.communicate(timeout=60)[0].strip() for upgrade in upgrades)
    assert [upgrade.returncode for upgrade in upgrades] == [0, 0, 0]
    assert said == [f"{NEWEST} {NEWEST}", f"{NEWEST} {NEWEST}", f"None {NEWEST}"]
