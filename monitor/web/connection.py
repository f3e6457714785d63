"""HTTP connections with bounds: how large the head of a request may be, and how long a request may take to arrive."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from monitor.web.problems import MEDIA_TYPE, problem

NO_HANDSHAKE = (
    "This is no opening handshake of WebSocket, version 13 (RFC 6455): a request of its own, without a body, "
    f"of at most {MAX_NUM_HEADERS} headers and {MAX_LINE_LENGTH} bytes a line."
)
_KEY_BYTES = 16
"""Of the key that a client sends with its handshake."""


_TRAILERS: Any = deque(maxlen=0)
"""Where the trailers of a body go, which nothing here has a use for: uvicorn would add them to the headers."""


class _RefusedError(Exception):
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
        self._unread = 0
        """Bytes since the head, or since the last piece of a body: of what only frames it, and of trailers."""
        self._in_head = False
        self._whole = True
        self._arriving: RequestResponseCycle | None = None
        """Of the request whose body is on its way."""
        self._answering: RequestResponseCycle | None = None
        """Of the request that is being answered, or was last; those behind it wait in `pipeline`."""
        self._deaf = False
        """Whether what still comes is of no interest."""
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
        if self._deaf:
            return
        self._whole = False
        self._received += len(data)
        self._unread += len(data)
        super().data_received(data)
        if self._whole or self.transport.is_closing():
            self._disarm()
        elif (self._received if self._in_head else self._unread) > self.head_limit_bytes:
            self._refuse(*self._too_large())
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.arrival_seconds, self._expire)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        self._whole = False
        self._arriving = None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request is here."""
        self._in_head = False
        self._unread = 0
        if self._received > self.head_limit_bytes:
            head = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if head > self.head_limit_bytes:
                self._fault = self._too_large()
                raise _RefusedError
        if self.parser.should_upgrade() and not self._should_upgrade() and _has_body(self.headers):
            self._fault = HTTPStatus.BAD_REQUEST, "A request with a body asks for no other protocol (Upgrade)."
            raise _RefusedError
        before: RequestResponseCycle | None = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._arriving = self.cycle
            self.headers = _TRAILERS
            self.cycle.transport = cast("asyncio.Transport", _Joining(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        """A piece of a body is here."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is here as a whole."""
        self._whole = True
        self._received = 0
        self._arriving = None
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over; what comes now has no end to wait for. A bad handshake would never be answered."""
        self._whole = True
        if self._answer_is_due() or not _is_handshake(self.scope):
            self._refuse(HTTPStatus.BAD_REQUEST, NO_HANDSHAKE)
            return
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed."""
        _ = msg
        self._refuse(*self._fault)

    def _unsupported_upgrade_warning(self) -> None:
        """Stay with HTTP/1.1, for one answer: what the client has sent behind its request, the parser has dropped."""
        self._deaf = True
        self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _answer_is_due(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def _expire(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"A request arrives within {self.arrival_seconds:g} s.")

    def _too_large(self) -> tuple[HTTPStatus, str]:
        detail = f"Request line and headers have at most {self.head_limit_bytes} bytes."
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer what is arriving in place of the application, and close.

        Those that came before are answered first, and then it closes without a word: a refusal in the place of their
        answers would say that nothing came of them.
        """
        if self.transport.is_closing():
            return
        self._deaf = self._whole = True
        self._disarm()
        refused = self._arriving
        if self.pipeline and self.pipeline[0][0] is refused:
            self.pipeline.popleft()
        if self._answer_is_due() and self._answering is not refused:
            last = self.pipeline[0][0] if self.pipeline else self._answering
            cast("RequestResponseCycle", last).keep_alive = False
            self.flow.pause_reading()
            return
        if refused is None or not refused.response_started:
            self.transport.write(refusal(status, detail))
        if refused is not None:
            refused.disconnected = True
        self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def refusal(status: HTTPStatus, detail: str) -> bytes:
    """A problem as the last answer of a connection, as it is sent."""
    body = bytes(problem(status, detail).body)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


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


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)


def _is_handshake(scope: Any) -> bool:
    """Whether a request can open a WebSocket: RFC 6455, section 4.2.1."""
    headers = dict(scope["headers"])
    try:
        key = base64.b64decode(headers.get(b"sec-websocket-key", b""), validate=True)
    except ValueError:
        return False
    of_version = headers.get(b"sec-websocket-version") == b"13"
    return scope["method"] == "GET" and of_version and len(key) == _KEY_BYTES
