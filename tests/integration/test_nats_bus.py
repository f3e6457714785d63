"""Replicas tell each other of new events over NATS, and neither its absence nor what others send there hurts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson
import pytest
from nats import connect
from support.nats import NatsServer, nats_server
from support.waiting import eventually

from monitor.pipeline.realtime.hub import Event
from monitor.pipeline.realtime.nats_bus import NatsBus, subject_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AT_ONCE_SECONDS = 10
"""On a busy machine, for what would else wait until NATS is there."""
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
BOOKING = {"id": "b-1", "customer_name": 'Sam "Ö" \\ \u2028', "price_minor": 35_000_000, "notes": None}


def event(number: int = 1, size: int = 0) -> Event:
    booking = orjson.dumps({**BOOKING, "extra": "x" * size})
    return Event(f"event-{number}", f"booking-{number}", "t-17", 1, booking, TRACEPARENT)


class Replica:
    """A bus, and what it heard."""

    def __init__(self, server: NatsServer, name: str, environment: str = "test") -> None:
        self.bus = NatsBus(server.url, name, environment)
        self.heard: list[Event] = []

    async def heard_of(self, *numbers: int, timeout_seconds: float = 15) -> None:
        """Wait until these events were heard of."""

        async def complete() -> bool:
            return {event(number).id for number in numbers} <= {found.id for found in self.heard}

        await eventually(complete, what=f"events {numbers} arrive", timeout_seconds=timeout_seconds)


@asynccontextmanager
async def joined(server: NatsServer, *names: str) -> AsyncIterator[list[Replica]]:
    """Replicas that hear each other."""
    replicas = [Replica(server, name) for name in names]
    for replica in replicas:
        await replica.bus.start(replica.heard.append)
    try:
        yield replicas
    finally:
        async with asyncio.timeout(10):
            for replica in replicas:
                await replica.bus.stop()


async def until_heard(sender: Replica, *others: Replica, number: int = 0) -> None:
    """Publish the same event until the others hear it: they are joined then."""

    async def heard() -> bool:
        await sender.bus.publish([event(number)])
        return all(event(number).id in {found.id for found in other.heard} for other in others)

    await eventually(heard, what="the replicas hear each other", timeout_seconds=30)


async def test_an_event_reaches_every_other_replica_as_it_was_and_not_its_sender(nats: NatsServer) -> None:
    async with joined(nats, "a", "b", "c") as (a, b, c):
        await until_heard(a, b, c)
        await a.bus.publish([event(1), event(2)])
        for other in (b, c):
            await other.heard_of(1, 2)
            assert [found for found in other.heard if found.id != "event-0"] == [event(1), event(2)]
            assert orjson.loads(other.heard[-1].frame)["booking"]["customer_name"] == BOOKING["customer_name"]
        assert a.heard == []


async def test_a_group_that_is_too_large_for_one_message_comes_in_several(nats: NatsServer) -> None:
    async with joined(nats, "a", "b") as (a, b):
        await until_heard(a, b)
        # Together 4 MB; the server takes messages of 1 MB.
        numbers = range(1, 65)
        await a.bus.publish([event(number, size=64_000) for number in numbers])
        await b.heard_of(*numbers)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"from":"x"}',
        b'{"from":"x","events":null}',
        b'{"from":"x","events":[1]}',
        b'{"from":"x","events":[[]]}',
        b'{"from":"x","events":[["a","b","c"]]}',
        b'{"from":"x","events":[["a","b","c","many",{},null]]}',
        b'{"from":"x","events":[[1,"b","c",1,{},null]]}',
        b'{"from":"x","events":[["a","b",null,1,{},null]]}',
        b'{"from":"x","events":[["a","b","c",1,{},{}]]}',
        b'{"from":"x","events":[["a","b","c",1,"no object",null]]}',
        b"x" * 500_000,
    ],
    ids=lambda data: data[:60].decode("latin-1") or "empty",
)
async def test_what_is_no_message_of_ours_is_ignored(nats: NatsServer, garbage: bytes) -> None:
    async with joined(nats, "a", "b") as (a, b):
        await until_heard(a, b)
        async with await connect(nats.url) as stranger:
            await stranger.publish(subject_of("test"), garbage)
            await stranger.flush()
        await a.bus.publish([event(1)])
        await b.heard_of(1)
        assert {found.id for found in b.heard} == {"event-0", "event-1"}


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f"cc-{TRACE_ID}-b7ad6b7169203331-03-more", TRACEPARENT),
        (TRACE_ID, None),
        ('","booking":{},"x":"', None),
        (None, None),
    ],
    ids=["ours", "a later version", "the id alone", "no trace", "none"],
)
async def test_an_event_of_a_replica_of_another_version_arrives_and_only_a_trace_context_is_taken_for_one(
    nats: NatsServer, sent: str | None, taken: str | None
) -> None:
    async with joined(nats, "a", "b") as (a, b):
        await until_heard(a, b)
        async with await connect(nats.url) as other:
            events = [["event-1", "booking-1", "t-17", 1, BOOKING, sent]]
            await other.publish(subject_of("test"), orjson.dumps({"from": "c", "events": events}))
            await other.flush()
        await b.heard_of(1)
    [heard] = [found for found in b.heard if found.id == "event-1"]
    assert heard.traceparent == taken
    assert orjson.loads(heard.frame)["booking"] == BOOKING


async def test_two_installations_that_share_a_nats_do_not_hear_each_other(nats: NatsServer) -> None:
    async with joined(nats, "a", "b") as (a, b):
        await until_heard(a, b)
        stranger = Replica(nats, "c", environment="another")
        await stranger.bus.start(stranger.heard.append)
        try:
            await a.bus.publish([event(1)])
            await b.heard_of(1)
            assert stranger.heard == []
        finally:
            await stranger.bus.stop()


async def test_a_replica_starts_without_nats_and_joins_when_it_is_there() -> None:
    with nats_server() as server:
        server.stop()
        async with joined(server, "a", "b") as (a, b):
            async with asyncio.timeout(AT_ONCE_SECONDS):
                await a.bus.publish([event(9)])
            server.start()
            await until_heard(a, b)


async def test_the_connection_is_made_again_after_nats_was_away() -> None:
    with nats_server() as server:
        async with joined(server, "a", "b") as (a, b):
            await until_heard(a, b)
            server.kill()
            async with asyncio.timeout(AT_ONCE_SECONDS):
                await a.bus.publish([event(1)])
            server.start()
            await until_heard(a, b, number=2)


@pytest.mark.timeout(60)
async def test_a_nats_that_hangs_holds_up_nobody_and_bounds_what_waits() -> None:
    with nats_server() as server:
        async with joined(server, "a", "b") as (a, b):
            await until_heard(a, b)
            server.pause()
            try:
                async with asyncio.timeout(10):
                    for _ in range(60):
                        await a.bus.publish([event(1, size=500_000)])
                        await asyncio.sleep(0)
                assert a.bus._client.pending_data_size < 20_000_000
            finally:
                server.resume()
            await until_heard(a, b, number=2)
