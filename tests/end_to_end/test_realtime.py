"""A booking reaches the provider's device as soon as it is made, and is brought again until the device says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket as sockets
import struct
import time
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import psutil
import pytest
from support.exposition import metric
from support.realtime import (
    acknowledge,
    api_of,
    book,
    delivered,
    event_stream,
    journey_of,
    journey_when,
    judged,
    next_event,
    next_events,
    outcome_of,
    provider_token,
    read_to_the_end,
    realtime_url,
    subscribed,
)
from support.service import API_TOKEN, RunningService, running_service
from support.waiting import eventually
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from monitor.web.realtime import CLOSE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUEUE_LIMIT = 40
HEARTBEAT_SECONDS = 4.0
"""Longer than a device on a busy machine may take to answer a ping."""
GRACE_SECONDS = 5
FIRST_DELAY_SECONDS = 0.4
MESSAGES_PER_SECOND = 20
SUBSCRIPTIONS = 3
LARGE = "x" * 16_000
"""Makes an event so large that a few hundred fill every buffer on the way."""
NOT_UTF_8 = b'{"type":"ping","id":"\xff"}'
"""A message that is no text, though it is sent as one."""
ENOUGH = 400
"""So many large events fill the buffers of the kernel, and then the queue."""


SETTINGS: dict[str, Any] = {
    "api_tokens": API_TOKEN,
    "grace_realtime": GRACE_SECONDS,
    "settle": 0.2,
    "realtime_heartbeat": HEARTBEAT_SECONDS,
}
PATIENT: dict[str, Any] = {"acknowledge_timeout": 60}
"""What is not acknowledged is not brought again before a test is over: each event comes once, at once or not at all."""


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """It soon brings again what is not acknowledged."""
    with running_service(
        **SETTINGS,
        acknowledge_timeout=0.4,
        delivery_first_delay=FIRST_DELAY_SECONDS,
        subscriber_queue_limit=QUEUE_LIMIT,
        subscriber_messages_per_second=MESSAGES_PER_SECOND,
        subscriptions_per_provider=SUBSCRIPTIONS,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def patient() -> Iterator[RunningService]:
    with running_service(**SETTINGS, **PATIENT) as running:
        yield running


@pytest.fixture
async def api(service: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    async with api_of(service) as shown:
        yield shown


@pytest.fixture
def provider() -> str:
    """A provider that no other test has."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
async def token(api: httpx.AsyncClient, provider: str) -> str:
    return await provider_token(api, provider)


def handshake(service: RunningService, path: str, provider: str, token: str) -> bytes:
    """The request with which a device subscribes, over WebSocket or server-sent events as `path` says."""
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    return (
        f"GET {path}?provider_id={provider}&token={token} HTTP/1.1\r\nHost: {service.address}\r\n"
        f"{upgrade if path == '/v1/realtime' else ''}\r\n"
    ).encode()


async def live(api: httpx.AsyncClient, transport: str) -> float:
    """How many subscribers are connected."""
    return metric((await api.get("/metrics")).text, "booking_realtime_subscriptions", transport=transport)


