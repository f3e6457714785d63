"""Each step of a booking is a line of the log: its event, its level, its trace, and no personal data."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.bookings import booking, problem
from support.loopback_service import loopback_service
from support.overload import SMALL_QUEUE, TURNED_AWAY, overload
from support.push_receiver import Answer, PushReceiver
from support.realtime import acknowledge, api_of, event_stream, next_event, subscribed
from support.service import QUICK, running_service
from support.waiting import eventually, wait_until

from monitor.pipeline.push.keys import generate

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from support.service import RunningService

TRACES = {"good": "a" * 32, "silent": "b" * 32, "damaged": "c" * 32, "stream": "d" * 32, "refused": "e" * 32}
PERSON = {"customer_name": "Zephyrine", "customer_phone": "+62 899-7310-4482", "provider_name": "Wirabhumi"}
GRACE_SECONDS = 9
CREATED = {"booking.created": "info", "chat_room.created": "info", "notification.created": "info"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[PushReceiver]:
    with PushReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def service(receiver: PushReceiver) -> Iterator[RunningService]:
    settings = {
        **QUICK,
        # Each is longer than a device, or a receiver, on a busy machine may take to answer.
        "acknowledge_timeout": 4,
        "grace_chat_room": GRACE_SECONDS,
        "grace_notification": GRACE_SECONDS,
        "grace_realtime": GRACE_SECONDS,
        "repair_attempts": 0,
        "delivery_first_delay": 60,
        "vapid_private_key": generate(),
        "push_allowed_hosts": receiver.allowed_host,
    }
    with loopback_service({"SSL_CERT_FILE": str(receiver.certificate_file)}, **settings) as running:
        yield running


async def book(api: httpx.AsyncClient, provider_id: str, trace: str) -> httpx.Response:
    """Ask for a booking within one of TRACES."""
    headers = {"traceparent": f"00-{TRACES[trace]}-00f067aa0ba902b7-01"}
    return await api.post("/v1/bookings", json=booking(**PERSON, provider_id=provider_id), headers=headers)


async def push_to(api: httpx.AsyncClient, receiver: PushReceiver, provider_id: str) -> None:
    """Subscribe a browser of a provider."""
    path = f"/v1/providers/{provider_id}/push-subscriptions"
    (await api.put(path, json=receiver.new_subscription(provider_id))).raise_for_status()


def lines_of(service: RunningService, trace: str) -> list[dict[str, Any]]:
    """The lines of one of TRACES."""
    return [line for line in service.log_events() if line.get("trace_id") == TRACES[trace]]


async def told(service: RunningService, trace: str, expected: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Wait for lines with these events and levels; no others may be in the trace. Returns them by event."""

    async def complete() -> list[dict[str, Any]]:
        found = lines_of(service, trace)
        return found if len(found) >= len(expected) else []

    lines = await eventually(complete, what=f"{set(expected)} are logged", timeout_seconds=30)
    assert {line["event"]: line["level"] for line in lines} == expected
    assert len(lines) == len(expected), "each is told once"
    assert [value for value in PERSON.values() if value in service.output()] == []
    return {line["event"]: line for line in lines}


async def test_a_booking_that_reaches_its_provider_is_told_step_by_step(
    service: RunningService, receiver: PushReceiver
) -> None:
    async with api_of(service) as api, subscribed(service.url, "t-17") as phone:
        await push_to(api, receiver, "t-17")
        made = (await book(api, "t-17", "good")).json()
        await acknowledge(phone, (await next_event(phone))["id"])
        lines = await told(service, "good", {**CREATED, "push.sent": "info", "realtime.matched": "info"})
    assert {line["booking_id"] for line in lines.values()} == {made["booking"]["id"]}
    assert lines["chat_room.created"]["chat_room_id"] == made["chat_room"]["id"]
    assert lines["notification.created"]["notification_id"] == made["notification"]["id"]
    assert lines["push.sent"]["detail"] == "201"


