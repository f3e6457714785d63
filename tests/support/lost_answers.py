"""A way to a server on which requests arrive, but the answers to some of them are lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class LossyWay:
    """Passes on what comes to `port`. After a request that begins with `request` its connection stays silent.

    That happens `times` times; later ones are answered.
    """

    to_port: int
    request: bytes
    times: int
    lost: int = 0
    """Answers that were lost so far."""
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _silent: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where the way begins."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Pass on, until it is closed."""
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to_port))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def close(self) -> None:
        """Let no more connections come up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side may break it off
            while data := source.recv(65_536):
                if data.startswith(self.request) and self.lost < self.times:
                    self.lost += 1
                    self._silent.add(target)
                if source not in self._silent:
                    target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):  # it may be shut already
                one.shutdown(socket.SHUT_RDWR)
        source.close()


@contextmanager
def lossy_way(to_port: int, request: bytes, *, times: int) -> Iterator[LossyWay]:
    """Open such a way to a port of this machine."""
    way = LossyWay(to_port, request, times)
    thread = threading.Thread(target=way.serve)
    thread.start()
    try:
        yield way
    finally:
        way.close()
        thread.join()