def at(text: str) -> float:
    """A time of the API, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


async def live_again(api: httpx.AsyncClient, transport: str, number: float) -> None:
    """Wait until so many subscribers are connected."""

    async def so_many() -> bool:
        return await live(api, transport) == number

    await eventually(so_many, what=f"{number} subscribers are connected", timeout_seconds=30)


async def connects(url: str) -> None:
    """Wait until there is a place for another device."""

    async def has_place() -> bool:
        try:
            async with connect(url, proxy=None):
                return True
        except InvalidStatus:
            return False

    await eventually(has_place, what="there is a place")


async def acknowledge_by_post(api: httpx.AsyncClient, provider_id: str, *event_ids: str) -> int:
    body = {"provider_id": provider_id, "ids": event_ids}
    answer = (await api.post("/v1/realtime/acknowledgements", json=body)).raise_for_status()
    return int(answer.json()["acknowledged"])


async def what_comes(socket: ClientConnection, seconds: float) -> list[dict[str, Any]]:
    """All events that come within some time."""
    found = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                found.append(await next_event(socket))
    return found


async def judge_runs(api: httpx.AsyncClient) -> float:
    """How often the judge has run."""
    return metric((await api.get("/metrics")).text, "booking_job_runs", job="judge", result="ok")


async def test_a_booking_reaches_its_provider_at_once_and_the_acknowledgement_is_the_evidence(
    patient: RunningService, provider: str
) -> None:
    async with (
        api_of(patient) as api,
        subscribed(patient.url, provider, token=await provider_token(api, provider)) as socket,
    ):
        booking_id = await book(api, provider)
        event = await next_event(socket)  # straight after the commit: the outbox waits for far longer
        assert (event["booking"]["id"], event["booking_id"], event["sequence"]) == (booking_id, booking_id, 1)
        assert event["booking"]["provider_id"] == provider
        await acknowledge(socket, event["id"])
        journey = await journey_when(
            api,
            booking_id,
            # A journey is read in two steps: the evidence can be newer than the delivery beside it.
            lambda found: (
                found["stages"]["realtime"]["evidence_at"] and found["delivery"]["realtime"]["state"] == "delivered"
            ),
            what="there is evidence, and the delivery is over",
        )
        delivery = journey["delivery"]["realtime"]
        assert (delivery["id"], delivery["state"], delivery["attempts"]) == (event["id"], "delivered", 1)
        assert [attempt["result"] for attempt in delivery["history"]] == ["ok"]
        journey = await judged(api, booking_id)
    assert outcome_of(journey) == ("good", "on_time")


async def test_a_silent_device_is_told_again_with_growing_delays_and_the_stage_has_failed(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    async with subscribed(service.url, provider, token=token) as socket:
        booking_id = await book(api, provider)
        events = [await next_event(socket) for _ in range(3)]
        assert len({event["id"] for event in events}) == 1
        assert [event["sequence"] for event in events] == sorted({event["sequence"] for event in events})
        journey = await journey_when(
            api, booking_id, lambda found: outcome_of(found)[0] == "failed", what="the stage is judged"
        )
    assert outcome_of(journey) == ("failed", "subscriber_silent")
    delivery = journey["delivery"]["realtime"]
    assert delivery["state"] == "retrying"
    assert {attempt["result"] for attempt in delivery["history"]} == {"unacknowledged"}
    times = [at(attempt["at"]) for attempt in delivery["history"]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    planned = [FIRST_DELAY_SECONDS * 2**number * 0.8 for number in range(len(gaps))]
    assert len(gaps) >= 1
    assert all(gap >= least for gap, least in zip(gaps, planned, strict=True)), (gaps, planned)


async def test_a_late_acknowledgement_ends_the_retries_and_is_not_good_any_more(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    async with subscribed(service.url, provider, token=token) as socket:
        booking_id = await book(api, provider)
        event = await next_event(socket)
        await judged(api, booking_id)
        await acknowledge(socket, event["id"])
        journey = await delivered(api, booking_id)
    assert outcome_of(journey) == ("failed", "subscriber_silent")
    assert journey["delivery"]["realtime"]["next_attempt_at"] is None


async def test_an_answered_booking_is_not_brought_again(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    async with subscribed(service.url, provider, token=token) as socket:
        booking_id = await book(api, provider)
        await next_event(socket)
        (await api.post(f"/v1/bookings/{booking_id}/accept")).raise_for_status()
        journey = await judged(api, booking_id)
    delivery = journey["delivery"]["realtime"]
    assert (delivery["state"], delivery["next_attempt_at"]) == ("lapsed", None)
    assert outcome_of(journey) == ("failed", "subscriber_silent")


async def test_an_acknowledgement_in_fragments_is_one_all_the_same(patient: RunningService, provider: str) -> None:
    async with (
        api_of(patient) as api,
        subscribed(patient.url, provider, token=await provider_token(api, provider)) as socket,
    ):
        booking_id = await book(api, provider)
        event = await next_event(socket)
        await socket.send(['{"type":"ack",', f'"id":"{event["id"]}"}}'])
        journey = await delivered(api, booking_id)
    assert journey["delivery"]["realtime"]["attempts"] == 1


async def test_acknowledgements_of_unknown_and_of_foreign_events_change_nothing(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    thief = f"{provider}-thief"
    async with (
        subscribed(service.url, provider, token=token) as socket,
        subscribed(service.url, thief, token=await provider_token(api, thief)) as foreign,
    ):
        booking_id = await book(api, provider)
        event = await next_event(socket)
        await acknowledge(foreign, event["id"], str(uuid4()), "", "no id")
        await acknowledge(socket, str(uuid4()))
        assert await acknowledge_by_post(api, thief, event["id"]) == 0
        repeated = await next_event(socket)
        assert repeated["id"] == event["id"]
        assert (await journey_of(api, booking_id))["stages"]["realtime"]["evidence_at"] is None
        await acknowledge(socket, event["id"], event["id"])
        journey = await delivered(api, booking_id)
    assert [attempt["result"] for attempt in journey["delivery"]["realtime"]["history"]].count("ok") == 1


async def test_every_device_of_a_provider_hears_of_a_booking_and_one_acknowledgement_is_enough(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    async with (
        subscribed(service.url, provider, token=token) as phone,
        subscribed(service.url, provider, token=token) as tablet,
    ):
        booking_id = await book(api, provider)
        first, second = await next_event(phone), await next_event(tablet)
        assert first == second
        await acknowledge(tablet, first["id"])
        journey = await delivered(api, booking_id)
        # What was sent again before the acknowledgement was there may still come.
        sendings = [event["sequence"] for event in await what_comes(phone, 1.5)]
    assert max(sendings, default=1) <= journey["delivery"]["realtime"]["attempts"]


async def test_a_provider_hears_of_its_own_bookings_only(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    async with subscribed(service.url, provider, token=token) as socket:
        await book(api, f"{provider}-other")
        mine = await book(api, provider)
        assert (await next_event(socket))["booking"]["id"] == mine


async def test_a_returning_device_gets_what_it_missed_in_order_and_then_what_is_new(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    # `max_queue`: the library reads on, and answers pings, while its user makes bookings.
    async with subscribed(service.url, provider, token=token, max_queue=None) as other:
        async with subscribed(service.url, provider, token=token) as socket:
            seen = [await book(api, provider) for _ in range(2)]
            last_id = [(await next_event(socket))["id"] for _ in seen][-1]
        missed = [await book(api, provider) for _ in range(QUEUE_LIMIT + 10)]
        # Another device acknowledges all of it: only the store knows what this one missed.
        acknowledged = [event["id"] for event in await next_events(other, {*seen, *missed})]
        await acknowledge(other, *acknowledged)
        async with subscribed(service.url, provider, token=token, last_id=last_id) as socket:
            new = await book(api, provider)
            events = await next_events(socket, {*missed, new})
    ids = [event["booking"]["id"] for event in events]
    assert [booking_id for booking_id in ids if booking_id not in seen] == [*missed, new]
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)


async def test_a_device_that_returns_without_an_id_gets_what_nobody_acknowledged() -> None:
    with running_service(acknowledge_timeout=0.4, delivery_first_delay=60) as service:
        async with api_of(service) as api:
            async with subscribed(service.url, "t-17") as socket:
                known, unknown = [await book(api, "t-17") for _ in range(2)]
                events = {event["booking"]["id"]: event for event in await next_events(socket, {known, unknown})}
                await acknowledge(socket, events[known]["id"])
                await delivered(api, known)
                await journey_when(
                    api, unknown, lambda found: found["delivery"]["realtime"]["attempts"] == 1, what="it was tried"
                )
            async with subscribed(service.url, "t-17") as socket:
                # At once, although by its plan the next attempt would be a minute later.
                assert (await next_event(socket))["booking"]["id"] == unknown


async def test_more_unacknowledged_events_than_the_queue_holds_all_reach_a_device_that_reads(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    bookings = [await book(api, provider) for _ in range(3 * QUEUE_LIMIT)]
    async with subscribed(service.url, provider, token=token) as socket:
        acknowledged = 0
        # Far more acknowledgements a second than other messages are allowed.
        for event in await next_events(socket, set(bookings)):
            await acknowledge(socket, event["id"])
            acknowledged += 1
        assert acknowledged == len(bookings) > MESSAGES_PER_SECOND
        for booking_id in bookings:
            await delivered(api, booking_id)


async def test_nothing_is_owed_when_nobody_was_connected(api: httpx.AsyncClient, provider: str) -> None:
    booking_id = await book(api, provider)
    journey = await judged(api, booking_id)
    assert outcome_of(journey) == ("exempt", "no_live_subscription")
    assert journey["delivery"]["realtime"]["attempts"] == 0


async def test_a_device_that_connects_before_the_due_time_makes_the_event_owed_and_gets_it(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    silent = f"{provider}-silent"
    heard = await book(api, provider)
    unheard = await book(api, silent)
    async with (
        subscribed(service.url, provider, token=token) as socket,
        subscribed(service.url, silent, token=await provider_token(api, silent)),
    ):
        event = await next_event(socket)
        assert event["booking"]["id"] == heard
        await acknowledge(socket, event["id"])
        for booking_id, outcome in ((heard, ("good", "on_time")), (unheard, ("failed", "subscriber_silent"))):
            journey = await judged(api, booking_id)
            assert outcome_of(journey) == outcome


@pytest.mark.parametrize(
    ("shown", "status"),
    [(None, 401), ("not-a-token", 401), ("x" * 2000, 401), ("foreign", 403)],
)
async def test_a_handshake_without_the_providers_token_is_refused(
    service: RunningService, api: httpx.AsyncClient, provider: str, shown: str | None, status: int
) -> None:
    token = await provider_token(api, "t-another") if shown == "foreign" else shown
    with pytest.raises(InvalidStatus) as refused:
        async with connect(realtime_url(service.url, provider, token=token), proxy=None):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["status"] == status
    async with httpx.AsyncClient(base_url=service.url, trust_env=False) as anybody:
        query = {"provider_id": provider, **({} if token is None else {"token": token})}
        assert (await anybody.get("/v1/realtime/events", params=query)).status_code == status


async def test_a_token_ends_with_its_lifetime() -> None:
    with running_service(api_tokens=API_TOKEN, provider_token_lifetime=8) as service:
        async with api_of(service) as api:
            token = await provider_token(api, "t-17")
        async with subscribed(service.url, "t-17", token=token):
            pass

        async def refused() -> bool:
            async with api_of(service, token) as browser:
                answer = await browser.get("/v1/providers/t-17/notifications")
            return answer.status_code == httpx.codes.UNAUTHORIZED

        await eventually(refused, what="the token has ended", timeout_seconds=30)
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(realtime_url(service.url, "t-17", token=token), proxy=None):
                pass
        assert refusal.value.response.status_code == httpx.codes.UNAUTHORIZED


@pytest.mark.parametrize(
    "query", [{}, {"provider_id": ""}, {"provider_id": "a b"}, {"provider_id": "t-17", "last_id": "17"}, "uuid4"]
)
async def test_a_handshake_that_is_not_in_order_is_refused_and_names_the_field(
    service: RunningService, api: httpx.AsyncClient, query: dict[str, str] | str
) -> None:
    given = {"provider_id": "t-17", "last_id": str(uuid4())} if isinstance(query, str) else query
    url = str(httpx.URL(f"{service.url.replace('http', 'ws', 1)}/v1/realtime", params=given))
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, additional_headers={"Authorization": f"Bearer {API_TOKEN}"}, proxy=None):
            pass
    assert refused.value.response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    [error] = json.loads(refused.value.response.body or b"")["errors"]
    assert error["field"] in ("provider_id", "last_id")
    answer = await api.get("/v1/realtime/events", params=given)
    assert answer.json()["errors"][0]["field"] == error["field"]


async def test_a_provider_has_a_limit_of_devices(service: RunningService, provider: str, token: str) -> None:
    url = realtime_url(service.url, provider, token=token)
    sockets_ = [await connect(url, proxy=None) for _ in range(SUBSCRIPTIONS)]
    try:
        for socket in sockets_:
            await socket.recv()
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
        assert refused.value.response.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert refused.value.response.headers["Retry-After"] == "1"
    finally:
        for socket in sockets_:
            await socket.close()
    await connects(url)


@pytest.mark.parametrize("message", ["", "{", "17", "null", '"ack"', "[]", '{"type":"ack"}', '{"type":"ack","id":17}'])
async def test_a_message_that_is_not_in_order_is_answered_with_what_is_allowed(
    service: RunningService, provider: str, token: str, message: str
) -> None:
    async with subscribed(service.url, provider, token=token) as socket:
        await socket.send(message)
        answer = json.loads(await asyncio.wait_for(socket.recv(), 5))
        assert answer["type"] == "error"
        assert '"type":"ack"' in answer["detail"]
        await socket.send('{"type":"ping"}')
        await (await socket.ping())


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([b"\x00\x01"], 1003, id="binary"),
        pytest.param([NOT_UTF_8], 1007, id="not-utf-8"),
        pytest.param(["x" * 5_000], 1009, id="too-long-for-us"),
        pytest.param(["x" * 100_000], 1009, id="too-long-for-the-protocol"),
        pytest.param(['{"type":"ping"}'] * (3 * MESSAGES_PER_SECOND), 1008, id="too-many"),
        pytest.param(
            ['{"type":"ack","id":"x"}'] * (3 * MESSAGES_PER_SECOND), 1008, id="too-many-that-acknowledge-nothing"
        ),
    ],
)
async def test_a_device_that_breaks_the_rules_is_disconnected_and_others_are_not(
    service: RunningService,
    api: httpx.AsyncClient,
    provider: str,
    token: str,
    messages: list[str | bytes],
    code: int,
) -> None:
    async with subscribed(service.url, provider, token=token) as fair:
        async with subscribed(service.url, provider, token=token) as socket:
            with contextlib.suppress(ConnectionClosed):
                for message in messages:
                    await socket.send(message, text=True if message is NOT_UTF_8 else None)
            await read_to_the_end(socket)
            assert socket.close_code == code
        booking_id = await book(api, provider)
        assert (await next_event(fair))["booking"]["id"] == booking_id
    assert not [line for line in service.log_events() if line.get("exception")]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\x89\x80\0\0\0\0", id="pings"),
        pytest.param(b"\x8a\x80\0\0\0\0", id="pongs"),
        pytest.param(b"\x81\x83\0\0\0\0xyz", id="messages-though-it-was-closed-for-them"),
    ],
)
async def test_a_device_that_sends_all_that_the_network_takes_holds_up_nobody(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str, frame: bytes
) -> None:
    flooding = f"{provider}-flooding"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(handshake(service, "/v1/realtime", flooding, await provider_token(api, flooding)))
    assert b"101" in await reader.readline()

    async def flood() -> None:
        while True:
            writer.write(frame * 20_000)
            await writer.drain()

    async with subscribed(service.url, provider, token=token) as fair:
        flooded = asyncio.create_task(flood())
        waits = []
        for _ in range(10):
            booking_id = await book(api, provider)
            begun = time.monotonic()
            event = (await next_events(fair, {booking_id}))[-1]
            waits.append(time.monotonic() - begun)
            await acknowledge(fair, event["id"])
            await delivered(api, booking_id)
        assert median(waits) < 1, "one by one they may meet with something else that holds up the machine"
        runs = await judge_runs(api)

        async def goes_on() -> bool:
            return await judge_runs(api) >= runs + 2

        await eventually(goes_on, what="the jobs run all the same")
        assert not flooded.done()
        flooded.cancel()
        await asyncio.gather(flooded, return_exceptions=True)
    writer.transport.abort()


async def test_a_frame_before_the_handshake_is_answered_ends_the_connection_without_a_word_in_the_log(
    service: RunningService, api: httpx.AsyncClient, provider: str
) -> None:
    async def hasten(provider_id: str) -> None:
        request = handshake(service, "/v1/realtime", provider_id, await provider_token(api, provider_id))
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request + b"\x81\x01x")
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10 * HEARTBEAT_SECONDS)
        writer.transport.abort()

    await asyncio.gather(*(hasten(f"{provider}-{number}") for number in range(20)))
    assert not [line for line in service.log_events() if line.get("exception")]


async def test_a_device_that_stops_reading_is_disconnected_catches_up_and_holds_up_nobody() -> None:
    # Its heartbeat is longer than the test: it is the full queue that ends the connection.
    with running_service(subscriber_queue_limit=QUEUE_LIMIT, **PATIENT) as service:
        # `max_queue=1`: the library reads no further than one message ahead of its user.
        async with (
            api_of(service) as api,
            subscribed(service.url, "t-17") as reader,
            subscribed(service.url, "t-17", max_queue=1, ping_interval=None) as stuck,
        ):
            bookings: list[str] = []
            slowest = 0.0
            while await live(api, "websocket") == 2 and len(bookings) < ENOUGH:
                bookings.append(await book(api, "t-17", notes_of_the_test=LARGE))
                begun = time.monotonic()
                event = await next_event(reader)
                slowest = max(slowest, time.monotonic() - begun)
                assert event["booking"]["id"] == bookings[-1]
                await acknowledge(reader, event["id"])
            assert QUEUE_LIMIT < len(bookings) < ENOUGH
            assert slowest < CLOSE_SECONDS, "so long at least would take whoever waits for one that does not read"
            read = [event["id"] for event in await read_to_the_end(stuck)]
            assert stuck.close_code == 1013
            assert 0 < len(read) < len(bookings)
            missed = set(bookings[len(read) :])
            async with subscribed(service.url, "t-17", last_id=read[-1]) as back:
                assert missed <= {event["booking"]["id"] for event in await next_events(back, missed)}


async def test_a_device_that_is_gone_without_a_word_is_noticed_by_the_heartbeat(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    await live_again(api, "websocket", 0)
    # A device that answers no ping, as one that lost its network.
    async with subscribed(service.url, provider, token=token, max_queue=1, ping_interval=None) as lost:
        lost.transport.pause_reading()
        assert await live(api, "websocket") == 1
        await live_again(api, "websocket", 0)
    booking_id = await book(api, provider)
    journey = await judged(api, booking_id)
    assert outcome_of(journey) == ("exempt", "no_live_subscription")


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/realtime/events"])
async def test_devices_that_go_while_they_are_connecting_leave_nothing_behind(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str, path: str
) -> None:
    request = handshake(service, path, provider, token)
    for _ in range(30):
        with sockets.create_connection(("127.0.0.1", service.port)) as raw:
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
            raw.sendall(request)
    await connects(realtime_url(service.url, provider, token=token))
    for transport in ("sse", "websocket"):
        await live_again(api, transport, 0)
    async with subscribed(service.url, provider, token=token) as socket:
        booking_id = await book(api, provider)
        assert (await next_event(socket))["booking"]["id"] == booking_id
    assert not [line for line in service.log_events() if line.get("exception")]


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/realtime/events"])
async def test_a_connection_that_takes_nothing_any_more_is_cut_whatever_waits_to_be_sent(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str, path: str
) -> None:
    with sockets.socket() as raw:
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", service.port))
        raw.sendall(handshake(service, path, provider, token))
        assert raw.recv(16).startswith(b"HTTP/1.1 ")
        peer = raw.getsockname()

        async def cut() -> bool:
            connections = psutil.Process(service.pid).net_connections("tcp4")
            return not any(tuple(found.raddr) == peer for found in connections)

        assert not await cut()
        for _ in range(ENOUGH // 10):
            await asyncio.gather(*(book(api, provider, notes_of_the_test=LARGE) for _ in range(10)))
        await eventually(cut, what="the connection is cut", timeout_seconds=20 * HEARTBEAT_SECONDS)


async def test_server_sent_events_bring_bookings_heartbeats_and_what_was_missed(
    patient: RunningService, provider: str
) -> None:
    async with api_of(patient) as api:
        token = await provider_token(api, provider)
        async with event_stream(patient, provider, token=token) as stream:
            assert stream.response.headers["content-type"].startswith("text/event-stream")
            seen = await book(api, provider)
            event = await stream.next_booking()
            assert event.booking_id == seen
            assert event.id is not None
            async with api_of(patient, token) as browser:
                assert await acknowledge_by_post(browser, provider, event.id) == 1
                assert await acknowledge_by_post(browser, provider, event.id) == 0
            assert (await stream.next(3 * HEARTBEAT_SECONDS)).comment is not None
        missed = [await book(api, provider) for _ in range(5)]
        async with event_stream(patient, provider, token=token, last_event_id=event.id) as stream:
            assert [(await stream.next_booking()).booking_id for _ in missed] == missed
        assert outcome_of(await judged(api, seen)) == ("good", "on_time")


async def test_a_closed_event_stream_is_noticed(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    await live_again(api, "sse", 0)
    async with event_stream(service, provider, token=token):
        assert await live(api, "sse") == 1
    await live_again(api, "sse", 0)


async def test_a_provider_can_acknowledge_its_own_events_only(
    service: RunningService, api: httpx.AsyncClient, provider: str, token: str
) -> None:
    body = {"provider_id": f"{provider}-other", "ids": [str(uuid4())]}
    async with api_of(service, token) as browser:
        answer = await browser.post("/v1/realtime/acknowledgements", json=body)
        assert answer.status_code == httpx.codes.FORBIDDEN
    assert await acknowledge_by_post(api, f"{provider}-other", str(uuid4())) == 0


async def test_what_a_subscriber_is_sent_is_not_written_to_the_log_at_any_level() -> None:
    with running_service(log_level="debug") as service:
        async with api_of(service) as api, subscribed(service.url, "t-17") as socket:
            await book(api, "t-17", customer_name="Sam Secret")
            event = await next_event(socket)
            assert event["booking"]["customer_name"] == "Sam Secret"
            await acknowledge(socket, event["id"])
            await delivered(api, event["booking"]["id"])
        assert "Secret" not in service.output()


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_clean_stop_lets_subscribers_go_at_once(transport: str) -> None:
    with running_service() as service:
        if transport == "sse":
            async with event_stream(service, "t-17") as stream:
                stopping = asyncio.create_task(asyncio.to_thread(service.stop))
                assert not [event async for event in stream if event.name is not None]
                await stopping
        else:
            async with subscribed(service.url, "t-17") as socket:
                stopping = asyncio.create_task(asyncio.to_thread(service.stop))
                await read_to_the_end(socket)
                await stopping
                assert socket.close_code in (1001, 1012)
        assert not [line for line in service.log_events() if line["level"] == "error"]


async def test_after_kill_9_subscriptions_end_as_of_the_last_sign_of_life_and_pending_events_come_again() -> None:
    with running_service(grace_realtime=2, settle=0.2) as service:
        async with api_of(service) as api, subscribed(service.url, "t-17") as socket:
            before = await book(api, "t-17")
            event = await next_event(socket)
            assert event["booking"]["id"] == before
            service.kill()
        service.start()
        async with api_of(service) as api:
            during = await book(api, "t-17")
            assert outcome_of(await judged(api, during)) == ("exempt", "no_live_subscription")
            async with subscribed(service.url, "t-17") as socket:
                events = await next_events(socket, {before, during})
                assert event["id"] in {found["id"] for found in events}
                await acknowledge(socket, *(found["id"] for found in events))
                for booking_id in (before, during):
                    await delivered(api, booking_id)