async def test_what_does_not_reach_the_provider_is_told_as_an_error(
    service: RunningService, receiver: PushReceiver
) -> None:
    async with api_of(service) as api, subscribed(service.url, "t-18") as phone:
        await push_to(api, receiver, "t-18")
        receiver.answer_with(Answer(403))
        await book(api, "t-18", "silent")
        await next_event(phone)
        failures = {
            "push.failed": "error",
            "realtime.unmatched": "error",
            "notification.delivery_failed": "error",
            "realtime.match_failed": "error",
        }
        lines = await told(service, "silent", {**CREATED, **failures})
    assert (lines["push.failed"]["result"], lines["push.failed"]["detail"]) == ("rejected", "403")
    assert lines["realtime.unmatched"]["attempts"] == 1
    assert lines["notification.delivery_failed"]["reason"] == "push_rejected"
    assert lines["realtime.match_failed"]["reason"] == "subscriber_silent"


async def test_a_chat_room_that_is_not_there_and_a_filter_that_does_not_match_are_told_as_errors(
    service: RunningService,
) -> None:
    async with api_of(service) as api, subscribed(service.url, "t-19") as phone:
        made = (await book(api, "t-19", "damaged")).json()
        with closing(sqlite3.connect(service.database_path)) as connection, connection:
            connection.execute("DELETE FROM chat_rooms WHERE id = ?", (made["chat_room"]["id"],))
        event = await next_event(phone)
        await phone.send(json.dumps({"type": "mismatch", "id": event["id"], "field": "therapistId"}))
        failures = dict.fromkeys(("chat_room.creation_failed", "realtime.mismatched", "realtime.match_failed"), "error")
        lines = await told(service, "damaged", {**CREATED, **failures})
    assert lines["chat_room.creation_failed"]["outcome"] == "missing"
    assert lines["realtime.mismatched"]["compared_field"] == "therapistId"
    assert lines["realtime.match_failed"]["reason"] == "field_mismatch"


async def test_an_acknowledgement_that_comes_by_another_way_is_told_as_well(service: RunningService) -> None:
    async with api_of(service) as api, event_stream(service, "t-20") as stream:
        await book(api, "t-20", "stream")
        event = await stream.next_booking()
        body = {"provider_id": "t-20", "ids": [event.id]}
        (await api.post("/v1/realtime/acknowledgements", json=body)).raise_for_status()
        lines = await told(service, "stream", {**CREATED, "realtime.matched": "info"})
    assert lines["realtime.matched"]["event_id"] == event.id


async def test_a_booking_that_the_store_refuses_is_told_as_an_error() -> None:
    with running_service() as service:
        with closing(sqlite3.connect(service.database_path)) as connection:
            connection.execute("ALTER TABLE notifications RENAME TO misplaced")
        async with api_of(service) as api:
            problem(await book(api, "t-21", "refused"), 503)
        lines = await told(service, "refused", {"booking.creation_failed": "error"})
    failed = lines["booking.creation_failed"]
    assert (failed["provider_id"], failed["traffic"]) == ("t-21", "real")
    assert failed["error"] == "OperationalError: no such table: notifications"


def test_every_booking_that_a_full_queue_turns_away_is_told() -> None:
    with running_service(**SMALL_QUEUE) as service, service.client() as client:
        refused = {f"t-{n}" for n, answer in enumerate(overload(service, client)) if answer.status_code != 201}
        assert len(refused) >= TURNED_AWAY

        def failures() -> list[dict[str, Any]]:
            found = service.log_events("booking.creation_failed")
            return found if len(found) >= len(refused) else []

        lines = wait_until(failures, what="they are logged")
    assert {line["provider_id"] for line in lines} == refused
    assert len(lines) == len(refused) == len({line["trace_id"] for line in lines})
    assert all("waiting for the store" in line["error"] for line in lines)
