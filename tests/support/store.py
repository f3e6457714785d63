"""A migrated store with its writer and readers, a clock that the test moves, and a way behind the service's back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from monitor.domain.intake import IntakeRules, take_in
from monitor.domain.judgement import Grace
from monitor.domain.times import MINUTE, SECOND
from monitor.pipeline.making import Plan, Terms, plan
from monitor.platforms.embedded import EmbeddedPlatform
from monitor.store import migrations
from monitor.store.commands import Single
from monitor.store.engine import parse_url, reading_engine, writing_engine
from monitor.store.inbox import PutPushSubscription
from monitor.store.judging import find_due
from monitor.store.readers import Readers
from monitor.store.subscriptions import CloseSubscription, OpenSubscription
from monitor.store.writer import Writer
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from sqlalchemy import Connection, RowMapping
    from sqlalchemy.engine import Engine

    from monitor.domain.due import DueStage
    from monitor.domain.vocabulary import Stage
    from monitor.store.bookings import Made
    from monitor.store.commands import Command

NOON = 1_795_176_000_000
"""Where the clock of these tests starts: 2026-11-20T12:00:00Z, the beginning of a minute."""
TERMS = Terms(
    grace=Grace(),
    response_deadline=5 * MINUTE,
    chat_room_lifetime=25 * MINUTE,
    acknowledge_timeout=2 * SECOND,
    push_timeout=10 * SECOND,
)
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@dataclass
class Clock:
    """The present instant, in milliseconds since the epoch, as the test says."""

    at: int = NOON

    def __call__(self) -> int:
        """Tell the time."""
        return self.at

    def advance(self, milliseconds: int) -> int:
        """Let time pass; returns the new instant."""
        self.at += milliseconds
        return self.at


@dataclass
class Groups:
    """An observer of the writer that remembers the size of every group."""

    sizes: list[int] = field(default_factory=list)
    failures: int = 0

    def observe_group(self, commands: int, seconds: float) -> None:  # noqa: ARG002 - the protocol's
        """Take note of a committed group."""
        self.sizes.append(commands)

    def observe_failure(self) -> None:
        """Take note of a transaction that was rolled back, or for which there was no connection."""
        self.failures += 1


@dataclass(frozen=True)
class Alter(Single[int]):
    """A statement that the service knows nothing of, run by the only connection that may write."""

    statement: str
    values: dict[str, Any]

    def run(self, connection: Connection) -> int:
        """Return how many rows it touched."""
        return connection.execute(text(self.statement), self.values).rowcount


@dataclass
class Store:
    """An open store."""

    writing: Engine
    reading: Engine
    writer: Writer
    readers: Readers
    groups: Groups
    clock: Clock
    platform: EmbeddedPlatform

    @property
    def sqlite(self) -> bool:
        """Whether it is on SQLite."""
        return self.writing.dialect.name == "sqlite"

    def plan(
        self, provider_id: str = "t-1", *, traceparent: str | None = None, key: str | None = None, **more: Any
    ) -> Plan:
        """A booking that is made now; `more` are fields of the request, and `body_hash`."""
        body_hash = more.pop("body_hash", "")
        request = {"provider_name": "Ayu", "customer_id": "c-1", "customer_name": "Sam", **more}
        provider = {} if "therapistId" in request else {"provider_id": provider_id}
        new = take_in({**provider, **request}, now=self.clock(), rules=IntakeRules())
        return plan(
            new, now=self.clock(), terms=TERMS, traceparent=traceparent, idempotency_key=key, body_hash=body_hash
        )

    async def submit(self, command: Command[Any]) -> Any:
        """Have a command carried out."""
        return await self.writer.submit(command)

    async def sizes_of_groups(self, *, commands: int) -> list[int]:
        """The sizes of the groups, once the writer has told of so many commands; it answers them first."""

        async def told() -> bool:
            return sum(self.groups.sizes) >= commands

        await eventually(told, what="the writer to tell of its groups")
        return self.groups.sizes

    async def submit_all(self, commands: Sequence[Command[Any]]) -> list[Any]:
        """Have commands carried out that are submitted at once; exceptions are results."""
        return await asyncio.gather(*(self.writer.submit(one) for one in commands), return_exceptions=True)

    async def make(self, provider_id: str = "t-1", **more: Any) -> Plan:
        """Make a booking; see `plan`."""
        planned = self.plan(provider_id, **more)
        made: Made = await self.writer.submit(planned.command)
        assert made.booking_id == planned.command.booking_id
        return planned

    async def make_many(self, count: int, provider_id: str = "t-1", **more: Any) -> list[Plan]:
        """Make bookings in one go."""
        planned = [self.plan(provider_id, **more) for _ in range(count)]
        for made in await self.submit_all([one.command for one in planned]):
            assert not isinstance(made, Exception), made
        return planned

    async def subscribe_push(
        self, provider_id: str = "t-1", endpoint: str = "https://push.example/1", *, expires_at: int | None = None
    ) -> str:
        """Give a provider a push subscription; returns its id."""
        return await self.writer.submit(
            PutPushSubscription(provider_id, endpoint, "key", "secret", expires_at, self.clock(), 10)
        )

    async def connect(self, subscription_id: str, provider_id: str = "t-1", replica: str = "r-1") -> None:
        """Note a live subscription from now on."""
        await self.writer.submit(OpenSubscription(subscription_id, provider_id, "websocket", replica, self.clock()))

    async def disconnect(self, subscription_id: str) -> None:
        """End a live subscription now."""
        await self.writer.submit(CloseSubscription(subscription_id, self.clock()))

    async def due(self, stage: Stage) -> list[DueStage]:
        """What is due of a stage by now."""
        due = await self.readers.run(find_due, self.clock(), 50_000)
        return [one for one in due if one.stage is stage]

    async def alter(self, statement: str, **values: Any) -> int:
        """Change rows behind the service's back; returns how many."""
        return await self.writer.submit(Alter(statement, values))

    async def rows(self, query: str, **values: Any) -> list[RowMapping]:
        """The rows of a query."""
        return await self.readers.run(_rows, query, values)

    async def row(self, query: str, **values: Any) -> RowMapping:
        """The only row of a query."""
        (row,) = await self.rows(query, **values)
        return row

    async def value(self, query: str, **values: Any) -> Any:
        """The only value of a query."""
        (value,) = (await self.row(query, **values)).values()
        return value


