"""kill -9 of the service and of its database, again and again under load: what was answered 201 stays true."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.bookkeeping import broken_promises, damages, half_made, miscounts, rows, store, unfinished, unheard
from support.forked_service import ForkedService
from support.postgres import postgres_server
from support.push_receiver import PushReceiver
from support.replicas import upgrade_store
from support.traffic import HEARD, UNDER_FAULTS, UNHEARD, Told, Traffic
from support.waiting import wait_until

from monitor.pipeline.push import keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sqlalchemy import Connection
    from support.postgres import PostgresServer

UP = 0.2
"""Seconds within which a forked service is up on an idle machine, its store made anew."""
PUSHED = (HEARD[0], UNHEARD[0])
"""Providers who have subscribed to pushes, too."""
SEED = 20_260_122
ENOUGH = 500
"""More bookings than these are made, however slow the machine is."""


@pytest.fixture
def receiver() -> Iterator[PushReceiver]:
    """A push service."""
    with PushReceiver() as receiver:
        yield receiver


@pytest.fixture
def service(receiver: PushReceiver) -> Iterator[ForkedService]:
    """A service that does not run yet, on a port that stays its own."""
    pushing = {"vapid_private_key": keys.generate(), "push_allowed_hosts": receiver.allowed_host}
    with tempfile.TemporaryDirectory(prefix="service-") as folder:
        service = ForkedService(Path(folder), UNDER_FAULTS | pushing, {"SSL_CERT_FILE": str(receiver.certificate_file)})
        yield service
        service.close()


def subscribe(service: ForkedService, receiver: PushReceiver) -> None:
    """Have a browser of each of `PUSHED` subscribe to pushes."""
    with service.client() as client:
        for provider_id in PUSHED:
            subscription = receiver.new_subscription(provider_id)
            client.put(f"/v1/providers/{provider_id}/push-subscriptions", json=subscription).raise_for_status()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and let the traffic go on meanwhile."""
    await asyncio.to_thread(wait_until, condition, what=what, timeout_seconds=45)


async def grows(count: Callable[[], int], by: int, what: str) -> None:
    """Wait until a count is larger by so many."""
    least = count() + by
    await until(lambda: count() >= least, what)


async def wait_for_rest(url: str) -> None:
    """Wait until all is judged, heard and pushed."""

    def at_rest() -> bool:
        with store(url) as connection:
            under_way = "SELECT booking_id, state FROM deliveries WHERE stage = 'push' AND state <> 'delivered'"
            left[:] = unfinished(connection) + [f"not pushed: {row}" for row in rows(connection, under_way)]
        return not left

    left: list[str] = []
    try:
        await until(at_rest, "all is judged, heard and pushed")
    except TimeoutError as error:
        error.add_note("\n".join(left[:20]))
        raise


def unpushed(connection: Connection, receiver: PushReceiver) -> list[str]:
    """Bookings of `PUSHED` whose push was not accepted just once by our books, or never by the push service."""
    accepted = Counter(
        rows(
            connection,
            "SELECT d.booking_id FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id"
            " WHERE d.stage = 'push' AND d.state = 'delivered' AND a.result = 'ok'",
        )
    )
    arrived = Counter(json.loads(message.payload)["booking_id"] for message in receiver.messages)
    ids = rows(connection, f"SELECT id FROM bookings WHERE provider_id IN {PUSHED}")  # noqa: S608 - our own words
    assert ids, "nobody booked a provider with a push subscription"
    return [
        f"{booking_id}: accepted {accepted[booking_id]} times, arrived {arrived[booking_id]} times"
        for booking_id in ids
        if accepted[booking_id] != 1 or not arrived[booking_id]
    ]


def check(url: str, told: Told, receiver: PushReceiver) -> None:
    """See that nothing is lost, nothing half made, and nothing counted twice or not at all."""
    assert len(told.made) > ENOUGH
    assert told.broken_off, "no request was ever cut off: the kills came at idle moments"
    assert receiver.problems == []
    with store(url) as connection:
        if url.startswith("sqlite"):
            assert damages(connection) == []
        assert broken_promises(connection, told) == []
        assert half_made(connection) == []
        assert unheard(connection, told) == []
        assert unpushed(connection, receiver) == []
        assert miscounts(connection) == []
        outcomes = rows(
            connection,
            "SELECT DISTINCT stage, outcome, reason FROM stages JOIN bookings ON id = booking_id"  # noqa: S608 - as said
            f" WHERE stage NOT IN ('realtime', 'push') AND NOT (stage = 'notification' AND provider_id IN {PUSHED})",
        )
        assert sorted(outcomes) == [
            ("chat_room", "good", "on_time"),
            ("message", "good", "on_time"),
            ("notification", "good", "on_time"),
        ]
        pushed_late = (
            "SELECT s.booking_id FROM stages s JOIN deliveries d ON d.booking_id = s.booking_id AND d.stage = 'push'"
            " WHERE s.stage = 'notification' AND s.outcome = 'good' AND d.delivered_at > s.due_at"
        )
        assert rows(connection, pushed_late) == [], "a notification is good whose push came late"
        created = rows(connection, "SELECT created_at FROM bookings ORDER BY id")
        assert created == sorted(created)


