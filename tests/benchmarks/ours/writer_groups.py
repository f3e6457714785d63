"""The writer alone: groups of commands that make bookings, handed over from an event loop as the service does.

Reads a job from stdin: `directory`, `seconds`, `group` (the most commands that one commit takes). The commands are
planned beforehand, as the rows of the peer are, and enough of them wait that each group is full.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.booking import command
from benchmarks.peers.raw_sqlite import create
from benchmarks.processes import BenchmarkError
from benchmarks.service import count_bookings, sqlite_url
from monitor.store.bookings import MakeBooking
from monitor.store.engine import parse_url, writing_engine
from monitor.store.writer import Writer

PREPARED = 1024


class Unobserved:
    """An observer of groups that takes no note."""

    def observe_group(self, commands: int, seconds: float) -> None:
        """Take no note."""

    def observe_failure(self) -> None:
        """Stop: a measurement without commits is none."""
        raise BenchmarkError("the writer could not commit")


def prepare(start: int, count: int) -> list[MakeBooking]:
    """Plan bookings from number `start` on."""
    now = time.time_ns() // 1_000_000
    return [command(number, now) for number in range(start, start + count)]


async def run(job: dict[str, Any]) -> dict[str, float]:
    """Write to a new store for a while."""
    path = Path(job["directory"]) / f"writer-{time.monotonic_ns()}.db"
    create(path)
    engine = writing_engine(parse_url(sqlite_url(path)))
    writer = Writer(engine, Unobserved(), queue_limit=PREPARED, group_limit=job["group"])
    writer.start()
    written, spent = 0, 0.0
    gc.disable()
    while spent < job["seconds"]:
        commands = prepare(written, PREPARED)
        begun = time.perf_counter()
        await asyncio.gather(*[writer.offer(command) for command in commands])
        spent += time.perf_counter() - begun
        written += PREPARED
        gc.collect()
    await writer.stop()
    engine.dispose()
    if count_bookings(path) != written:
        raise BenchmarkError("not every booking is in the store")
    return {"per_second": written / spent}


if __name__ == "__main__":
    json.dump(uvloop.run(run(json.load(sys.stdin))), sys.stdout)
