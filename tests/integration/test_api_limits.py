"""Bounds on what a caller may send and on what the service takes at once, against the real service."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from support.bookings import booking, make, problem, row_counts
from support.overload import SMALL_QUEUE, TURNED_AWAY, overload
from support.service import RunningService, running_service

from monitor.web.connection import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

BODY_LIMIT = 65_536
JSON = {"Content-Type": "application/json"}
ROUTES_WITH_A_BODY = (
    "POST /v1/bookings",
    "POST /v1/deliveries/redrive",
    "POST /v1/realtime/acknowledgements",
    "PUT /v1/providers/t-1/push-subscriptions",
    "DELETE /v1/providers/t-1/push-subscriptions",
    "POST /v1/chat-rooms/00000000-0000-0000-0000-000000000000/messages",
)


def pieces(size: int) -> Iterator[bytes]:
    """A body whose length is not declared."""
    for _ in range(size // 8192):
        yield b" " * 8192


@pytest.mark.parametrize("route", ROUTES_WITH_A_BODY)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_of_a_megabyte_is_refused_and_nothing_is_stored(
    service: RunningService,
    client: httpx.Client,
    route: str,
    declared: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    method, path = route.split()
    before = row_counts(service.database_path)
    content: Any = b" " * 1_048_576 if declared else pieces(1_048_576)
    answer = client.request(method, path, content=content, headers=JSON)
    assert str(BODY_LIMIT) in problem(answer, 413)["detail"]
    assert row_counts(service.database_path) == before


def test_a_body_is_refused_before_it_is_all_there(service: RunningService) -> None:
    head = b"POST /v1/deliveries/redrive HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for body in (
        b"Content-Length: 1000000000\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n20000\r\n" + b" " * 0x20000,
    ):
        with speaking(service, head + body) as connection:
            assert b" 413 " in connection.recv(65_536)


def test_the_largest_body_that_is_allowed_is_taken(client: httpx.Client) -> None:
    body = json.dumps(booking()).encode()
    answer = client.post("/v1/bookings", content=body + b" " * (BODY_LIMIT - len(body)), headers=JSON)
    assert answer.status_code == 201
    problem(client.post("/v1/bookings", content=body + b" " * (BODY_LIMIT + 1 - len(body)), headers=JSON), 413)


@pytest.mark.parametrize("route", ROUTES_WITH_A_BODY)
@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/xml", "application/jsonp", "application/json-patch+json"]
)
def test_a_body_that_is_not_said_to_be_json_is_refused(client: httpx.Client, route: str, kind: str | None) -> None:
    method, path = route.split()
    headers = {} if kind is None else {"Content-Type": kind}
    told = problem(client.request(method, path, content=json.dumps(booking()), headers=headers), 415)
    assert "application/json" in told["detail"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ; x=y"])
def test_json_may_be_said_in_many_ways(client: httpx.Client, kind: str) -> None:
    answer = client.post("/v1/bookings", content=json.dumps(booking()), headers={"Content-Type": kind})
    assert answer.status_code == 201


def test_fields_that_are_not_ours_may_be_nested_and_not_without_end(client: httpx.Client) -> None:
    extra: Any = "deep"
    for _ in range(100):
        extra = [extra]
    assert make(client, nested=extra)["booking"]["extra"] == {"nested": extra}
    for _ in range(400):
        extra = [extra]
    problem(client.post("/v1/bookings", json=booking(nested=extra)), 422)


def speaking(service: RunningService, said: bytes) -> socket.socket:
    """A bare connection to the service on which something was said."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=10)
    connection.sendall(said)
    return connection


def heard(connection: socket.socket) -> bytes:
    """All that the service answers until it closes the connection."""
    with connection:
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


