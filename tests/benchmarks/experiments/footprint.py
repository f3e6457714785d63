"""What the service costs when nobody uses it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import psutil

from benchmarks.model import Numbers
from benchmarks.processes import Started, free_port, server
from benchmarks.runner import Bench, Sides
from benchmarks.service import Service, service, sqlite_url

SETTLE = 3.0
"""Seconds after the start before memory and idling are looked at."""
IDLE = 10.0
"""Seconds over which idling is measured: each job of a second or a few seconds runs in it."""


@contextlib.contextmanager
def of_process(bench: Bench) -> Iterator[Sides]:
    """Memory (MB), start (s) and idling (% of one core); the store exists already, as at any but the first start."""
    url = sqlite_url(bench.scratch / f"footprint-{time.monotonic_ns()}.db")
    with service(bench.scratch, database_url=url):
        pass  # makes the store

    def minimal() -> AbstractContextManager[Started]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.minimal_app", str(port), str(bench.scratch / "minimal.db")]
        return server(command, directory=bench.scratch, ready=f"http://127.0.0.1:{port}/healthz")

    def measure(start: Callable[[], AbstractContextManager[Service | Started]]) -> Numbers:
        with start() as running:
            time.sleep(SETTLE)
            process = psutil.Process(running.pid)
            before = _cpu_seconds(process)
            begun = time.perf_counter()
            time.sleep(IDLE)
            idle = (_cpu_seconds(process) - before) / (time.perf_counter() - begun)
            return {"rss": _rss(process) / 1e6, "start": running.seconds_to_ready, "idle": idle * 100}

    yield {
        "service": lambda: measure(lambda: service(bench.scratch, database_url=url, ready="/healthz")),
        "minimal": lambda: measure(minimal),
    }


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    return sum(one.cpu_times().user + one.cpu_times().system for one in _family(process))


def _rss(process: psutil.Process) -> int:
    return sum(one.memory_info().rss for one in _family(process))
