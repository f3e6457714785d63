"""The probe: one synthetic booking, sent and followed from outside, as a customer and a provider would.

It believes nothing but what it can read back: the chat room's first message, the provider's notification, and
the event that reaches a real subscriber. Both the canary and `booking-monitor check` are made of it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from monitor.domain.chat import MessageKind

POLL_SECONDS = 0.05

_GARBAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, httpx.InvalidURL)
"""What comes of reading an answer that is not one of ours, and of asking on with what stands in it."""


class Step(StrEnum):
    """What must come true for a booking, in the words of the incident's own test."""

    BOOKING = "Booking Creation"
    CHAT_ROOM = "Chat Room Creation"
    NOTIFICATION = "Notification Creation"
    REALTIME = "Realtime Subscription"


@dataclass(slots=True)
class Report:
    """How a probe went."""

    passed: dict[Step, float] = field(default_factory=dict)
    """Steps that came true, with the seconds that it took from sending the booking."""
    errors: dict[Step, str] = field(default_factory=dict)
    booking_id: str | None = None
    answer_lost: bool = False
    """Whether the booking was sent without an answer: then it may exist all the same."""
    left_behind: str | None = None
    """What could not be removed again, and why."""

    @property
    def ok(self) -> bool:
        """Whether every step came true."""
        return len(self.passed) == len(Step)


class ProbeError(Exception):
    """A step did not come true; the message says what was seen instead."""


class AnswerLostError(ProbeError):
    """Whether what was asked for has been done is not known."""


@dataclass(frozen=True, slots=True)
class Target:
    """The instance that is probed."""

    url: str
    """Without a path, as http://127.0.0.1:8080."""
    token: str | None
    timeout_seconds: float = 10
    """For each step."""


async def probe(target: Target, *, clean_up: bool) -> Report:
    """Send a booking through a running instance, follow it, and remove it again, also when that is cancelled.

    Raises httpx.InvalidURL for the target's URL; what the instance does is in the report.
    """
    report = Report()
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    encrypted = not target.url.startswith("http://")  # without need, to load the authorities would hold up the loop
    async with httpx.AsyncClient(
        base_url=target.url, headers=headers, timeout=target.timeout_seconds, trust_env=False, verify=encrypted
    ) as client:
        provider_id = f"canary-{secrets.token_hex(8)}"
        try:
            async with _subscribed(client, target, provider_id) as socket:
                await _follow(client, target, provider_id, socket, report)
        except (ProbeError, httpx.HTTPError, OSError, WebSocketException, TimeoutError, *_GARBAGE) as error:
            report.errors.setdefault(Step.REALTIME, _describe(error))
            if report.booking_id is None and Step.BOOKING not in report.errors:
                await _follow(client, target, provider_id, None, report)
        finally:
            if clean_up:
                await _clean_up(client, provider_id, report)
    return report


async def _follow(
    client: httpx.AsyncClient, target: Target, provider_id: str, socket: ClientConnection | None, report: Report
) -> None:
    begun = time.monotonic()
    report.answer_lost = True  # unless it comes
    try:
        made = await _make(client, provider_id)
    except (ProbeError, httpx.HTTPError, OSError) as error:
        report.errors[Step.BOOKING] = _describe(error)
        report.answer_lost = isinstance(error, AnswerLostError)
        for step in Step:
            report.errors.setdefault(step, "there is no booking to follow")
        return
    report.booking_id, report.answer_lost = made["booking"]["id"], False
    report.passed[Step.BOOKING] = time.monotonic() - begun
    steps = {
        Step.CHAT_ROOM: _see_chat_room(client, made),
        Step.NOTIFICATION: _see_notification(client, made),
    }
    if socket is not None:
        steps[Step.REALTIME] = _see_event(client, socket, made)
    await asyncio.gather(*(_time(report, step, work, begun, target) for step, work in steps.items()))


async def _time(report: Report, step: Step, work: Any, begun: float, target: Target) -> None:
    try:
        async with asyncio.timeout(target.timeout_seconds):
            await work
    except (ProbeError, httpx.HTTPError, OSError, WebSocketException, TimeoutError, *_GARBAGE) as error:
        report.errors[step] = _describe(error, target.timeout_seconds)
    else:
        report.passed[step] = time.monotonic() - begun


