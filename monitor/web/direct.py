"""WebSocket connections with a way that is shorter than ASGI's, for what there is much of.

An event to a hundred subscribers is a hundred sendings and a hundred acknowledgements. Each would wake a task, pass
through the layers of the web framework, and have its frame built anew, while the last subscriber waits.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request

_EXTENSION = "booking_monitor.direct"
"""Under which the application finds its connection among the extensions of its ASGI scope."""
_FRAMES_REMEMBERED = 64
"""An event goes to all its subscribers at once; then comes the next one."""


class DirectWay(Protocol):
    """A connection as the application may use it besides ASGI."""

    take: Callable[[str], bool] | None
    """Is given each text message as it comes; one for which it returns False takes the usual way."""

    def send(self, text: str) -> bool:
        """Send a text message at once. False if something is in its way, and nothing was sent."""
        ...


def direct_way(scope: Any) -> DirectWay:
    """The way past ASGI, of the connection with this scope."""
    way: DirectWay = scope["extensions"][_EXTENSION]
    return way


class DirectProtocol(WebSocketsSansIOProtocol):
    """Uvicorn's protocol, with this way, and without a word in the log about what a client does wrong."""

    def handle_connect(self, event: Request) -> None:
        """Let the application find the way."""
        super().handle_connect(event)
        self._way = _Way(self)
        if not self.close_sent:
            cast("dict[str, Any]", self.scope["extensions"])[_EXTENSION] = self._way

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


class _Way:
    def __init__(self, connection: DirectProtocol) -> None:
        self.take: Callable[[str], bool] | None = None
        self._connection = connection

    def send(self, text: str) -> bool:
        connection = self._connection
        free = connection.conn.state is OPEN and connection.writable.is_set() and not connection.transport.is_closing()
        if free:
            connection.transport.write(_text_frame(text))
        return free


@functools.lru_cache(_FRAMES_REMEMBERED)
def _text_frame(text: str) -> bytes:
    """A text message as a server sends it: one frame, not masked (RFC 6455, section 5), no extension."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
