"""HTTP connections with bounds: how large the head of a request may be, and how long a request may take to arrive."""

from __future__ import annotations

import asyncio
import base64
from http import HTTPStatus
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from monitor.web.problems import MEDIA_TYPE, problem

_KEY_BYTES = 16
"""Of the key that a client sends with its handshake."""


class _HeadTooLargeError(Exception):
    """Ends the parsing of a request."""


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, which has neither of these bounds, and answers what it cannot read in plain text."""

    head_limit_bytes: ClassVar[int] = 32 * 1024
    """Of request line and headers together."""
    arrival_seconds: ClassVar[float] = 20
    """For a request to arrive whole, headers and body."""
    idle_seconds: ClassVar[float] = 10
    """For a new connection to say something."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._received = 0
        self._in_head = False
        self._whole = True
        self._deadline: asyncio.TimerHandle | None = None
        self._fault = HTTPStatus.BAD_REQUEST, "This is not a request of HTTP/1.1."

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, and wait for a request."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.idle_seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came. A request that does not come all at once gets a deadline."""
        self._whole = False
        self._received += len(data)
        super().data_received(data)
        if self._whole or self.transport.is_closing():
            self._disarm()
            return
        if self._in_head and self._received > self.head_limit_bytes:
            self._refuse(*self._too_large())
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.arrival_seconds, self._expire)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._whole = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is here."""
        self._in_head = False
        if self._received > self.head_limit_bytes:
            head = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if head > self.head_limit_bytes:
                self._fault = self._too_large()
                raise _HeadTooLargeError
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.transport is self.transport:
            cycle.transport = cast("asyncio.Transport", _Joining(self.transport, self.loop))

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        self._whole = True
        self._received = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; what comes now has no end to wait for. A bad handshake would never be answered."""
        self._whole = True
        if not _is_handshake(self.scope):
            self._refuse(HTTPStatus.BAD_REQUEST, "This is no opening handshake of WebSocket, version 13 (RFC 6455).")
            return
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed; where it follows requests, when these are answered: by closing."""
        _ = msg
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or (cycle.more_body and not self.pipeline):
            self._refuse(*self._fault)
            return
        last = self.pipeline[0][0] if self.pipeline else cycle
        last.keep_alive = False
        self.flow.pause_reading()

    def _expire(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not (self._in_head or cycle.response_started):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"A request arrives within {self.arrival_seconds:g} s.")
        self.transport.close()

    def _too_large(self) -> tuple[HTTPStatus, str]:
        detail = f"Request line and headers have at most {self.head_limit_bytes} bytes."
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer in place of the application, and close."""
        if self.transport.is_closing():
            return
        body = bytes(problem(status, detail).body)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Joining:
    """Where uvicorn writes a response: the head waits for the body that follows it, and both are sent as one.

    Sent by itself, it would cost a system call, and wake the client for nothing. A head that no body follows at once,
    as that of a stream, leaves when the event loop comes round.
    """

    __slots__ = ("_begun", "_loop", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._begun = False
        self._waiting = b""

    def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._waiting = data
            self._loop.call_soon(self._flush)
            return
        waiting, self._waiting = self._waiting, b""
        self._transport.write(waiting + data if waiting else data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self.write(b"")


def _is_handshake(scope: Any) -> bool:
    """Whether a request can open a WebSocket: RFC 6455, section 4.2.1."""
    headers = dict(scope["headers"])
    try:
        key = base64.b64decode(headers.get(b"sec-websocket-key", b""), validate=True)
    except ValueError:
        return False
    of_version = headers.get(b"sec-websocket-version") == b"13"
    return scope["method"] == "GET" and of_version and len(key) == _KEY_BYTES