class Killer:
    """Kills a service with SIGKILL, each time at another moment of its life."""

    def __init__(self, service: ForkedService, chance: random.Random) -> None:
        self._service = service
        self._chance = chance
        self.kills = 0

    async def while_it_starts(self) -> None:
        """Kill between the start of the process and its first requests, the first time while it makes its store."""
        await asyncio.to_thread(self._service.launch)
        await self._kill_within(UP)

    async def at_work(self, told: Told) -> None:
        """Kill while bookings are made and delivered and, for the older ones, judged."""
        await asyncio.to_thread(self._service.start)
        await grows(lambda: len(told.made), 1, "bookings are made")
        await self._kill_within(1.2)

    async def while_it_stops(self, told: Told) -> None:
        """Kill after SIGTERM, while requests are drained and connections closed, or just after."""
        await asyncio.to_thread(self._service.start)
        await grows(lambda: len(told.made), 1, "bookings are made")
        self._service.ask_to_stop()
        await self._kill_within(0.2)

    async def _kill_within(self, seconds: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, seconds))
        await asyncio.to_thread(self._service.kill)
        self.kills += 1


@pytest.mark.timeout(300)
async def test_fifty_kills_under_load_lose_no_answered_booking_and_count_none_twice(
    service: ForkedService, receiver: PushReceiver
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    url = f"sqlite:///{service.database_path}"
    killer = Killer(service, chance)
    for _ in range(6):
        await killer.while_it_starts()
    await asyncio.to_thread(service.start)
    subscribe(service, receiver)
    service.kill()
    killer.kills = 0
    async with Traffic(lambda: service.url, customers=12) as traffic:
        told = traffic.told
        kinds: dict[Callable[[], Awaitable[None]], int] = {
            killer.while_it_starts: 8,
            partial(killer.at_work, told): 34,
            partial(killer.while_it_stops, told): 8,
        }
        moments = [kill for kill, times in kinds.items() for _ in range(times)]
        chance.shuffle(moments)
        for kill in moments:
            await kill()
        assert killer.kills == 50
        while not (told.replays and told.broken_off):  # few kills meet an answer that is just leaving
            await killer.at_work(told)
        await asyncio.to_thread(service.start)
        await until(lambda: len(told.made) > ENOUGH, "enough bookings are made")
        await traffic.stop_booking()
        await wait_for_rest(url)
        assert await asyncio.to_thread(service.stop) == 0
    assert told.replays, "no repeated request ever met its own booking"
    check(url, told, receiver)
    with store(url) as connection:
        assert rows(connection, "SELECT count(*) FROM live_subscriptions WHERE closed_at IS NULL") == [0]


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A PostgreSQL of our own that waits for the disk."""
    with postgres_server(durable=True) as server:
        yield server


@pytest.mark.timeout(180)
async def test_kills_of_the_service_and_of_postgresql_under_load_lose_no_answered_booking(
    service: ForkedService, database: PostgresServer, receiver: PushReceiver
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    with database.fresh_database() as url:
        service.settings |= {"database_url": url}
        await asyncio.to_thread(upgrade_store, url)
        await asyncio.to_thread(service.start)
        subscribe(service, receiver)
        async with Traffic(lambda: service.url) as traffic:
            told = traffic.told
            for victim in chance.sample(["service"] * 10 + ["database"] * 5, 15):
                await grows(lambda: len(told.made), 25, "bookings are made")
                await asyncio.sleep(chance.uniform(0, 0.8))
                if victim == "service":
                    await asyncio.to_thread(service.kill)
                    await asyncio.to_thread(service.start)
                else:
                    await asyncio.to_thread(database.kill)
                    await grows(lambda: told.statuses[503], 5, "requests are answered 503")
                    await asyncio.to_thread(database.start)
            await until(lambda: len(told.made) > ENOUGH, "enough bookings are made")
            await traffic.stop_booking()
            await wait_for_rest(url)
            assert await asyncio.to_thread(service.stop) == 0
        check(url, told, receiver)
