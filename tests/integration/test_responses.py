"""How a response leaves: in how many writes, and when, seen on uvicorn with our protocol."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from monitor.web.connection import BoundedProtocol
from monitor.web.direct import DirectProtocol, direct_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class _Recording:
    """A transport that remembers what is written to it."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve an application; yields the port, and what is written to connections, as it is written."""
    writes: list[bytes] = []

    class Protocol(BoundedProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Recording(transport, writes))  # type: ignore[arg-type]  # all that is used of one

    server = uvicorn.Server(
        uvicorn.Config(app, http=Protocol, ws=DirectProtocol, port=0, lifespan="off", log_config=None)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server._serve([listening]))
        yield listening.getsockname()[1], writes
        server.should_exit = True
        await task


def message(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def ask(port: int, said: bytes = GET) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


@pytest.mark.parametrize("body", [b"", b"whole", b"x" * 300_000], ids=["empty", "short", "long"])
async def test_the_head_of_an_answer_leaves_with_its_body(body: bytes) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"content-length", str(len(body)).encode())]})
        await send(message(body))

    async with serving(app) as (port, writes):
        for asked in (1, 2):
            reader, writer = await ask(port, GET * 2)
            for _ in range(2):
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                assert head.startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(len(body)) == body
            writer.close()
            assert len(writes) == 2 * asked


async def test_the_head_of_a_stream_does_not_wait_for_its_first_piece() -> None:
    go_on = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        await go_on.wait()
        for piece in (b"one", b"two", b""):
            await send(message(piece, more=bool(piece)))

    async with serving(app) as (port, _):
        reader, writer = await ask(port)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
        go_on.set()
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        writer.close()


async def test_a_client_that_asks_whether_to_go_on_is_told_before_it_sends_its_body() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send({**START, "headers": [(b"content-length", str(len(body)).encode())]})
        await send(message(body))

    async with serving(app) as (port, _):
        said = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await ask(port, said)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"four")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(4) == b"four"
        writer.close()


async def test_the_last_answer_of_a_connection_is_whole() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"connection", b"close"), (b"content-length", b"3")]})
        await send(message(b"end"))

    async with serving(app) as (port, writes):
        reader, writer = await ask(port)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.endswith(b"\r\n\r\nend")
        assert writes == [answer]
        writer.close()


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.fixture
def short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has to arrive within a tenth of a second."""
    monkeypatch.setattr(BoundedProtocol, "arrival_seconds", 0.1)


@pytest.mark.usefixtures("short_of_time")
@pytest.mark.parametrize("asked", [1, 3])
@pytest.mark.parametrize(
    "behind",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
        b"GET / HTTP/1.1\r\nHost: loc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n123",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense",
        HANDSHAKE,
        HANDSHAKE.replace(b"13", b"12"),
    ],
    ids=["garbage", "a head too large", "half a head", "half a body", "a bad body", "a handshake", "a bad handshake"],
)
@pytest.mark.parametrize("begun", [False, True], ids=["pending", "begun"])
async def test_what_comes_behind_requests_is_not_answered_in_their_place(
    *, behind: bytes, asked: int, begun: bool
) -> None:
    go_on = asyncio.Event()
    paths: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        head = {**START, "headers": [(b"content-length", b"3")]}
        if begun:
            await send(head)
        await go_on.wait()
        if not begun:
            await send(head)
        await send(message(b"end"))

    async with serving(app) as (port, _):
        reader, writer = await ask(port, GET.replace(b"/ ", b"/asked ", 1) * asked + behind)
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, go_on.set)  # after what is behind is refused, or has run out of time
        answers = await asyncio.wait_for(reader.read(), 10)
        assert answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200 ") == answers.count(b"end") == asked
        assert paths == ["/asked"] * asked
        writer.close()


async def test_a_client_that_goes_away_before_it_is_let_in_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        direct_way(scope)._connection.transport.close()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})

    async with serving(app) as (port, _):
        reader, writer = await ask(port, HANDSHAKE)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
