"""Peer: publishes messages with the time of their sending on NATS core. `URL RATE BYTES SECONDS`."""

from __future__ import annotations

import asyncio
import sys
import time

import nats
import uvloop

SUBJECT = "bench"


async def main(url: str, rate: float, size: int, seconds: float) -> None:
    """Publish `rate` messages of `size` bytes a second."""
    client = await nats.connect(url)
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        await client.publish(SUBJECT, str(time.perf_counter_ns()).ljust(size).encode())
    await client.drain()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
