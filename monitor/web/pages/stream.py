"""The stream that keeps status pages up to date: the parts that have changed, as server-sent events."""

from __future__ import annotations

import asyncio
import time

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitor.service import Service
from monitor.web.pages.board import Board, Boards
from monitor.web.pages.views.layout import icon
from monitor.web.problems import problem

VIEWERS = 100
"""Streams at once, at most."""
LOOK_SECONDS = 1.0
"""Between two looks whether something has changed."""
BEAT_SECONDS = 5.0
"""After which a viewer is told the time though nothing has changed, so that it knows that it is not cut off."""
LONGEST_SECONDS = 900.0
"""Then a stream ends, and the browser asks for a new one: whoever may no longer look gets none."""
SEND_SECONDS = 30.0
"""For a message to leave over a connection that takes none."""
RETRY_MILLISECONDS = 2000


class Viewers:
    """Those who look at the status page now."""

    def __init__(self) -> None:
        self._free = VIEWERS

    def enter(self) -> bool:
        """Take a place; False when there is none."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1


class LiveStream(Response):
    """One viewer's stream."""

    media_type = "text/event-stream"

    def __init__(self, service: Service, boards: Boards, viewers: Viewers) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._service = service
        self._boards = boards
        self._viewers = viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what changes until either side goes."""
        if not self._viewers.enter():
            full = problem(
                503, "Too many look at the status page; it can still be loaded.", headers={"Retry-After": "10"}
            )
            await full(scope, receive, send)
            return
        tasks = [asyncio.create_task(self._send(send)), asyncio.create_task(_gone(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self._viewers.leave()
        for end in ended:
            if isinstance(end, Exception) and not isinstance(end, TimeoutError | OSError):
                raise end

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._write(send, f"retry: {RETRY_MILLISECONDS}\n\n", more=True)
        begun = beaten = time.monotonic()
        shown: dict[str, str] = {}
        while not self._service.stopping and time.monotonic() - begun < LONGEST_SECONDS:
            board = await self._boards.current()
            changed = {key: text for key, text in board.sections.items() if shown.get(key) != text}
            if changed or time.monotonic() - beaten >= BEAT_SECONDS:
                beaten = time.monotonic()
                shown = board.sections
                await self._write(send, message(board, changed, self._service.clock()), more=True)
            await asyncio.sleep(LOOK_SECONDS)
        await self._write(send, ": come back\n\n", more=False)

    async def _write(self, send: Send, text: str, *, more: bool) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": text.encode(), "more_body": more})


def message(board: Board, changed: dict[str, str], now: int) -> str:
    """One event: the time, how things stand, and the parts that have changed by their ids."""
    told = {"now": now, "title": board.title, "icon": icon(board.level), "parts": changed}
    return f"event: board\ndata: {orjson.dumps(told).decode()}\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
