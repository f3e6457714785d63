"""Peer: a WebSocket server that sends messages with the time of their sending, and nothing else. `PORT RATE BYTES`."""

from __future__ import annotations

import asyncio
import sys
import time
from http import HTTPStatus

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


async def main(port: int, rate: float, size: int) -> None:
    """Send `rate` messages of `size` bytes a second to whoever connects, until terminated."""

    def alive(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(HTTPStatus.OK, "ok\n") if request.path == "/healthz" else None

    async def send(connection: ServerConnection) -> None:
        interval = 1 / rate
        due = time.perf_counter()
        try:
            while True:
                await connection.send(str(time.perf_counter_ns()).ljust(size))
                due += interval
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
        except ConnectionClosed:
            return

    async with serve(send, "127.0.0.1", port, compression=None, process_request=alive) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
