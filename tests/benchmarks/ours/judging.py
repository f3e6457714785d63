"""Judging what is due, as the service does each second.

A job on stdin: `database` (a store), `stages` (how many are to be due in it).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.booking import PROVIDERS, one, pattern
from benchmarks.ours.writer_groups import Unobserved
from benchmarks.peers.raw_sqlite import Writer as RawWriter
from benchmarks.processes import BenchmarkError
from benchmarks.service import sqlite_url
from monitor.audit.judge import Judge
from monitor.domain.times import MINUTE, SECOND
from monitor.platforms.embedded import EmbeddedPlatform
from monitor.settings import Settings
from monitor.store.engine import parse_url, reading_engine, writing_engine
from monitor.store.readers import Readers
from monitor.store.writer import Writer
from monitor.telemetry.tracing import Sampling, Tracing

GROUP = 100


def make_due(path: Path, stages: int) -> None:
    """Add bookings of a minute ago, whose stages are all due and not judged."""
    writer = RawWriter(path)
    made_at = time.time_ns() // 1_000_000 - MINUTE
    bookings = stages // len(pattern()["stages"])
    made = [one(f"t-{number % PROVIDERS}", f"c-{number}", made_at) for number in range(bookings)]
    for at in range(0, bookings, GROUP):
        writer.commit(made[at : at + GROUP])
    writer.close()


async def run(job: dict[str, Any]) -> dict[str, float]:
    """Judge them all, and give the seconds that it took."""
    path = Path(job["database"])
    make_due(path, job["stages"])
    settings = Settings.model_construct()
    url = parse_url(sqlite_url(path))
    reading = Readers(
        reading_engine(url, settings.reader_connections), settings.reader_connections, settings.store_timeout
    )
    writer = Writer(
        writing_engine(url),
        Unobserved(),
        queue_limit=settings.writer_queue_limit,
        group_limit=settings.writer_group_limit,
    )
    writer.start()
    judge = Judge(
        readers=reading,
        writer=writer,
        platform=EmbeddedPlatform(reading, writer, round(settings.chat_room_lifetime * SECOND)),
        tracing=Tracing(Sampling.from_environment({}), None),
        now=lambda: time.time_ns() // 1_000_000,
        settle=round(settings.settle * SECOND),
    )
    begun = time.perf_counter()
    judged = await judge.run(None)
    spent = time.perf_counter() - begun
    await writer.stop()
    await reading.stop()
    if judged != job["stages"]:
        raise BenchmarkError(f"{judged} of {job['stages']} stages were judged")
    return {"seconds": spent}


if __name__ == "__main__":
    json.dump(asyncio.run(run(json.load(sys.stdin))), sys.stdout)
