"""How long it takes until the provider has the booking on the screen."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.nats import nats_server

from benchmarks.model import Numbers
from benchmarks.postgres import postgres
from benchmarks.processes import free_port, run_json, server
from benchmarks.runner import Bench, Sides
from benchmarks.service import service, sqlite_url, upgrade

WARM_UP = 1.0
RATE = 200.0
"""Bookings, or messages, a second."""
PROVIDERS = 50
"""Providers with one live subscriber each; the bookings go round."""
FAN_OUT = 100
"""Subscribers of the one provider."""
FAN_OUT_RATE = 20.0
FRAME_BYTES = 700
"""Size of the peers' messages: about that of a `booking.created` frame."""


def _load(port: int, subscribe_port: int, seconds: float, *, fan_out: bool = False) -> dict[str, float]:
    job = {
        "port": port,
        "subscribe_port": subscribe_port,
        "providers": 1 if fan_out else PROVIDERS,
        "subscribers": FAN_OUT if fan_out else 1,
        "rate": FAN_OUT_RATE if fan_out else RATE,
        # the 99th percentile of the fan-out is taken over bookings, so that it needs more seconds
        "seconds": max(seconds, 5 * seconds if fan_out else seconds),
        "warmup": WARM_UP,
    }
    return run_json("realtime_load", job)


def _one_way(seconds: float, where: Mapping[str, object]) -> dict[str, float]:
    return run_json(
        "peers.one_way", {"seconds": seconds, "warmup": WARM_UP, "rate": RATE, "size": FRAME_BYTES, **where}
    )


def _store(bench: Bench) -> Path:
    return bench.scratch / f"store-{time.monotonic_ns()}.db"


@contextlib.contextmanager
def of_frame(bench: Bench) -> Iterator[Sides]:
    """From the 201 to the frame, in one process."""

    def through_service() -> Numbers:
        with service(bench.scratch, database_url=sqlite_url(_store(bench))) as running:
            return _load(running.port, running.port, bench.seconds)

    def raw_websocket() -> Numbers:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.raw_websocket", str(port), str(RATE), str(FRAME_BYTES)]
        with server(command, directory=bench.scratch, ready=f"http://127.0.0.1:{port}/healthz"):
            return _one_way(bench.seconds, {"port": port})

    yield {"service": through_service, "raw_websocket": raw_websocket}


@contextlib.contextmanager
def of_replicas(bench: Bench) -> Iterator[Sides]:
    """From the 201 of one replica to the frame of another one: PostgreSQL and NATS between them."""
    with nats_server() as nats, postgres(bench.scratch) as database:

        def through_service() -> Numbers:
            name = f"replicas_{time.monotonic_ns()}"
            database.create(name, tables=False)
            settings = {"NATS_URL": nats.url, "PROVIDER_TOKEN_SECRET": "s" * 32}
            url = database.url(name)
            upgrade(url, bench.scratch)
            with (
                service(bench.scratch, database_url=url, settings=settings) as first,
                service(bench.scratch, database_url=url, settings=settings) as second,
            ):
                return _load(first.port, second.port, bench.seconds)

        yield {"service": through_service, "nats": lambda: _one_way(bench.seconds, {"nats": nats.url})}


@contextlib.contextmanager
def of_fan_out(bench: Bench) -> Iterator[Sides]:
    """From the POST to the last of many subscribers of one provider."""

    def through_service() -> Numbers:
        settings = {"SUBSCRIPTIONS_PER_PROVIDER": str(2 * FAN_OUT)}
        with service(bench.scratch, database_url=sqlite_url(_store(bench)), settings=settings) as running:
            return _load(running.port, running.port, bench.seconds, fan_out=True)

    def naive() -> Numbers:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.naive_fanout", str(port), str(_store(bench))]
        with server(command, directory=bench.scratch, ready=f"http://127.0.0.1:{port}/healthz"):
            return _load(port, port, bench.seconds, fan_out=True)

    yield {"service": through_service, "naive": naive}
