"""Peer: what one writes first. A booking is committed with sqlite3, then sent to one subscriber after the other.

`PORT DATABASE`. Same routes and frames as the service; acknowledgements are read and dropped.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect

from benchmarks.peers.bare_asgi import commit
from benchmarks.peers.raw_sqlite import Writer, create


def application(writer: Writer) -> FastAPI:
    """Build the application."""
    app = FastAPI()
    subscribers: dict[str, list[WebSocket]] = defaultdict(list)

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/bookings")
    async def make(request: Request) -> Response:
        body = commit(writer, await request.body())
        booking = json.loads(body)["booking"]
        event = json.dumps({"type": "booking.created", "id": booking["id"], "booking": booking}, separators=(",", ":"))
        for subscriber in subscribers[booking["provider_id"]]:
            await subscriber.send_text(event)
        return Response(body, 201, media_type="application/json")

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket, provider_id: str) -> None:
        await websocket.accept()
        subscribers[provider_id].append(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            subscribers[provider_id].remove(websocket)

    return app


def main(port: str, database: str) -> None:
    """Serve until terminated."""
    create(Path(database))
    app = application(Writer(Path(database)))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    # FastAPI resolves the annotations of the routes at module level.
    main(*sys.argv[1:])
