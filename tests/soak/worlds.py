"""What the soak runs: the service as a small marketplace and as a big one would have it, and how each is hurt.

A fault is done and undone before the next one: what is then measured is how long it takes until bookings are taken.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.bookkeeping import broken_promises, damages, half_made, miscounts, rows, store, unfinished, unheard
from support.disk import small_disk
from support.nats import nats_server
from support.pagerduty_receiver import PagerDutyReceiver
from support.paging import to_pagerduty
from support.postgres import postgres_server
from support.process import Server
from support.replicas import upgrade_store
from support.service import RunningService
from support.skewed_service import set_clock, skewed_service
from support.traffic import HEARD, UNDER_FAULTS, fixed_port
from support.webhook_receiver import CUT, Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager
    from typing import Self

    from sqlalchemy import Connection
    from support.traffic import Told

SETTINGS: dict[str, Any] = {**UNDER_FAULTS, "delivery_longest_delay": 4, "response_deadline": 86_400}
"""No booking expires, and what was delayed comes to rest soon."""
DISK_MEGABYTES = 512
LOCK_SECONDS = 6.5
"""Longer than the writer waits for a lock."""
LEASE_SECONDS = 10
"""Longer than the lease of a leader that hangs."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, and how it is done and undone."""

    name: str
    strike: Callable[[], Awaitable[None]]


Promises = dict[str, list[str]]
"""What must hold, each with where it does not."""


class World:
    """Servers under test. They run from entering to leaving."""

    name: str
    store_url: str
    faults: tuple[Fault, ...]

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def __enter__(self) -> Self:
        with ExitStack() as servers:
            self.pagerduty = servers.enter_context(PagerDutyReceiver())
            self._start(servers.enter_context, SETTINGS | to_pagerduty(self.pagerduty))
            self._servers = servers.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def _start(self, enter: Callable[[AbstractContextManager[Any]], Any], settings: dict[str, Any]) -> None:
        """Start the servers, and say what can happen to them."""
        raise NotImplementedError

    def url(self) -> str:
        """Where the next request goes."""
        raise NotImplementedError

    def resting(self) -> bool:
        """Whether all is judged, heard and paged."""
        with store(self.store_url) as connection:
            return not (unfinished(connection) or _unsent(connection) or _ghosts(connection))

    def promises(self, told: Told) -> Promises:
        """Recount everything."""
        with store(self.store_url) as connection:
            return {
                "no booking that was answered 201 is lost or made twice": broken_promises(connection, told),
                "every booking has all that is made with it": half_made(connection),
                "every stage is judged and counted exactly once": miscounts(connection),
                "who listens heard, and was counted once": unheard(connection, told),
                "who is said to listen does, and nobody else": _ghosts(connection),
                "no page is lost, refused or sent twice": _unsent(connection) + self._repeated_pages(),
                **self._promises_of_its_own(connection),
            }

    def _promises_of_its_own(self, _connection: Connection) -> Promises:
        return {}

    def _repeated_pages(self) -> list[str]:
        keys = [incident.dedup_key for incident in self.pagerduty.incidents]
        return [f"{key} was opened twice" for key in sorted(set(keys)) if keys.count(key) > 1] + [
            f"PagerDuty refused a page: {errors}" for errors in self.pagerduty.refused
        ]

    async def _kill(self, server: Server) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async def _restart(self, server: Server) -> None:
        await asyncio.to_thread(server.restart)

    async def _pause(self, server: Server, seconds: float) -> None:
        server.pause()
        await asyncio.sleep(seconds)
        server.resume()

    async def _lose_pagerduty(self) -> None:
        self.pagerduty.always = Answer(CUT)
        await self._wait(4)
        self.pagerduty.always = None

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, seconds))


