"""A way to a PostgreSQL server that a test can cut, for one of those who use it."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET = ".s.PGSQL.5432"
"""Name of PostgreSQL's socket in its directory."""


class Way:
    """Passes on what comes through a Unix socket of its own. While it is cut, connections break and none comes up."""

    def __init__(self, directory: Path, server: Path) -> None:
        self.directory = directory
        """What the `host` of a database URL has to be."""
        self._server = str(server / SOCKET)
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / SOCKET))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Break all connections, and let none come up."""
        self._is_cut = True
        for connection in tuple(self._open):
            _shut(connection)

    def mend(self) -> None:
        """Let connections come up again."""
        self._is_cut = False

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        _shut(self._listener)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # it was closed
                return
            if self._is_cut:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open |= {client, server}
            if self._is_cut:  # since it was looked at: whoever cut may not have seen this connection
                _shut(client)
                _shut(server)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side may break it off
            while data := source.recv(65_536):
                target.sendall(data)
        _shut(source)
        _shut(target)
        self._open.discard(source)
        source.close()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be shut already
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def cuttable_way(database_url: str) -> Iterator[tuple[str, Way]]:
    """A URL by which the same database is reached, and the way that it leads."""
    plain, _, server = database_url.partition("?host=")
    with tempfile.TemporaryDirectory(prefix="way-") as folder:
        way = Way(Path(folder), Path(server))
        try:
            yield f"{plain}?host={folder}", way
        finally:
            way.close()
