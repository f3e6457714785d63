"""kill -9 of the service and of its database, again and again under load: what was answered 201 stays true."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.bookkeeping import broken_promises, damages, half_made, miscounts, rows, store, unfinished, unheard
from support.postgres import postgres_server
from support.replicas import upgrade_store
from support.service import RunningService
from support.traffic import Told, Traffic, fixed_port
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.postgres import PostgresServer

SETTINGS = {
    "grace_chat_room": 1,
    "grace_notification": 1,
    "grace_realtime": 1,
    "settle": 0.2,
    "acknowledge_timeout": 0.5,
    "delivery_first_delay": 0.5,
    "delivery_attempts": 100,
    "log_level": "error",
}
"""Short times, so that each life of the service sees bookings made, delivered and judged."""
IMPORTED = 1.2
"""Seconds within which the process is up on an idle machine."""
SEED = 20_260_122


@pytest.fixture
def service() -> Iterator[RunningService]:
    """A service that does not run yet, on a port that stays its own."""
    with tempfile.TemporaryDirectory(prefix="service-") as folder:
        service = RunningService(Path(folder), SETTINGS)
        service._port = fixed_port()
        yield service
        service.kill()
        service._client.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and let the traffic go on meanwhile."""
    await asyncio.to_thread(wait_until, condition, what=what, timeout_seconds=45)


async def grows(count: Callable[[], int], by: int, what: str) -> None:
    """Wait until a count is larger by so many."""
    least = count() + by
    await until(lambda: count() >= least, what)


async def wait_for_rest(url: str) -> None:
    """Wait until all is judged and heard."""

    def at_rest() -> bool:
        with store(url) as connection:
            left[:] = unfinished(connection)
        return not left

    left: list[str] = []
    try:
        await until(at_rest, "all is judged and heard")
    except TimeoutError as error:
        error.add_note("\n".join(left[:20]))
        raise


def check(url: str, told: Told) -> None:
    """See that nothing is lost, nothing half made, and nothing counted twice or not at all."""
    with store(url) as connection:
        if url.startswith("sqlite"):
            assert damages(connection) == []
        assert broken_promises(connection, told) == []
        assert half_made(connection) == []
        assert unheard(connection, told) == []
        assert miscounts(connection) == []
        outcomes = rows(
            connection, "SELECT DISTINCT stage, outcome, reason FROM stages WHERE stage NOT IN ('realtime', 'push')"
        )
        assert sorted(outcomes) == [
            ("chat_room", "good", "on_time"),
            ("message", "good", "on_time"),
            ("notification", "good", "on_time"),
        ]
        created = rows(connection, "SELECT created_at FROM bookings ORDER BY id")
        assert created == sorted(created)


class Killer:
    """Kills a service with SIGKILL, each time at another moment of its life."""

    def __init__(self, service: RunningService, chance: random.Random) -> None:
        self._service = service
        self._chance = chance
        self.kills = 0

    async def while_it_makes_its_store(self) -> None:
        """Kill within the first transaction, which makes the tables, or shortly before or after it."""
        await self._launch()
        await until(self._has_store, "there is a database file")
        await self._kill_within(0.05)

    async def while_it_starts(self) -> None:
        """Kill between the start of the process and its first request."""
        await self._launch()
        await self._kill_within(IMPORTED)

    async def at_work(self) -> None:
        """Kill while bookings are made, delivered and, for the older ones, judged."""
        await asyncio.to_thread(self._service.start)
        await self._kill_within(1.3)

    async def while_it_stops(self) -> None:
        """Kill after SIGTERM, while requests are drained and connections closed, or just after."""
        await asyncio.to_thread(self._service.start)
        await asyncio.sleep(self._chance.uniform(0.05, 0.4))
        self._service.ask_to_stop()
        await self._kill_within(0.4)

    def _has_store(self) -> bool:
        return self._service.running and self._service.database_path.exists()

    async def _launch(self) -> None:
        await asyncio.to_thread(self._service.launch)

    async def _kill_within(self, seconds: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, seconds))
        await asyncio.to_thread(self._service.kill)
        self.kills += 1


@pytest.mark.timeout(300)
async def test_fifty_kills_lose_no_answered_booking_and_count_none_twice(service: RunningService) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    url = f"sqlite:///{service.database_path}"
    killer = Killer(service, chance)
    for _ in range(6):
        await killer.while_it_makes_its_store()
    moments = [killer.while_it_starts] * 12 + [killer.at_work] * 20 + [killer.while_it_stops] * 12
    chance.shuffle(moments)
    async with Traffic(lambda: service.url) as traffic:
        for kill in moments:
            await kill()
        assert killer.kills == 50
        await asyncio.to_thread(service.start)
        await traffic.stop_booking()
        await wait_for_rest(url)
        assert await asyncio.to_thread(service.stop) == 0
    told = traffic.told
    assert len(told.made) > 500
    assert told.broken_off, "no request was ever cut off: the kills came at idle moments"
    assert told.replays, "no repeated request ever met its own booking"
    check(url, told)
    with store(url) as connection:
        assert rows(connection, "SELECT count(*) FROM live_subscriptions WHERE closed_at IS NULL") == [0]


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own that waits for the disk."""
    with postgres_server(durable=True) as server:
        yield server


@pytest.mark.timeout(180)
async def test_five_kills_of_postgresql_lose_no_answered_booking(
    service: RunningService, database: PostgresServer
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    with database.fresh_database() as url:
        service.settings |= {"database_url": url}
        await asyncio.to_thread(upgrade_store, url)
        await asyncio.to_thread(service.start)
        async with Traffic(lambda: service.url) as traffic:
            told = traffic.told
            for _ in range(5):
                await grows(lambda: len(told.made), 50, "bookings are made")
                await asyncio.sleep(chance.uniform(0, 1))
                await asyncio.to_thread(database.kill)
                await grows(lambda: told.statuses[503], 5, "requests are answered 503")
                await asyncio.to_thread(database.start)
            await traffic.stop_booking()
            await wait_for_rest(url)
            assert await asyncio.to_thread(service.stop) == 0
        check(url, told)
