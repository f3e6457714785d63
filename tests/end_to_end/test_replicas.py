"""Replicas on one store: each event is heard wherever its provider is, one leads, and each stage is counted once."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest
from support.bookkeeping import half_made, miscounts, rows, store, unfinished, unheard
from support.realtime import (
    acknowledge,
    api_of,
    book,
    delivered,
    judged,
    next_event,
    next_events,
    outcome_of,
    read_to_the_end,
    subscribed,
)
from support.replicas import Replicas, leads, ledger_numbers, two_replicas
from support.service import PREFIX
from support.traffic import Traffic
from support.waiting import eventually, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import PostgresServer
    from websockets.asyncio.client import ClientConnection

TAKEOVER_SECONDS = 15.0
"""Within which another replica leads after the leader's death: 10 s, and what a busy machine adds to that."""
LATE_SECONDS = 10.0
"""Within which an event comes from the store when NATS does not bring it: 2 s, and the same."""

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def replicas(postgres: PostgresServer) -> Iterator[Replicas]:
    with (
        postgres.fresh_database() as url,
        two_replicas(
            url, grace_chat_room=1, grace_notification=1, grace_realtime=3, settle=0.2, acknowledge_timeout=0.5
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def patient(postgres: PostgresServer) -> Iterator[Replicas]:
    """Replicas that get nothing from the store before a test is over: what comes is brought by NATS."""
    with (
        postgres.fresh_database() as url,
        two_replicas(url, grace_realtime=6, settle=0.2, acknowledge_timeout=60) as running,
    ):
        yield running


@pytest.fixture
def provider() -> str:
    """A provider that no other test has."""
    return f"t-{uuid4().hex[:12]}"


async def fan_out_works(replicas: Replicas) -> None:
    """Wait until an event of either replica reaches a subscriber of the other one by NATS."""
    for sender, receiver in itertools.permutations((replicas.first, replicas.second)):
        probe = f"t-{uuid4().hex[:12]}"
        async with api_of(sender) as api, subscribed(receiver.url, probe) as socket:

            async def fast(api: httpx.AsyncClient = api, socket: ClientConnection = socket, probe: str = probe) -> bool:
                booking_id = await book(api, probe)
                return await arrives(socket, booking_id, 0.3)

            await eventually(fast, what="the replicas hear each other", timeout_seconds=30)


async def arrives(socket: ClientConnection, booking_id: str, timeout_seconds: float) -> bool:
    """Whether the event of a booking comes in time; repeats of others are acknowledged and left aside."""
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                event = await next_event(socket)
                await acknowledge(socket, event["id"])
                if event["booking"]["id"] == booking_id:
                    return True
    except TimeoutError:
        return False


def open_subscriptions(replicas: Replicas) -> list[str]:
    """The providers whose subscriptions are open by the store."""
    with store(replicas.database_url) as connection:
        return [
            str(one) for one in rows(connection, "SELECT provider_id FROM live_subscriptions WHERE closed_at IS NULL")
        ]


def all_judged(replicas: Replicas) -> bool:
    with store(replicas.database_url) as connection:
        return rows(connection, "SELECT count(*) FROM stages WHERE outcome IS NULL") == [0]


def nothing_is_counted_wrong(replicas: Replicas) -> None:
    """Every stage has been judged, and all counts are those of a recount."""
    wait_until(lambda: all_judged(replicas), what="everything is judged", timeout_seconds=30)
    with store(replicas.database_url) as connection:
        assert miscounts(connection) == []
        assert half_made(connection) == []


def test_a_store_that_was_not_upgraded_is_refused_with_what_to_do(postgresql_url: str) -> None:
    program = str(Path(sys.executable).with_name("booking-monitor"))
    variables = {f"{PREFIX}DATABASE_URL": postgresql_url, f"{PREFIX}PORT": "0"}
    ended = subprocess.run([program, "serve"], env=variables, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "booking-monitor db upgrade" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


def test_a_store_that_is_not_there_is_an_error_of_one_line() -> None:
    program = str(Path(sys.executable).with_name("booking-monitor"))
    variables = {f"{PREFIX}DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:9/none", f"{PREFIX}PORT": "0"}
    ended = subprocess.run([program, "serve"], env=variables, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr + ended.stdout


async def test_an_event_reaches_a_subscriber_of_another_replica_at_once(patient: Replicas, provider: str) -> None:
    await fan_out_works(patient)
    async with (
        api_of(patient.first) as here,
        api_of(patient.second) as there,
        subscribed(patient.second.url, provider) as socket,
    ):
        booking_id = await book(here, provider)
        event = await next_event(socket)
        assert event["booking"]["id"] == booking_id
        await acknowledge(socket, event["id"])
        for api in (here, there):
            journey = await delivered(api, booking_id)
            assert [attempt["result"] for attempt in journey["delivery"]["realtime"]["history"]] == ["ok"]
        assert outcome_of(await judged(there, booking_id)) == ("good", "on_time")


async def test_devices_of_one_provider_on_two_replicas_both_hear_and_one_acknowledgement_is_enough(
    patient: Replicas, provider: str
) -> None:
    await fan_out_works(patient)
    async with (
        api_of(patient.first) as api,
        subscribed(patient.first.url, provider) as phone,
        subscribed(patient.second.url, provider) as tablet,
    ):
        booking_id = await book(api, provider)
        event = await next_event(phone)
        assert (await next_event(tablet))["id"] == event["id"]
        await acknowledge(tablet, event["id"])
        journey = await judged(api, booking_id)
        assert outcome_of(journey) == ("good", "on_time")
        assert journey["delivery"]["realtime"]["state"] == "delivered"


async def test_one_replica_leads_and_both_show_the_same_ledger(replicas: Replicas, provider: str) -> None:
    async with api_of(replicas.first) as first, api_of(replicas.second) as second:
        for api in (first, second, first):
            await book(api, provider)
    await asyncio.to_thread(nothing_is_counted_wrong, replicas)

    def same() -> bool:
        return ledger_numbers(replicas.first) == ledger_numbers(replicas.second)

    await asyncio.to_thread(wait_until, same, what="both replicas show the same ledger", timeout_seconds=30)
    numbers = ledger_numbers(replicas.first)
    assert numbers['booking_bookings_total{traffic="real",platform="embedded"}'] >= 3
    assert len(replicas.leaders) == 1


@pytest.mark.parametrize("fault", ["paused", "killed"])
async def test_without_nats_events_are_late_and_none_is_lost(replicas: Replicas, provider: str, fault: str) -> None:
    await fan_out_works(replicas)
    async with api_of(replicas.first) as api, subscribed(replicas.second.url, provider) as socket:
        if fault == "paused":
            replicas.nats.pause()
        else:
            replicas.nats.kill()
        try:
            bookings = {await book(api, provider) for _ in range(20)}
            async with asyncio.timeout(LATE_SECONDS):
                for event in await next_events(socket, bookings):
                    await acknowledge(socket, event["id"])
            for booking_id in bookings:
                await delivered(api, booking_id)
        finally:
            if fault == "paused":
                replicas.nats.resume()
            else:
                replicas.nats.start()
        await fan_out_works(replicas)
        new = await book(api, provider)
        assert await arrives(socket, new, LATE_SECONDS)


async def test_a_replica_stops_in_time_although_nats_hangs(replicas: Replicas, provider: str) -> None:
    await fan_out_works(replicas)
    replicas.nats.pause()
    try:
        async with api_of(replicas.second) as api:
            for _ in range(10):
                await book(api, provider, notes_of_the_test="x" * 16_000)
        begun = time.monotonic()
        await asyncio.to_thread(replicas.second.stop)
        assert time.monotonic() - begun < 10
    finally:
        replicas.nats.resume()
        await asyncio.to_thread(replicas.second.start)


@pytest.mark.timeout(180)
async def test_both_replicas_take_bookings_and_acknowledgements_at_once_without_refusing_one(
    replicas: Replicas,
) -> None:
    turns = itertools.cycle((replicas.first.url, replicas.second.url))
    async with Traffic(lambda: next(turns), customers=16) as traffic:
        await asyncio.to_thread(
            wait_until, lambda: len(traffic.told.made) >= 500, what="bookings are made", timeout_seconds=60
        )
        await traffic.stop_booking()

        def rest() -> bool:
            with store(replicas.database_url) as connection:
                return not unfinished(connection)

        await asyncio.to_thread(wait_until, rest, what="all is delivered and judged", timeout_seconds=60)
    assert set(traffic.told.statuses) == {httpx.codes.CREATED}
    assert traffic.told.faults == []
    with store(replicas.database_url) as connection:
        assert unheard(connection, traffic.told) == []
    await asyncio.to_thread(nothing_is_counted_wrong, replicas)


async def test_after_the_leaders_death_another_replica_leads_within_seconds_and_its_subscribers_are_gone(
    replicas: Replicas, provider: str
) -> None:
    leader, follower = replicas.leader_and_follower()
    async with api_of(follower) as api:
        async with subscribed(leader.url, provider) as socket:
            assert provider in open_subscriptions(replicas)
            bookings = [await book(api, provider) for _ in range(5)]
            leader.kill()
            await read_to_the_end(socket)
        after = await book(api, provider)
        try:
            await asyncio.to_thread(
                wait_until, lambda: leads(follower), what="the other one leads", timeout_seconds=TAKEOVER_SECONDS
            )
            await asyncio.to_thread(
                wait_until, lambda: provider not in open_subscriptions(replicas), what="its subscriptions are closed"
            )
            assert outcome_of(await judged(api, after)) == ("exempt", "no_live_subscription")
        finally:
            await asyncio.to_thread(leader.start)
        async with subscribed(leader.url, provider) as socket:
            again = await next_events(socket, {*bookings, after})
            await acknowledge(socket, *(event["id"] for event in again))
            for booking_id in (*bookings, after):
                await delivered(api, booking_id)
    await asyncio.to_thread(nothing_is_counted_wrong, replicas)
    assert replicas.leaders == [follower]


async def test_a_leader_that_was_paused_for_longer_than_its_lease_writes_nothing_as_leader_any_more(
    replicas: Replicas, provider: str
) -> None:
    leader, follower = replicas.leader_and_follower()
    async with subscribed(leader.url, provider) as socket, api_of(follower) as api:
        async with api_of(leader) as there:
            for _ in range(20):
                await book(there, provider)
        leader.pause()  # with stages that come due while it sleeps
        try:
            for _ in range(20):
                await book(api, provider)
            await asyncio.to_thread(
                wait_until, lambda: leads(follower), what="the other one leads", timeout_seconds=TAKEOVER_SECONDS
            )
            await asyncio.to_thread(wait_until, lambda: all_judged(replicas), what="the other one judges")
        finally:
            leader.resume()
        for _ in range(5):
            assert not leads(leader)
            await book(api, provider)
        # It was taken for dead: its subscribers have to come back, so that they are known to be live.
        await read_to_the_end(socket)
        async with subscribed(leader.url, provider) as back:
            new = await book(api, provider)
            assert await arrives(back, new, LATE_SECONDS)
            assert provider in open_subscriptions(replicas)
    await asyncio.to_thread(nothing_is_counted_wrong, replicas)
    assert replicas.leaders == [follower]


async def test_a_leader_that_stops_cleanly_hands_over_at_once(replicas: Replicas) -> None:
    leader, follower = replicas.leader_and_follower()
    held = "SELECT holder, expires_at > 0 FROM leases WHERE name = 'leader'"
    with store(replicas.database_url) as connection:
        [(holder, _)] = rows(connection, held)
        await asyncio.to_thread(leader.stop)
        try:
            assert rows(connection, held) != [(holder, True)], "nobody has to wait for its end"
            await asyncio.to_thread(wait_until, lambda: leads(follower), what="the other one leads")
        finally:
            await asyncio.to_thread(leader.start)


def test_no_replica_has_met_a_fault_of_its_own_code(replicas: Replicas) -> None:
    lines = [line for one in (replicas.first, replicas.second) for line in one.log_events()]
    assert [line for line in lines if "exception" in line] == []
