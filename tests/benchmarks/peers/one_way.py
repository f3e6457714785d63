"""Receives messages that carry the time of their sending, and says how long they were on their way.

The performance counter is one clock for all processes of a machine. A job on stdin: `port` of a raw WebSocket server,
or `nats` (URL); `seconds`, `warmup` (seconds), `rate` and `size` of what is sent.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Any

import nats
import uvloop
from nats.aio.msg import Msg

from benchmarks.model import percentile
from benchmarks.peers.nats_publisher import SUBJECT
from benchmarks.processes import BenchmarkError, environment
from benchmarks.websocket import Socket


def by_websocket(job: dict[str, Any]) -> list[float]:
    """Latencies in seconds over a raw WebSocket."""
    client = Socket(job["port"], "/")
    found: list[float] = []
    wanted = int((job["seconds"] + job["warmup"]) * job["rate"])
    while len(found) < wanted:
        found += [(time.perf_counter_ns() - int(text)) / 1e9 for text in client.receive()]
    return found


async def by_nats(job: dict[str, Any]) -> list[float]:
    """Latencies in seconds from a publisher in another process over a NATS server."""
    client = await nats.connect(job["nats"])
    found: list[float] = []

    async def receive(message: Msg) -> None:
        found.append((time.perf_counter_ns() - int(message.data)) / 1e9)

    await client.subscribe(SUBJECT, cb=receive)
    await client.flush()
    seconds = job["seconds"] + job["warmup"]
    publisher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.peers.nats_publisher"),
        *(job["nats"], str(job["rate"]), str(job["size"]), str(seconds)),
        env=environment(),
    )
    if await publisher.wait() != 0:
        raise BenchmarkError("the NATS publisher failed")
    await client.drain()
    if len(found) != int(seconds * job["rate"]):
        raise BenchmarkError(f"{len(found)} of {int(seconds * job['rate'])} messages came")
    return found


if __name__ == "__main__":
    task = json.load(sys.stdin)
    gc.disable()
    ways = by_websocket(task) if "port" in task else uvloop.run(by_nats(task))
    ways = sorted(ways[int(task["warmup"] * task["rate"]) :])
    json.dump({"p50": percentile(ways, 0.50) * 1000, "p99": percentile(ways, 0.99) * 1000}, sys.stdout)
