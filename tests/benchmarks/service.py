"""The service itself, as an operator would start it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError, environment, free_port, server

COMMAND = Path(sys.executable).with_name("booking-monitor")


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    port: int
    pid: int
    seconds_to_ready: float


@contextlib.contextmanager
def service(
    directory: Path,
    *,
    database_url: str,
    ready: str = "/readyz",
    settings: Mapping[str, str] | None = None,
    variant: str | None = None,
) -> Iterator[Service]:
    """Run it with its defaults, apart from the store and the settings that are given (without their prefix).

    `variant` is a module of `ours` that runs it changed.
    """
    command = [str(COMMAND), "serve"] if variant is None else [sys.executable, "-m", f"benchmarks.ours.{variant}"]
    port = free_port()
    chosen = {"PORT": str(port), "DATABASE_URL": database_url, **(settings or {})}
    with server(
        command,
        directory=directory,
        ready=f"http://127.0.0.1:{port}{ready}",
        extra={_variable(name): value for name, value in chosen.items()},
    ) as started:
        yield Service(port, started.pid, started.seconds_to_ready)


def upgrade(database_url: str, directory: Path) -> None:
    """Make the tables of a store that the service does not make by itself."""
    done = subprocess.run(
        [str(COMMAND), "db", "upgrade"],
        cwd=directory,
        env=environment({_variable("DATABASE_URL"): database_url}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"db upgrade: {done.stderr[-400:]}")


def sqlite_url(path: Path) -> str:
    """The address of an embedded store."""
    return f"sqlite:///{path}"


def count_bookings(path: Path) -> int:
    """Real bookings in an embedded store whose service has stopped."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found: int = connection.execute("SELECT count(*) FROM bookings WHERE traffic = 'real'").fetchone()[0]
        return found


def expect_stored(stored: int, accepted: int) -> None:
    """Refuse a measurement whose bookings are not all in the store."""
    if stored != accepted:
        raise BenchmarkError(f"{accepted} bookings were accepted and {stored} are in the store")


def _variable(name: str) -> str:
    return name if name.startswith("OTEL_") else f"BOOKING_MONITOR_{name}"
