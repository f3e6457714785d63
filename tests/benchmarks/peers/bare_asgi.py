"""Peer: the least that an HTTP server can do with a booking, on the same uvicorn. `PORT MODE DATABASE`.

`answer` answers at once: how fast the load generator can be. `commit` parses the booking and commits its rows with
sqlite3 before it answers: what a durable POST costs at least. `GET` always answers 200.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.booking import one, pattern
from benchmarks.peers.raw_sqlite import Writer, create

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def application(writer: Writer | None) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Build the ASGI application; without a writer it answers at once."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        content = b"{}"
        if writer is not None and scope["method"] == "POST":
            content = commit(writer, body)
        status = 201 if scope["method"] == "POST" else 200
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def commit(writer: Writer, body: bytes) -> bytes:
    """Write one booking durably and give the answer."""
    asked = json.loads(body)
    made = one(asked["provider_id"], asked["customer_id"], time.time_ns() // 1_000_000)
    writer.commit([made])
    return json.dumps({"booking": {**asked, "id": made["bookings"][0][0]}}, separators=(",", ":")).encode()


def main(port: str, mode: str, database: str = "") -> None:
    """Serve until terminated."""
    writer = None
    if mode == "commit":
        create(Path(database))
        writer = Writer(Path(database))
        pattern()
    uvicorn.run(application(writer), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
