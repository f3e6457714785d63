"""A real server as a child process, and the faults that a test may do to it."""

from __future__ import annotations

import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Protocol, TypedDict

import httpx
import psutil

from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

START_SECONDS = 30
STOP_SECONDS = 15
LOG_TAIL_CHARACTERS = 2000


class Identity(TypedDict):
    """As whom a child process runs; None is as its parent."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


OURSELVES = Identity(user=None, group=None, extra_groups=None)


class Child(Protocol):
    """What a server needs of its process: as of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Server(ABC):
    """One server process, in a directory of its own that also takes its log.

    A test may stop, kill, pause and start it again; its address stays the same.
    """

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, directory: Path, *, identity: Identity = OURSELVES) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self._identity = identity
        self._child: Child | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Program and arguments."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server answers."""

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process is there. Raises RuntimeError when it has ended by itself, with the end of its log."""
        code = self._running().poll()
        if code is not None:
            raise RuntimeError(f"{type(self).__name__} ended with exit code {code}: {self.log_tail()}")
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Start the server, and leave it to itself."""
        if self._child is not None:
            raise RuntimeError(f"{type(self).__name__} already runs")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._identity,
            )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.launch()
        try:
            wait_until(self._ready, what=f"{type(self).__name__} answers", timeout_seconds=START_SECONDS)
        except BaseException as error:
            error.add_note(self.log_tail())
            self.kill()
            raise

    def ask_to_stop(self) -> None:
        """Ask the server to end, and leave it to itself."""
        self._running().send_signal(self.stop_signal)

    def stop(self) -> int | None:
        """Ask the server to end, wait until it has, and return its exit code; None when it does not run."""
        if self._child is None:
            return None
        self._child.send_signal(self.stop_signal)
        self._child.send_signal(signal.SIGCONT)
        try:
            code = self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            error.add_note(self.log_tail())
            self.kill()
            raise
        self._child = None
        return code

    def kill(self) -> None:
        """End the server and its children with SIGKILL, as a crash does; nothing happens when it does not run."""
        if self._child is None:
            return
        children = [] if self._child.poll() is not None else psutil.Process(self._child.pid).children(recursive=True)
        self._child.kill()
        self._child.wait(STOP_SECONDS)
        self._child = None
        for child in children:
            if child.is_running():
                child.kill()
        what = f"the children of {type(self).__name__} are gone"
        wait_until(lambda: not any(map(_lives, children)), what=what, timeout_seconds=STOP_SECONDS)

    def restart(self) -> None:
        """Stop the server cleanly and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let the server hang: it keeps its connections and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)
        process = psutil.Process(self.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, what=f"{type(self).__name__} is stopped")

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running().send_signal(signal.SIGCONT)

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARACTERS:]

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{type(self).__name__} does not run")
        return self._child

    def _ready(self) -> bool:
        return self.running and self.ready()


class TcpServer(Server):
    """A server on a loopback port that the kernel chose at its first start, so that no two tests ever share one."""

    any_port: ClassVar[int] = 0
    """What the server takes for "any free port"."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port of the server; `any_port` until it first listens."""
        return self.any_port if self._port is None else self._port

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def listening(self) -> bool:
        """Whether the server listens; learns the port that it was given."""
        if self._port is None:
            self._port = listening_port(self.pid)
        return self._port is not None


class HttpServer(TcpServer):
    """A server that says by `GET /-/ready` when it is ready."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._client = httpx.Client(trust_env=False, timeout=5)

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"http://{self.address}"

    def __exit__(self, *_: object) -> None:
        self._client.close()
        super().__exit__()

    def ready(self) -> bool:
        """Whether the server answers."""
        if not self.listening():
            return False
        try:
            return self._client.get(f"{self.url}/-/ready").is_success
        except httpx.TransportError:
            return False


def _lives(process: psutil.Process) -> bool:
    """Whether it still does anything; an orphan that has ended waits for the system's first process to look at it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening_port(pid: int) -> int | None:
    """Return the TCP port of 127.0.0.1 on which a process listens, or None as long as it does not."""
    try:
        connections = psutil.Process(pid).net_connections("tcp4")
    except psutil.NoSuchProcess:  # it has just ended
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.ip == "127.0.0.1":
            return int(connection.laddr.port)
    return None


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of 127.0.0.1 on which nobody listens, unless the test has a server do so.

    Nobody else is given it meanwhile: it is bound all the time, and lets another socket that sets SO_REUSEADDR listen.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
