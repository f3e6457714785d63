"""A booking reaches the provider's browser by Web Push, whatever its push service does meanwhile."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.inprocess import InProcess, service_in_process
from support.loopback_service import loopback_service
from support.push_receiver import Answer, Fault, PushReceiver
from support.realtime import api_of, book, delivered, journey_of, journey_when, judged, outcome_of, provider_token
from support.service import API_TOKEN, RunningService, running_service
from support.store import Alter
from support.waiting import eventually

from monitor.pipeline.push.endpoints import AllowedHosts
from monitor.pipeline.push.keys import application_server_key, generate, load_private_key
from monitor.pipeline.push.sender import PushSender
from monitor.pipeline.push.vapid import VapidSigner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PRIVATE_KEY = generate()
KEY = load_private_key(PRIVATE_KEY)
QUICK = {
    "grace_notification": 5,
    "settle": 0.2,
    "delivery_first_delay": 0.3,
    "repair_attempts": 0,
    "push_timeout": 4,
}
"""Seconds that a test can wait for, and longer than a push service on a busy machine may take."""


@pytest.fixture
def receiver() -> Iterator[PushReceiver]:
    with PushReceiver(application_server_key=application_server_key(KEY)) as running:
        yield running


@asynccontextmanager
async def pushing(receiver: PushReceiver, directory: Path, **settings: Any) -> AsyncIterator[InProcess]:
    """A service that may push to the receiver."""
    effective = {**QUICK, "push_allowed_hosts": receiver.allowed_host, **settings}
    sender = PushSender(
        VapidSigner(KEY, "mailto:oncall@example.com"),
        AllowedHosts.parse([receiver.allowed_host]),
        timeout_seconds=effective["push_timeout"],
        ssl_context=receiver.trusting_context(),
        address_allowed=lambda address: address.is_loopback,
    )
    async with sender, service_in_process(directory, sender=sender, **effective) as running:
        yield running


@pytest.fixture
async def running(receiver: PushReceiver, tmp_path: Path) -> AsyncIterator[InProcess]:
    async with pushing(receiver, tmp_path) as service:
        yield service


async def subscribe(api: httpx.AsyncClient, receiver: PushReceiver, provider_id: str) -> dict[str, Any]:
    """Subscribe a browser of a provider, and tell the service of it."""
    document = receiver.new_subscription(provider_id)
    answer = await api.put(f"/v1/providers/{provider_id}/push-subscriptions", json=document)
    assert answer.status_code == httpx.codes.OK, answer.text
    return document


def results(journey: dict[str, Any]) -> list[str]:
    return [attempt["result"] for attempt in journey["delivery"]["push"]["history"]]


def times(journey: dict[str, Any]) -> list[float]:
    return [datetime.fromisoformat(attempt["at"]).timestamp() for attempt in journey["delivery"]["push"]["history"]]


async def in_state(api: httpx.AsyncClient, booking_id: str, state: str) -> dict[str, Any]:
    return await journey_when(
        api, booking_id, lambda found: found["delivery"]["push"]["state"] == state, what=f"the push is {state}"
    )


async def test_a_browser_gets_the_push_of_a_booking_and_its_acceptance_is_the_evidence(
    receiver: PushReceiver, running: InProcess
) -> None:
    await subscribe(running.api, receiver, "t-17")
    booking_id = await book(running.api, "t-17", customer_name="Sam Secret", customer_phone="+62 811 0000 111")
    journey = await delivered(running.api, booking_id, "push")
    assert receiver.problems == []
    [message] = receiver.messages
    payload = json.loads(message.payload)
    assert (message.provider, message.urgency) == ("t-17", "high")
    assert (payload["type"], payload["booking_id"]) == ("booking.created", booking_id)
    assert payload["id"] == journey["delivery"]["push"]["id"]
    assert b"Secret" not in message.payload
    assert b"811 0000" not in message.payload
    assert b"628110000111" not in message.payload
    assert results(journey) == ["ok"]
    journey = await judged(running.api, booking_id, "notification", "push")
    assert outcome_of(journey, "notification") == outcome_of(journey, "push") == ("good", "on_time")


async def test_every_browser_of_the_provider_and_nobody_else_gets_the_push(
    receiver: PushReceiver, running: InProcess
) -> None:
    for provider_id in ("t-17", "t-17", "t-18"):
        await subscribe(running.api, receiver, provider_id)
    booking_id = await book(running.api, "t-17")
    await journey_when(
        running.api,
        booking_id,
        lambda found: [one["state"] for one in found["deliveries"] if one["stage"] == "push"] == ["delivered"] * 2,
        what="both are delivered",
    )
    assert [message.provider for message in receiver.messages] == ["t-17", "t-17"]


async def test_a_push_service_in_trouble_is_asked_again(receiver: PushReceiver, running: InProcess) -> None:
    receiver.answer_with(Answer(500), Answer(fault=Fault.CUT), Answer(201))
    await subscribe(running.api, receiver, "t-17")
    booking_id = await book(running.api, "t-17")
    journey = await delivered(running.api, booking_id, "push")
    assert results(journey) == ["error", "error", "ok"]
    assert len({message.topic for message in receiver.messages}) == 1
    ttls = [message.ttl_seconds for message in receiver.messages]
    assert ttls == sorted(ttls, reverse=True)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_push_service_that_asks_to_be_left_alone_is(
    receiver: PushReceiver, running: InProcess, status: int
) -> None:
    receiver.answer_with(Answer(status, headers=[("Retry-After", "2")]), Answer(201))
    await subscribe(running.api, receiver, "t-17")
    booking_id = await book(running.api, "t-17")
    journey = await delivered(running.api, booking_id, "push")
    first, second = times(journey)
    assert results(journey) == ["error", "ok"]
    assert second - first >= 2


async def test_a_push_lives_until_the_response_deadline_and_is_given_up_when_the_next_attempt_would_be_later(
    receiver: PushReceiver, tmp_path: Path
) -> None:
    async with pushing(receiver, tmp_path, response_deadline=20) as running:
        receiver.answer_with(Answer(201), Answer(429, headers=[("Retry-After", "30")]))
        await subscribe(running.api, receiver, "t-17")
        await delivered(running.api, await book(running.api, "t-17"), "push")
        assert 15 <= receiver.messages[0].ttl_seconds <= 20
        journey = await in_state(running.api, await book(running.api, "t-17"), "dead")
        assert results(journey) == ["error"]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_is_gone_is_forgotten_and_nothing_is_owed_to_it(
    receiver: PushReceiver, running: InProcess, status: int
) -> None:
    receiver.answer_with(Answer(status))
    await subscribe(running.api, receiver, "t-17")
    booking_id = await book(running.api, "t-17")
    journey = await in_state(running.api, booking_id, "lapsed")
    assert results(journey) == ["gone"]

    async def forgotten() -> bool:
        found = await journey_of(running.api, await book(running.api, "t-17"))
        return "push" not in found["delivery"]

    await eventually(forgotten, what="the subscription is removed")
    journey = await judged(running.api, booking_id, "notification", "push")
    assert outcome_of(journey, "notification") == ("good", "on_time")
    assert outcome_of(journey, "push") == ("exempt", "no_live_subscription")


async def test_a_refused_push_is_dead_the_notification_has_failed_and_a_redrive_delivers_it(
    receiver: PushReceiver, running: InProcess
) -> None:
    receiver.answer_with(Answer(403))
    await subscribe(running.api, receiver, "t-17")
    booking_id = await book(running.api, "t-17")
    journey = await in_state(running.api, booking_id, "dead")
    assert results(journey) == ["rejected"]
    assert journey["delivery"]["push"]["last_error"] == "push service: 403"
    journey = await judged(running.api, booking_id, "notification")
    assert outcome_of(journey, "notification") == ("failed", "push_rejected")
    answer = await running.api.post("/v1/deliveries/redrive", json={"stage": "push", "booking_id": booking_id})
    assert answer.json() == {"redriven": 1}
    journey = await delivered(running.api, booking_id, "push")
    assert results(journey) == ["rejected", "ok"]
    assert outcome_of(journey, "notification") == ("failed", "push_rejected")
    assert (await running.api.post("/v1/deliveries/redrive", json={})).json() == {"redriven": 0}


async def test_a_push_that_vanished_from_the_outbox_is_missed_and_made_good(
    receiver: PushReceiver, tmp_path: Path
) -> None:
    receiver.answer_with(Answer(fault=Fault.HANG))
    async with pushing(receiver, tmp_path, repair_attempts=3) as running:
        await subscribe(running.api, receiver, "t-17")
        booking_id = await book(running.api, "t-17")
        assert await running.service.writer.submit(Alter("DELETE FROM deliveries WHERE stage = 'push'", {})) == 1
        journey = await judged(running.api, booking_id, "notification")
        assert outcome_of(journey, "notification") == ("missing", "never_attempted")
        await journey_when(
            running.api,
            booking_id,
            lambda found: found["delivery"].get("push", {}).get("state") == "delivered",
            what="the push is made good",
        )
        line = 'booking_repairs_total{stage="notification",result="repaired"} 1'

        async def counted() -> bool:
            return line in (await running.api.get("/metrics")).text

        await eventually(counted, what="the repair is counted")


async def test_one_browser_that_accepts_is_enough(receiver: PushReceiver, running: InProcess) -> None:
    receiver.answer_with(Answer(403), Answer(201))
    for _ in range(2):
        await subscribe(running.api, receiver, "t-17")
    journey = await judged(running.api, await book(running.api, "t-17"), "notification")
    assert outcome_of(journey, "notification") == ("good", "on_time")


async def test_an_answered_booking_is_not_pushed_again(receiver: PushReceiver, running: InProcess) -> None:
    receiver.answer_with(*[Answer(500)] * 20)
    await subscribe(running.api, receiver, "t-17")
    booking_id = await book(running.api, "t-17")
    await in_state(running.api, booking_id, "retrying")
    (await running.api.post(f"/v1/bookings/{booking_id}/accept")).raise_for_status()
    attempts = len(receiver.messages)
    journey = await judged(running.api, booking_id, "notification")
    assert journey["delivery"]["push"]["state"] == "lapsed"
    assert len(receiver.messages) <= attempts + 1  # one may have been on its way


async def test_a_push_service_that_hangs_gets_each_push_once_at_a_time(receiver: PushReceiver, tmp_path: Path) -> None:
    # Five pushes and one at a time: the last ones wait for longer than the outbox would otherwise leave them alone.
    receiver.answer_with(*[Answer(fault=Fault.HANG)] * 3)
    async with pushing(receiver, tmp_path, push_concurrency=1, push_timeout=3, delivery_first_delay=60) as running:
        await subscribe(running.api, receiver, "t-17")
        bookings = [await book(running.api, "t-17") for _ in range(5)]
        for booking_id in bookings[3:]:
            await delivered(running.api, booking_id, "push")
        pushed = [json.loads(message.payload)["booking_id"] for message in receiver.messages]
        assert sorted(pushed) == sorted(bookings)


async def test_a_stop_does_not_wait_for_a_push_service_that_hangs(receiver: PushReceiver, tmp_path: Path) -> None:
    receiver.answer_with(Answer(fault=Fault.HANG))
    async with pushing(receiver, tmp_path, push_timeout=60) as running:
        await subscribe(running.api, receiver, "t-17")
        await book(running.api, "t-17")

        async def under_way() -> bool:
            return bool(receiver.messages)

        await eventually(under_way, what="the push is under way")
        begun = running.service.clock()
    assert running.service.clock() - begun < 6_000


async def test_a_browser_can_be_taken_off_again(receiver: PushReceiver, running: InProcess) -> None:
    document = await subscribe(running.api, receiver, "t-17")
    path = "/v1/providers/t-17/push-subscriptions"
    for status in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
        answer = await running.api.request("DELETE", path, json={"endpoint": document["endpoint"]})
        assert answer.status_code == status
    journey = await judged(running.api, await book(running.api, "t-17"), "notification")
    assert "push" not in journey["delivery"]
    assert receiver.messages == []


@pytest.fixture(scope="module")
def strict() -> Iterator[tuple[RunningService, PushReceiver]]:
    """The service as it is delivered, and a push service on loopback that is on its list all the same."""
    with PushReceiver() as receiver:
        settings = {
            **QUICK,
            "api_tokens": API_TOKEN,
            "vapid_private_key": PRIVATE_KEY,
            "push_allowed_hosts": receiver.allowed_host,
        }
        with running_service({"SSL_CERT_FILE": str(receiver.certificate_file)}, **settings) as service:
            yield service, receiver


async def test_a_listed_host_that_leads_to_our_own_network_gets_no_connection(
    strict: tuple[RunningService, PushReceiver],
) -> None:
    service, receiver = strict
    async with api_of(service) as api:
        await subscribe(api, receiver, "t-17")
        journey = await judged(api, await book(api, "t-17"), "notification")
    assert outcome_of(journey, "notification") == ("failed", "push_rejected")
    assert journey["delivery"]["push"]["history"][0]["detail"] == "push service: AddressNotAllowedError"
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://localhost/push/x",
        "https://evil.example.com/push/x",
        "https://127.0.0.1/push/x",
        "https://[::1]/push/x",
        "https://169.254.169.254/latest",
        "https://user@localhost/push/x",
        "no url",
        "",
    ],
)
async def test_an_endpoint_that_is_not_allowed_is_refused_and_named(
    strict: tuple[RunningService, PushReceiver], endpoint: str
) -> None:
    service, receiver = strict
    document = {**receiver.new_subscription("t-17"), "endpoint": endpoint}
    async with api_of(service) as api:
        answer = await api.put("/v1/providers/t-17/push-subscriptions", json=document)
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert answer.json()["errors"][0]["field"] == "endpoint"


async def test_a_provider_manages_its_own_browsers_only(strict: tuple[RunningService, PushReceiver]) -> None:
    service, receiver = strict
    document = receiver.new_subscription("t-19")
    path = "/v1/providers/t-19/push-subscriptions"
    async with api_of(service) as api:
        mine, foreign = await provider_token(api, "t-19"), await provider_token(api, "t-20")
    async with api_of(service, foreign) as stranger, api_of(service, mine) as owner:
        assert (await stranger.put(path, json=document)).status_code == httpx.codes.FORBIDDEN
        assert (await owner.put(path, json=document)).status_code == httpx.codes.OK
        body = {"endpoint": document["endpoint"]}
        assert (await stranger.request("DELETE", path, json=body)).status_code == httpx.codes.FORBIDDEN
        others = "/v1/providers/t-20/push-subscriptions"
        assert (await stranger.request("DELETE", others, json=body)).status_code == httpx.codes.NOT_FOUND
        assert (await owner.request("DELETE", path, json=body)).status_code == httpx.codes.NO_CONTENT


async def test_without_a_key_no_browser_is_taken(receiver: PushReceiver, tmp_path: Path) -> None:
    async with service_in_process(tmp_path) as running:
        document = receiver.new_subscription("t-17")
        answer = await running.api.put("/v1/providers/t-17/push-subscriptions", json=document)
    assert answer.status_code == httpx.codes.CONFLICT
    assert "VAPID_PRIVATE_KEY" in answer.json()["detail"]


async def test_a_push_that_was_under_way_at_kill_9_is_sent_again(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(fault=Fault.HANG))
    environment = {"SSL_CERT_FILE": str(receiver.certificate_file)}
    settings = {**QUICK, "vapid_private_key": PRIVATE_KEY, "push_allowed_hosts": receiver.allowed_host}
    with loopback_service(environment, **settings) as service:
        async with api_of(service) as api:
            await subscribe(api, receiver, "t-17")
            booking_id = await book(api, "t-17")

            async def under_way() -> bool:
                return bool(receiver.messages)

            await eventually(under_way, what="the push is under way")
        service.kill()
        service.start()
        async with api_of(service) as api:
            journey = await delivered(api, booking_id, "push")
    assert results(journey) == ["ok"]
    assert [json.loads(message.payload)["booking_id"] for message in receiver.messages] == [booking_id] * 2
    assert receiver.problems == []
