"""A local HTTP receiver that records what arrives and misbehaves on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

HANG = -1
"""Read the request, and never answer."""
CUT = -2
"""Read the request, and cut the connection."""
DRIP = -3
"""Answer one byte at a time, without end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `status` may also be HANG, CUT or DRIP."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Received:
    """One request that arrived whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    at: float
    """Seconds since the epoch."""


class WebhookReceiver:
    """Listens on a free port of the loopback interface, in a thread of its own.

    `answers` are used up first, one a request; then `always`, where it is set; else `respond` decides.
    """

    def __init__(self, port: int = 0) -> None:
        self.answers: deque[Answer] = deque()
        self.always: Answer | None = None
        self.requests: list[Received] = []
        self.arrived = threading.Condition()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def respond(self, _request: Received) -> Answer:
        return Answer(200, b"{}", {"Content-Type": "application/json"})

    def wait_for(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait until the condition holds; it is looked at again after each request. Raises TimeoutError."""
        with self.arrived:
            if not self.arrived.wait_for(condition, seconds):
                paths = [request.path for request in self.requests]
                raise TimeoutError(f"not within {seconds} s; received {paths}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: Received) -> Answer:
        with self.arrived:
            self.requests.append(request)
            answer = self.answers.popleft() if self.answers else self.always or self.respond(request)
            self.arrived.notify_all()
        return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        super().shutdown_request(request)
        if isinstance(request, socket.socket):
            self._open.discard(request)

    def close_connections(self) -> None:
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):  # the other side may have closed it already
                connection.shutdown(socket.SHUT_RDWR)


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_args: object) -> None:
            """Stay silent."""

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):  # clients give up, and tests end, in the middle of things
                super().handle_one_request()
                return
            self.close_connection = True

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            answer = receiver._take(Received(self.command, self.path, headers, body, time.time()))
            if answer.status == HANG:
                receiver._closing.wait()
                self.close_connection = True
            elif answer.status == CUT:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            elif answer.status == DRIP:
                self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n")
                while not receiver._closing.wait(0.05):
                    self.wfile.write(b" ")
            else:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for

    return Handler
