"""The service without a store: same server, route, validation and answer, and a writer that answers at once."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar
from unittest.mock import patch

import uvloop

from monitor import serving, settings
from monitor.clock import Clock
from monitor.service import Service
from monitor.store.bookings import Made, MakeBooking
from monitor.store.commands import Command
from monitor.store.engine import parse_url, reading_engine
from monitor.store.readers import Readers
from monitor.store.writer import Writer
from monitor.telemetry import logs

T = TypeVar("T")


class AnswersAtOnce(Writer):
    """Says of every command that it was carried out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def offer(self, command: Command[T]) -> asyncio.Future[T]:
        """Answer at once."""
        return self.submit(command)

    def submit(self, command: Command[T]) -> asyncio.Future[T]:
        """Answer at once."""
        future: asyncio.Future[Any] = self._loop.create_future()
        given: object = command
        future.set_result(Made(given.booking_id) if isinstance(given, MakeBooking) else None)
        return future


class NoStorage(Service):
    """Serves, and runs no job."""

    async def start(self, port: int) -> None:
        """Build the parts that a request meets."""
        self.clock = Clock()
        self.writer = AnswersAtOnce()
        self.readers = Readers(reading_engine(parse_url("sqlite://"), 1), 1, self.settings.store_timeout)
        self._build(port)

    async def stop(self) -> None:
        """There is nothing to stop."""


if __name__ == "__main__":
    chosen = settings.load()
    logs.configure(chosen.log_level, logs.LogFormat.JSON)
    with patch.object(serving, "Service", NoStorage):
        uvloop.run(serving.serve(chosen, lambda _url: None))