def _rows(connection: Connection, query: str, values: dict[str, Any]) -> list[RowMapping]:
    return list(connection.execute(text(query), values).mappings())


@contextmanager
def migrated(database_url: str) -> Iterator[Engine]:
    """The writing engine of a database at the newest revision, for tests that need no writer."""
    engine = writing_engine(parse_url(database_url))
    migrations.upgrade(engine)
    yield engine
    engine.dispose()


@asynccontextmanager
async def open_store(
    database_url: str,
    *,
    queue_limit: int = 10_000,
    group_limit: int = 64,
    connections: int = 2,
    patience: float = 30,
) -> AsyncIterator[Store]:
    """Bring an empty or older database to the newest revision, and open it."""
    url = parse_url(database_url)
    writing, reading = writing_engine(url), reading_engine(url, connections)
    await asyncio.to_thread(migrations.upgrade, writing)
    groups = Groups()
    writer = Writer(writing, groups, queue_limit=queue_limit, group_limit=group_limit)
    readers = Readers(reading, connections, patience)
    writer.start()
    try:
        yield Store(
            writing,
            reading,
            writer,
            readers,
            groups,
            Clock(),
            EmbeddedPlatform(readers, writer, TERMS.chat_room_lifetime),
        )
    finally:
        await readers.stop()
        await writer.stop()
        writing.dispose()
