"""Running the service and its HTTP server as one process, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from monitor.domain.times import milliseconds
from monitor.service import Service
from monitor.settings import Settings
from monitor.telemetry import logs
from monitor.telemetry.logs import get_logger
from monitor.web.app import create_app
from monitor.web.connection import BoundedProtocol
from monitor.web.direct import DirectProtocol

log = get_logger(__name__)

DRAIN_SECONDS = 6
"""For requests under way when the process is asked to end."""
EXIT_SECONDS = 9
"""From the signal to the end of the process, also when a store that hangs keeps it from ending in order."""
BACKLOG = 2048
COLLECT_AFTER = 10_000
"""Objects that are made, and not given back, between two collections of the youngest ones; a burst makes that many."""
SWITCH_SECONDS = 0.002
"""For which a thread may keep the interpreter when another one wants it: less than Python has, so that the writer does
not wait long behind a long answer, and more than an ordinary one takes."""
WEBSOCKET_MESSAGE_LIMIT_BYTES = 16 * 1024


class Server(uvicorn.Server):
    """A server that leaves signals to us: the service has to be stopped after it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(_config(app, settings))
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Answer what is under way, and end."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Wait for the end, and keep the date of the answers; the library looks for both ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 1)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield


def listen(settings: Settings) -> socket.socket:
    """The socket to serve on. Raises OSError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Every connection inherits it: a peer that takes nothing for so long is gone, whatever waits to be sent to it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds(2 * settings.realtime_heartbeat))
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error
    return listening


async def serve(settings: Settings, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and stop. `started` is told the URL.

    Raises OSError when the address cannot be listened on, and what `Service.start` raises.
    """
    with listen(settings) as listening:
        service = Service(settings)
        port = listening.getsockname()[1]
        await service.start(port)
        last_resort = threading.Timer(EXIT_SECONDS, _give_up)
        last_resort.daemon = True
        try:
            server = Server(create_app(service), settings)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, _end, server, service, last_resort)
            _settle_interpreter()
            started(f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}")
            await server.serve([listening])
        finally:
            await service.stop()
            last_resort.cancel()


def _settle_interpreter() -> None:
    """Tune the interpreter for what comes now that everything is built.

    What there is stays: no collection need go over it again, which would stop every request for a tenth of a second.
    And of the two threads that work, the event loop's and the writer's, neither is torn from its work by the other.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    gc.enable()
    sys.setswitchinterval(SWITCH_SECONDS)


def _end(server: Server, service: Service, last_resort: threading.Timer) -> None:
    if service.stopping:
        return
    service.stopping = True
    last_resort.start()
    service.hub.close()
    server.end()


def _give_up() -> None:
    """What was answered is on disk; what was not, the next start takes up or its caller sends again."""
    log.critical("service.stop_overdue", seconds=EXIT_SECONDS)
    logs.flush()
    os._exit(1)


def _config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=BoundedProtocol,
        ws=DirectProtocol,
        ws_ping_interval=settings.realtime_heartbeat,
        ws_ping_timeout=settings.realtime_heartbeat,
        ws_max_size=WEBSOCKET_MESSAGE_LIMIT_BYTES,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="warning",  # below that it writes down every frame, with the names of persons in it
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
    )