@pytest.mark.parametrize(
    "said",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"POST /v1/bookings HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_with_a_problem_and_closed(service: RunningService, said: bytes) -> None:
    head, _, body = heard(speaking(service, said)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize(
    "said",
    [
        b"".join(b"X-%d: %s\r\n" % (number, b"a" * 1000) for number in range(40)) + b"\r\n",
        b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
    ids=["many", "long"],
)
def test_headers_beyond_the_bound_are_refused(service: RunningService, said: bytes) -> None:
    connection = speaking(service, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + said)
    with connection:
        head = connection.recv(65_536)
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in head


def test_what_follows_requests_and_is_none_cuts_their_answers_not_off(service: RunningService) -> None:
    body = json.dumps(booking()).encode()
    head = "POST /v1/bookings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}"
    request = head.encode() + b"\r\n\r\n" + body
    answer = heard(speaking(service, request + request + b"GARBAGE\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 201 ") == 2
    assert b"HTTP/1.1 400 " not in answer


def handshake(more: str = "", query: str = "", version: int = 13) -> bytes:
    """An opening handshake of WebSocket (RFC 6455, section 4.1), with more headers."""
    head = f"GET /v1/realtime?provider_id=t-1{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    key = f"Upgrade: websocket\r\nSec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    return f"{head}{key}{more}\r\n".encode()


@pytest.mark.parametrize(
    "said",
    [
        b"POST /v1/bookings HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: 1\r\n\r\n",
        handshake(version=12),
        handshake("Content-Length: 5\r\n") + b"hello",
        handshake("Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        handshake(f"Cookie: {'a' * 9_000}\r\n"),
        handshake("X: y\r\n" * 150),
        handshake(query="&x=" + "a" * 9_000),
    ],
    ids=["no handshake", "bad key", "old version", "body", "chunked body", "long line", "many headers", "long query"],
)
def test_a_handshake_that_is_none_is_answered_and_closed(service: RunningService, said: bytes) -> None:
    head, _, body = heard(speaking(service, said)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["status"] == 400


def test_a_handshake_of_many_headers_within_the_bound_is_answered(service: RunningService) -> None:
    with speaking(service, handshake("".join(f"X-{number}: {'a' * 250}\r\n" for number in range(100)))) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 101 ")


def post(more: str, body: bytes) -> bytes:
    """A booking, with more headers."""
    head = f"POST /v1/bookings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n"
    return head.encode() + body


def test_a_body_is_not_taken_for_a_request_where_another_protocol_is_asked_for(service: RunningService) -> None:
    before = row_counts(service.database_path)
    hidden = post(f"Content-Length: {len(json.dumps(booking()))}\r\n", json.dumps(booking()).encode())
    said = post(f"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {len(hidden)}\r\n", b"")
    for pieces_said in ([said + hidden], [said, hidden]):
        connection = speaking(service, pieces_said[0])
        for piece in pieces_said[1:]:
            connection.sendall(piece)
        answer = heard(connection)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1
    assert row_counts(service.database_path) == before


def test_a_request_that_would_rather_have_another_protocol_is_answered_in_this_one(service: RunningService) -> None:
    answer = heard(speaking(service, b"GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_what_comes_behind_a_body_is_no_header(service: RunningService) -> None:
    body = json.dumps(booking()).encode()
    said = post("Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n" % (len(body), body))
    said += b"Idempotency-Key: behind\r\n\r\n"
    made = []
    for _ in range(2):
        with speaking(service, said) as connection:
            answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 201 ")
        made.append(json.loads(answer.partition(b"\r\n\r\n")[2])["booking"]["id"])
    assert made[0] != made[1]


@pytest.mark.parametrize(
    "endless",
    [b"0\r\nX: ", b"5;"],
    ids=["trailer", "chunk extension"],
)
def test_what_frames_a_body_is_bounded_as_headers_are(service: RunningService, endless: bytes) -> None:
    with speaking(service, post("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", b"")) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(endless + b"a" * 64_000)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 431 ")


def test_a_header_that_never_ends_is_refused_while_it_still_comes(service: RunningService) -> None:
    with speaking(service, b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 64_000) as connection:
        assert b" 431 " in connection.recv(65_536)


def test_headers_within_the_bound_are_taken(client: httpx.Client) -> None:
    headers = {f"X-{number}": "a" * 1000 for number in range(30)}
    assert client.get("/healthz", headers=headers).status_code == 200


class _Quick(BoundedProtocol):
    """The same bounds in time, in fractions of a second."""

    arrival_seconds = 0.4
    idle_seconds = 0.4


@asynccontextmanager
async def counting(protocol: type[BoundedProtocol]) -> AsyncIterator[int]:
    """Run a server whose only answer is how many bytes came; yields its port."""

    async def count(scope: Any, receive: Any, send: Any) -> None:
        _ = scope
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        body = str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(count, http=protocol, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server._serve([listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving


@pytest.fixture
async def quick_port() -> AsyncIterator[int]:
    """The port of a server with quick bounds."""
    async with counting(_Quick) as port:
        yield port


@pytest.fixture
async def usual_port() -> AsyncIterator[int]:
    """The port of a server with the bounds that the service has."""
    async with counting(BoundedProtocol) as port:
        yield port


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


async def test_a_body_of_many_small_chunks_is_taken(usual_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", usual_port)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
    assert await reader.readexactly(5) == b"50000"
    writer.close()


@pytest.mark.parametrize(
    "said", [b"GET /slow HTTP/1.1\r\nHo", HEAD + b"Content-Length: 10\r\n\r\n1234"], ids=["headers", "body"]
)
async def test_a_request_that_does_not_arrive_in_time_is_ended(quick_port: int, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", quick_port)
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    writer.close()


async def test_a_request_that_trickles_in_gets_no_more_time_for_it(quick_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", quick_port)
    answer = asyncio.create_task(reader.read())
    writer.write(b"GET / HTTP/1.1\r\n")
    while not answer.done():
        writer.write(b"X: y\r\n")
        await asyncio.wait([answer], timeout=0.05)
    assert answer.result().startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_connection_that_says_nothing_is_ended(quick_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", quick_port)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_request_in_parts_that_arrives_in_time_is_answered_and_so_is_the_next(usual_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", usual_port)
    for _ in range(3):
        for part in (HEAD, b"Content-Length: 10\r\n", b"\r\n12345", b"67890"):
            writer.write(part)
            await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(2) == b"10"
    writer.close()


def test_a_caller_that_goes_away_in_the_middle_is_no_fault_of_ours(service: RunningService) -> None:
    for path in (b"/v1/bookings", b"/v1/deliveries/redrive"):
        head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % path
        speaking(service, head + b"Content-Length: 500\r\n\r\n{").close()
    with service.client() as client:
        make(client)
    assert service.log_events("request.failed") == []


def test_a_full_queue_is_answered_with_when_to_come_back_and_what_was_taken_is_kept() -> None:
    with running_service(**SMALL_QUEUE) as service, service.client() as client:
        make(client, provider_id="t-before")
        answers = overload(service, client)
        refused = [answer for answer in answers if answer.status_code != 201]
        assert len(refused) >= TURNED_AWAY
        for answer in refused:
            assert "nothing of this was stored" in problem(answer, 503)["detail"]
            assert int(answer.headers["retry-after"]) >= 1
        taken = {answer.json()["booking"]["id"] for answer in answers if answer.status_code == 201}
        kept = {one["id"] for one in client.get("/v1/bookings", params={"limit": 200}).json()["bookings"]}
        assert len(kept) == len(taken) + 1
        assert taken < kept
        make(client, provider_id="t-after")
