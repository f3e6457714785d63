"""WebSocket connections with a way that is shorter than ASGI's, for what there is much of.

An event to a hundred subscribers is a hundred sendings and a hundred acknowledgements. Each would wake a task, pass
through the layers of the web framework, and have its frame built anew, while the last subscriber waits.
"""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN

from monitor.web.connection import NO_HANDSHAKE, refusal

if TYPE_CHECKING:
    import asyncio
    from asyncio.transports import BaseTransport
    from collections.abc import Callable

    from uvicorn._types import ASGISendEvent
    from websockets.http11 import Request

_EXTENSION = "booking_monitor.direct"
"""Under which the application finds its connection among the extensions of its ASGI scope."""
_FRAMES_REMEMBERED = 64
"""An event goes to all its subscribers at once; then comes the next one."""
_TURN_BYTES = 16 * 1024
"""Of what one client has sent, that are read before it is everybody else's turn."""
_BYTES_PER_SECOND = 64 * 1024
"""That are read from one client in the long run. The acknowledgement of an event takes about 80."""
_BURST_BYTES = 256 * 1024
"""That may come at once, after a time with less."""
_WAITING_BYTES = 1024 * 1024
"""That may wait to be read before the connection is cut."""


class DirectWay:
    """A connection as the application may use it besides ASGI."""

    def __init__(self, connection: DirectProtocol) -> None:
        self.take: Callable[[str], bool] | None = None
        """Is given each text message as it comes; one for which it returns False takes the usual way."""
        self._connection = connection

    def send(self, text: str) -> bool:
        """Send a text message at once. False if something is in its way, and nothing was sent."""
        connection = self._connection
        free = connection.conn.state is OPEN and connection.writable.is_set() and not connection.transport.is_closing()
        if free:
            connection.transport.write(_text_frame(text))
        return free


def direct_way(scope: Any) -> DirectWay:
    """The way past ASGI, of the connection with this scope."""
    way: DirectWay = scope["extensions"][_EXTENSION]
    return way


class DirectProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's protocol, with this way; and no client can keep it busy, or have it write errors to the log.

    A frame takes six bytes, and some ten microseconds to read: who sends what the network takes would stop everybody
    else. So clients are read in turns, and no faster than they have reason to send; what is more waits with them.
    """

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._waiting = b""
        self._turn: asyncio.Handle | None = None
        self._allowance: float = _BURST_BYTES
        self._allowed_at = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Read what came, or let it wait for its turn."""
        self._waiting += data
        if self._turn is None:
            self._read()
        else:
            self.transport.pause_reading()  # uvicorn goes on as soon as the application has taken a message
            if len(self._waiting) > _WAITING_BYTES:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End. What was not read yet is lost with it: events that it would acknowledge are sent again."""
        if self._turn is not None:
            self._turn.cancel()
        super().connection_lost(exc)

    def handle_parser_exception(self) -> None:
        """End a connection that broke the protocol; one that is not open yet, without a word."""
        if self.conn.close_sent is None:
            self.transport.abort()
        else:
            super().handle_parser_exception()

    def _read(self) -> None:
        was_waiting, self._turn = self._turn is not None, None
        if self.transport.is_closing():
            return
        now = self.loop.time()
        allowance = self._allowance + (now - self._allowed_at) * _BYTES_PER_SECOND
        some, self._waiting = self._waiting[:_TURN_BYTES], self._waiting[_TURN_BYTES:]
        self._allowance, self._allowed_at = min(allowance, _BURST_BYTES) - len(some), now
        super().data_received(some)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse()
        if self._waiting or self._allowance < 0:
            self.transport.pause_reading()
            self._turn = self.loop.call_later(max(0.0, -self._allowance / _BYTES_PER_SECOND), self._read)
        elif was_waiting and not self.read_paused:
            self.transport.resume_reading()

    def _refuse(self) -> None:
        """Answer a handshake that came as a whole and could not be read, which nobody else does."""
        self.handshake_complete = self.close_sent = True
        self.transport.write(refusal(HTTPStatus.BAD_REQUEST, NO_HANDSHAKE))
        self.transport.close()

    def handle_connect(self, event: Request) -> None:
        """Let the application find the way."""
        super().handle_connect(event)
        self._way = DirectWay(self)
        if not self.close_sent:
            cast("dict[str, Any]", self.scope["extensions"])[_EXTENSION] = self._way

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says; a client that went away before it was let in has nothing to be told."""
        if not self.handshake_complete and self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)

    def send_receive_event_to_app(self) -> None:
        """Offer a message that is here as a whole to the application, or leave it to ASGI."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                text = b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA, "a text is UTF-8")
                self.handle_parser_exception()
                return
            if self._way.take is not None and self._way.take(text):
                return
        super().send_receive_event_to_app()


@functools.lru_cache(_FRAMES_REMEMBERED)
def _text_frame(text: str) -> bytes:
    """A text message as a server sends it: one frame, not masked (RFC 6455, section 5), no extension."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
