"""Makes bookings at a steady rate and notes when each provider's WebSocket frame comes, all in one process.

A job is a JSON object on stdin: `port` (where bookings are posted), `subscribe_port` (where the subscribers are),
`providers`, `subscribers` (of each provider), `rate` (bookings per second), `seconds`, `warmup` (seconds). Every frame
is acknowledged at once. The answer has, in ms: `frame_*`, from the 201 to the frame (negative where the frame came
before it); `last_*`, from the sending of the POST to the last subscriber's frame.
"""

from __future__ import annotations

import gc
import json
import selectors
import sys
import time
from collections import defaultdict
from typing import Any

from benchmarks.booking import post
from benchmarks.load import Connection
from benchmarks.model import percentile
from benchmarks.processes import BenchmarkError
from benchmarks.websocket import Socket

PATIENCE = 10.0
"""Seconds to wait for what is still under way at the end."""


class RealtimeLoad:
    """One run."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._port: int = job["port"]
        self._rate: float = job["rate"]
        self._fan = int(job["subscribers"])
        self._providers = [f"bench-{number}" for number in range(job["providers"])]
        self._selector = selectors.SelectSelector()
        self._poster = Connection(self._port)
        self._selector.register(self._poster.socket, selectors.EVENT_READ, None)
        for provider in self._providers:
            for _ in range(self._fan):
                subscriber = Socket(job["subscribe_port"], f"/v1/realtime?provider_id={provider}")
                self._selector.register(subscriber.socket, selectors.EVENT_READ, subscriber)
        self._posting = False
        self._sent: list[float] = []
        self.answers: list[tuple[float, float, bytes]] = []
        """When each booking was sent and answered, and the body of the answer."""
        self.frames: list[tuple[float, bytes]] = []
        """When each event came, and the event."""

    def run(self, seconds: float) -> None:
        """Post for a while, then wait until every subscriber has every event."""
        begun = time.perf_counter()
        number = 0
        while (due := begun + number / self._rate) < begun + seconds:
            now = time.perf_counter()
            if due <= now and not self._posting:
                self._post(number)
                number += 1
            else:
                self._receive(1 if self._posting else max(0.0, due - now))
        self._finish(number)

    def _finish(self, bookings: int) -> None:
        deadline = time.perf_counter() + PATIENCE
        while len(self.answers) < bookings or len(self.frames) < bookings * self._fan:
            if time.perf_counter() > deadline:
                raise BenchmarkError(
                    f"{len(self.answers)} answers and {len(self.frames)} frames for {bookings} bookings"
                    f" and {self._fan} subscribers of each provider"
                )
            self._receive(0.1)

    def _post(self, number: int) -> None:
        request = post(number, self._port, self._providers[number % len(self._providers)])
        self._posting = True
        self._sent.append(time.perf_counter())
        self._poster.send(request)

    def _receive(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                answer = self._poster.receive()
                if answer is not None:
                    self._answered(*answer)
                continue
            subscriber: Socket = key.data
            for text in subscriber.receive():
                now = time.perf_counter()
                if b'"booking.created"' in text[:64]:
                    self.frames.append((now, text))
                    subscriber.send(b'{"type":"ack","id":"' + _event_id(text) + b'"}')

    def _answered(self, status: int, body: bytes) -> None:
        if status != 201:
            raise BenchmarkError(f"a booking was answered {status}: {body[:200]!r}")
        self.answers.append((self._sent[len(self.answers)], time.perf_counter(), body))
        self._posting = False


def _event_id(text: bytes) -> bytes:
    at = text.index(b'"id":"') + 6
    return text[at : text.index(b'"', at)]


def summarise(load: RealtimeLoad, skip: int) -> dict[str, float]:
    """Latencies of all bookings after the first `skip`."""
    came: dict[str, list[float]] = defaultdict(list)
    for at, text in load.frames:
        came[json.loads(text)["booking"]["id"]].append(at)
    after, last = [], []
    for sent, answered, body in load.answers[skip:]:
        times = came[json.loads(body)["booking"]["id"]]
        after += [at - answered for at in times]
        last.append(max(times) - sent)
    after.sort()
    last.sort()
    found = {}
    for name, values in (("frame", after), ("last", last)):
        found[f"{name}_p50"] = percentile(values, 0.50) * 1000
        found[f"{name}_p99"] = percentile(values, 0.99) * 1000
    return {**found, "bookings": float(len(last))}


if __name__ == "__main__":
    task = json.load(sys.stdin)
    running = RealtimeLoad(task)
    gc.disable()
    running.run(task["warmup"] + task["seconds"])
    json.dump(summarise(running, int(task["warmup"] * task["rate"])), sys.stdout)