class Embedded(World):
    """One service on SQLite, on a small disk of its own, with a system clock of its own."""

    name = "one service on SQLite"

    def _start(self, enter: Callable[[AbstractContextManager[Any]], Any], settings: dict[str, Any]) -> None:
        self._disk = enter(small_disk(DISK_MEGABYTES))
        self._path = self._disk.directory / "booking-monitor.db"
        self.store_url = f"sqlite:///{self._path}"
        self._service: RunningService = enter(skewed_service(fixed_port(), **settings, database_url=self.store_url))
        self._ahead = 0.0
        self.faults = (
            Fault("kill -9", lambda: self._kill(self._service)),
            Fault("kill -9 while it starts", self._kill_while_starting),
            Fault("SIGTERM and a new start", lambda: self._restart(self._service)),
            Fault("the process hangs (SIGSTOP)", lambda: self._pause(self._service, self.chance.uniform(0.5, 4))),
            Fault("the disk is full", self._fill_disk),
            Fault("another program locks the database", self._lock),
            Fault("the clock is set ahead", lambda: self._set_clock(self.chance.uniform(0, 600))),
            Fault("the clock is set back", lambda: self._set_clock(-self.chance.uniform(0, 3600))),
            Fault("PagerDuty is down", self._lose_pagerduty),
        )

    def url(self) -> str:
        """Where the next request goes."""
        return self._service.url

    def _promises_of_its_own(self, connection: Connection) -> Promises:
        created = rows(connection, "SELECT created_at FROM bookings ORDER BY rowid")
        return {
            "the file is sound": damages(connection),
            "the service's clock never went back": [] if created == sorted(created) else ["it did"],
        }

    async def _kill_while_starting(self) -> None:
        await asyncio.to_thread(self._service.kill)
        await asyncio.to_thread(self._service.launch)
        await self._wait(1.2)
        await self._kill(self._service)

    async def _fill_disk(self) -> None:
        await asyncio.to_thread(self._disk.fill, self._service.pid)
        await self._wait(4)
        await asyncio.to_thread(self._disk.free, self._service.pid)

    async def _lock(self) -> None:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=30, check_same_thread=False)) as outside:
            await asyncio.to_thread(outside.execute, "BEGIN IMMEDIATE")
            await self._wait(LOCK_SECONDS)
            outside.execute("ROLLBACK")

    async def _set_clock(self, seconds: float) -> None:
        self._ahead += seconds
        set_clock(self._service, self._ahead)
        await self._wait(2)


class Cluster(World):
    """Two replicas on PostgreSQL, joined by NATS."""

    name = "two replicas on PostgreSQL"

    def _start(self, enter: Callable[[AbstractContextManager[Any]], Any], settings: dict[str, Any]) -> None:
        self._postgres = enter(postgres_server(durable=True))
        self.store_url = enter(self._postgres.fresh_database())
        upgrade_store(self.store_url)
        self._nats = enter(nats_server())
        settings |= {"database_url": self.store_url, "nats_url": self._nats.url}
        self._replicas: list[RunningService] = []
        for _ in range(2):
            replica = RunningService(Path(enter(tempfile.TemporaryDirectory(prefix="replica-"))), settings)
            replica._port = fixed_port()
            self._replicas.append(enter(replica))
        self.faults = (
            Fault("kill -9 of a replica", lambda: self._kill(self._any())),
            Fault("SIGTERM of a replica and a new start", lambda: self._restart(self._any())),
            Fault("a replica hangs beyond its lease", lambda: self._pause(self._any(), LEASE_SECONDS)),
            Fault("kill -9 of PostgreSQL", lambda: self._kill(self._postgres)),
            Fault("PostgreSQL starts anew", lambda: self._restart(self._postgres)),
            Fault("NATS is cut off", lambda: self._pause(self._nats, self.chance.uniform(0.5, 4))),
            Fault("kill -9 of NATS", lambda: self._kill(self._nats)),
            Fault("PagerDuty is down", self._lose_pagerduty),
        )

    def url(self) -> str:
        """Where the next request goes: to any replica."""
        return self._any().url

    def _any(self) -> RunningService:
        return self.chance.choice(self._replicas)


WORLDS: Iterable[type[World]] = (Embedded, Cluster)


def _unsent(connection: Connection) -> list[str]:
    pages = rows(connection, "SELECT incident, action, state FROM pages WHERE state IN ('pending', 'dead')")
    return [f"{page}" for page in pages]


def _ghosts(connection: Connection) -> list[str]:
    listening = rows(connection, "SELECT provider_id FROM live_subscriptions WHERE closed_at IS NULL")
    return [] if sorted(listening) == sorted(HEARD) else [f"said to listen: {sorted(listening)}"]
