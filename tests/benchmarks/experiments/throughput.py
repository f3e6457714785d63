"""How many bookings a second, and against what."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

from benchmarks.model import Numbers
from benchmarks.postgres import booking_script, postgres
from benchmarks.processes import free_port, run_json, server
from benchmarks.runner import Bench, Sides
from benchmarks.service import count_bookings, expect_stored, service, sqlite_url, upgrade

CLIENTS = 32
PGBENCH_CLIENTS = 8
WARM_UP = 1.0
"""Seconds of load before the measured time."""


def saturate(port: int, seconds: float) -> dict[str, float]:
    """Make bookings from 32 busy clients."""
    return run_json("load", {"port": port, "clients": CLIENTS, "seconds": seconds, "warmup": WARM_UP})


@contextlib.contextmanager
def on_sqlite(bench: Bench) -> Iterator[Sides]:
    """The service on SQLite, and what it is compared with; each side starts anew in each round."""

    def through_service(variant: str | None = None, settings: Mapping[str, str] | None = None) -> Numbers:
        path = bench.scratch / f"store-{time.monotonic_ns()}.db"
        with service(bench.scratch, database_url=sqlite_url(path), settings=settings, variant=variant) as running:
            found = saturate(running.port, bench.seconds)
        expect_stored(count_bookings(path), int(found["accepted"]))
        return found

    def no_storage() -> Numbers:
        with service(bench.scratch, database_url="sqlite:///none", ready="/healthz", variant="no_storage") as running:
            return saturate(running.port, bench.seconds)

    def exporting() -> Numbers:
        with bare_server() as collector:
            return through_service(settings={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}"})

    def generator() -> Numbers:
        with bare_server() as port:
            return saturate(port, bench.seconds)

    @contextlib.contextmanager
    def bare_server() -> Iterator[int]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.bare_asgi", str(port), "answer"]
        with server(command, directory=bench.scratch, ready=f"http://127.0.0.1:{port}/"):
            yield port

    def alone(module: str, **job: object) -> Numbers:
        return run_json(module, {"directory": str(bench.scratch), "seconds": bench.seconds, **job})

    yield {
        "generator": generator,
        "service": through_service,
        "raw_sqlite": lambda: alone("peers.raw_sqlite", group=1),
        "dbos": lambda: alone("peers.dbos_workflow", clients=1),
        "no_storage": no_storage,
        "unobserved": lambda: through_service("unobserved"),
        "exporting": exporting,
    }


@contextlib.contextmanager
def on_postgres(bench: Bench) -> Iterator[Sides]:
    """The service on PostgreSQL, and pgbench with the same rows on the same server."""
    script = booking_script(bench.scratch / "booking.sql")
    with postgres(bench.scratch) as database:

        def through_service() -> Numbers:
            name = f"service_{time.monotonic_ns()}"
            database.create(name, tables=False)
            upgrade(database.url(name), bench.scratch)
            with service(bench.scratch, database_url=database.url(name)) as running:
                found = saturate(running.port, bench.seconds)
            stored = database.scalar(name, "SELECT count(*) FROM bookings WHERE traffic = 'real'")
            expect_stored(int(stored), int(found["accepted"]))
            return found

        def pgbench() -> Numbers:
            name = f"pgbench_{time.monotonic_ns()}"
            database.create(name, tables=True)
            seconds = max(1, round(bench.seconds + WARM_UP))
            return {"per_second": database.pgbench(name, script, clients=PGBENCH_CLIENTS, seconds=seconds)}

        yield {"service": through_service, "pgbench": pgbench}


@contextlib.contextmanager
def of_writer(bench: Bench) -> Iterator[Sides]:
    """The writer without HTTP, and sqlite3 with the same groups."""
    job = {"directory": str(bench.scratch), "seconds": bench.seconds, "group": 32}
    yield {
        "writer": lambda: run_json("ours.writer_groups", job),
        "raw_sqlite": lambda: run_json("peers.raw_sqlite", job),
    }
