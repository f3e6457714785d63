"""An HTTP/1.1 load generator that is cheap enough not to be what is measured.

Prepared request bytes, plain sockets and one selector, in a process of its own. A job is a JSON object on stdin:
`port`, `clients`, `seconds`, `warmup` (seconds), `rate` (requests per second over all clients, or null: each client
sends its next request as soon as it has its answer), `path` (GET that) or null (POST bookings). The answer on stdout
counts every accepted request, also those of the warm-up; rate and latencies (ms) are those after it.
"""

from __future__ import annotations

import gc
import json
import selectors
import socket
import sys
import time
from collections import deque
from typing import Any

from benchmarks.booking import post
from benchmarks.model import percentile
from benchmarks.processes import BenchmarkError

DISTINCT_REQUESTS = 4096


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._received = b""

    def send(self, request: bytes) -> None:
        """Send a request that fits into the socket's buffer."""
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Status and body once the whole answer has come, None until then."""
        data = self.socket.recv(262_144)
        if not data:
            raise BenchmarkError("the server closed a keep-alive connection")
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _content_length(head):
            return None
        self._received = b""
        return int(head[9:12]), rest


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"content-length:")
    if at < 0:
        raise BenchmarkError(f"an answer without Content-Length: {head[:200]!r}")
    return int(lowered[at + 15 :].split(b"\r\n", 1)[0])


class Load:
    """One run: sends, receives and keeps count."""

    def __init__(self, requests: list[bytes], port: int, clients: int) -> None:
        self._requests = requests
        self._next = 0
        # SelectSelector waits with a precision of microseconds, the epoll of this Python with one of milliseconds.
        self._selector = selectors.SelectSelector()
        self.connections = [Connection(port) for _ in range(clients)]
        for connection in self.connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self.statuses: dict[int, int] = {}
        self.answers: list[tuple[float, float]] = []
        """When each answer came, and after how many seconds."""

    def send(self, connection: Connection, started: float | None = None) -> None:
        """Send the next request; its latency counts from `started`, or from now."""
        connection.sent_at = time.perf_counter() if started is None else started
        connection.send(self._requests[self._next % len(self._requests)])
        self._next += 1

    def receive(self, timeout: float | None) -> list[Connection]:
        """Wait for answers; gives the connections that are free again."""
        free = []
        for key, _ in self._selector.select(timeout):
            connection: Connection = key.data
            answer = connection.receive()
            if answer is not None:
                now = time.perf_counter()
                self.answers.append((now, now - connection.sent_at))
                self.statuses[answer[0]] = self.statuses.get(answer[0], 0) + 1
                free.append(connection)
        return free

    def drain(self, under_way: int) -> None:
        """Wait for the answers that are still under way."""
        deadline = time.perf_counter() + 30
        while under_way:
            if time.perf_counter() > deadline:
                raise BenchmarkError(f"{under_way} requests were never answered")
            under_way -= len(self.receive(1))

    def saturate(self, until: float) -> None:
        """Keep every client busy until a time of the performance counter."""
        for connection in self.connections:
            self.send(connection)
        while time.perf_counter() < until:
            for connection in self.receive(1):
                self.send(connection)
        self.drain(len(self.connections))

    def pace(self, rate: float, until: float) -> None:
        """Send at a steady rate. A request that has to wait for a free client counts from when it was due."""
        idle = deque(self.connections)
        begun = time.perf_counter()
        sent = 0
        while True:
            due = begun + sent / rate
            if due >= until:
                break
            now = time.perf_counter()
            if due <= now and idle:
                late = now - due > 0.001
                self.send(idle.popleft(), due if late else now)
                sent += 1
            else:
                idle.extend(self.receive(max(0.0, due - now) if idle else 1))
        self.drain(len(self.connections) - len(idle))


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job."""
    port: int = job["port"]
    if job.get("path"):
        requests = [f"GET {job['path']} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()]
    else:
        requests = [post(number, port) for number in range(DISTINCT_REQUESTS)]
    load = Load(requests, port, job["clients"])
    gc.disable()
    begun = time.perf_counter()
    cpu = time.process_time()
    measured_from = begun + job["warmup"]
    until = measured_from + job["seconds"]
    if job.get("rate"):
        load.pace(job["rate"], until)
    else:
        load.saturate(until)
    busy = (time.process_time() - cpu) / (time.perf_counter() - begun)
    bad = {status: count for status, count in load.statuses.items() if not 200 <= status < 300}
    if bad:
        raise BenchmarkError(f"answers that are not 2xx: {bad}")
    seconds = [latency for at, latency in load.answers if measured_from <= at <= until]
    if not seconds:
        raise BenchmarkError("no answer came after the warm-up")
    latencies = sorted(seconds)
    return {
        "per_second": len(latencies) / job["seconds"],
        "p50": percentile(latencies, 0.50) * 1000,
        "p99": percentile(latencies, 0.99) * 1000,
        "accepted": sum(load.statuses.values()),
        "generator_cpu": busy,
    }


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