async def _make(client: httpx.AsyncClient, provider_id: str) -> Any:
    """Make the booking of this provider, who has just one: asked again, it is the same booking."""
    try:
        answer = await client.post(
            "/v1/bookings",
            headers={"Idempotency-Key": provider_id},
            json={
                "provider_id": provider_id,
                "provider_name": "Canary provider",
                "customer_id": f"{provider_id}-customer",
                "customer_name": "Canary customer",
                "service_type": "canary",
                "traffic": "canary",
            },
        )
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise
    except httpx.TransportError as error:
        raise AnswerLostError(_describe(error)) from error
    if answer.status_code != httpx.codes.CREATED:
        kind = AnswerLostError if answer.is_server_error else ProbeError
        raise kind(f"POST /v1/bookings answered {answer.status_code}, not 201")
    try:
        made = answer.json()
        _ = made["booking"]["id"]
    except _GARBAGE as error:
        raise AnswerLostError("POST /v1/bookings answered 201 without a booking") from error
    return made


async def _see_chat_room(client: httpx.AsyncClient, made: Any) -> None:
    room_id = made["chat_room"]["id"]
    while True:
        answer = await client.get(f"/v1/chat-rooms/{room_id}/messages")
        if answer.is_success:
            for message in answer.json()["messages"]:
                if message["kind"] == MessageKind.BOOKING_RECEIVED:
                    return
        await asyncio.sleep(POLL_SECONDS)


async def _see_notification(client: httpx.AsyncClient, made: Any) -> None:
    booking = made["booking"]
    while True:
        answer = await client.get(f"/v1/providers/{booking['provider_id']}/notifications")
        if answer.is_success and any(one["booking_id"] == booking["id"] for one in answer.json()["notifications"]):
            return
        await asyncio.sleep(POLL_SECONDS)


async def _see_event(client: httpx.AsyncClient, socket: ClientConnection, made: Any) -> None:
    booking_id = made["booking"]["id"]
    async for frame in socket:
        event = json.loads(frame)
        if event.get("type") == "booking.created" and event["booking"]["id"] == booking_id:
            if event["booking"]["provider_id"] != made["booking"]["provider_id"]:
                raise ProbeError("the event names another provider than the booking")
            await socket.send(json.dumps({"type": "ack", "id": event["id"]}))
            break
    while True:
        answer = await client.get(f"/v1/bookings/{booking_id}/journey")
        if answer.is_success and any(
            stage["stage"] == "realtime" and stage["evidence_at"] for stage in answer.json()["stages"]
        ):
            return
        await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _subscribed(client: httpx.AsyncClient, target: Target, provider_id: str) -> AsyncIterator[ClientConnection]:
    answer = await client.post(f"/v1/providers/{provider_id}/token")
    if not answer.is_success:
        raise ProbeError(f"POST /v1/providers/{{id}}/token answered {answer.status_code}, not 200")
    query = urlencode({"provider_id": provider_id, "token": answer.json()["token"]})
    url = f"{target.url.replace('http', 'ws', 1)}/v1/realtime?{query}"
    async with connect(url, open_timeout=target.timeout_seconds, proxy=None) as socket:
        hello = json.loads(await asyncio.wait_for(socket.recv(), target.timeout_seconds))
        if hello.get("type") != "subscribed":
            raise ProbeError("the realtime endpoint did not confirm the subscription")
        yield socket


async def _clean_up(client: httpx.AsyncClient, provider_id: str, report: Report) -> None:
    """Remove the booking; if its answer was lost, the same request once more says which one that is."""
    if report.booking_id is None and not report.answer_lost:
        return
    try:
        booking_id = report.booking_id or (await _make(client, provider_id))["booking"]["id"]
        await _remove(client, booking_id)
    except (ProbeError, httpx.HTTPError, OSError, *_GARBAGE) as error:
        what = "Its synthetic booking, if there is one," if report.answer_lost else "Its synthetic booking"
        report.left_behind = f"{what} could not be removed: {_describe(error)}"


async def _remove(client: httpx.AsyncClient, booking_id: str) -> None:
    answer = await client.delete(f"/v1/bookings/{booking_id}")
    if answer.status_code != httpx.codes.NO_CONTENT:
        raise ProbeError(f"DELETE /v1/bookings/{{id}} answered {answer.status_code}, not 204")


def _describe(error: Exception, timeout_seconds: float | None = None) -> str:
    if isinstance(error, TimeoutError) and timeout_seconds is not None:
        return f"not seen within {timeout_seconds:g} s"
    if isinstance(error, ProbeError):
        return str(error)
    if isinstance(error, _GARBAGE):
        return f"the answer is not a booking-monitor's ({type(error).__name__})"
    return f"{type(error).__name__}: {error}".removesuffix(": ")
