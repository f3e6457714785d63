"""A provider's device: subscribes over WebSocket or server-sent events, as a browser would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from support.service import RunningService

EVENT_SECONDS = 10.0
"""For an event to arrive, unless a test asks for it sooner."""
PATIENCE_SECONDS = 30.0
"""For a journey to go on, which takes a few seconds on an idle machine."""


def realtime_url(base_url: str, provider_id: str, **query: str | None) -> str:
    """Where a provider subscribes over WebSocket."""
    given = {name: value for name, value in {"provider_id": provider_id, **query}.items() if value is not None}
    return f"{base_url.replace('http', 'ws', 1)}/v1/realtime?{urlencode(given)}"


@asynccontextmanager
async def subscribed(
    base_url: str, provider_id: str, *, token: str | None = None, last_id: str | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """Connect a device, and wait until it is subscribed."""
    url = realtime_url(base_url, provider_id, token=token, last_id=last_id)
    async with connect(url, **{"proxy": None, "close_timeout": 1, **options}) as socket:
        hello = json.loads(await asyncio.wait_for(socket.recv(), EVENT_SECONDS))
        assert (hello["type"], hello["provider_id"]) == ("subscribed", provider_id)
        yield socket


async def next_event(socket: ClientConnection, timeout_seconds: float = EVENT_SECONDS) -> dict[str, Any]:
    """The next event of a booking. Raises TimeoutError when none comes."""
    async with asyncio.timeout(timeout_seconds):
        frame: dict[str, Any] = json.loads(await socket.recv())
    assert frame["type"] == "booking.created"
    return frame


async def next_events(socket: ClientConnection, wanted: set[str]) -> list[dict[str, Any]]:
    """Read events until all wanted bookings came; their first arrivals, in order."""
    seen: dict[str, dict[str, Any]] = {}
    while not wanted <= seen.keys():
        event = await next_event(socket)
        seen.setdefault(event["booking"]["id"], event)
    return list(seen.values())


async def read_to_the_end(socket: ClientConnection) -> list[dict[str, Any]]:
    """All events until the other side closes the connection."""
    read = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            read.append(json.loads(await asyncio.wait_for(socket.recv(), 20)))
    return read


async def acknowledge(socket: ClientConnection, *event_ids: str) -> None:
    """Acknowledge events."""
    for event_id in event_ids:
        await socket.send(json.dumps({"type": "ack", "id": event_id}))


def api_of(service: RunningService, token: str | None = None) -> httpx.AsyncClient:
    """A client of a service that shows `token`, or else the API token if the service asks for one."""
    shown = token or service.token
    headers = {"Authorization": f"Bearer {shown}"} if shown else {}
    return httpx.AsyncClient(base_url=service.url, headers=headers, timeout=30, trust_env=False)


async def book(api: httpx.AsyncClient, provider_id: str, **fields: Any) -> str:
    """Make a booking; returns its id."""
    answer = await api.post(
        "/v1/bookings",
        json={
            "provider_id": provider_id,
            "provider_name": "Ayu",
            "customer_id": "c-9",
            "customer_name": "Sam",
            **fields,
        },
    )
    assert answer.status_code == httpx.codes.CREATED, answer.text
    booking_id: str = answer.json()["booking"]["id"]
    return booking_id


async def journey_of(api: httpx.AsyncClient, booking_id: str) -> dict[str, Any]:
    """The journey of a booking, its stages by name and its only delivery of each stage as `delivery`."""
    found: dict[str, Any] = (await api.get(f"/v1/bookings/{booking_id}/journey")).raise_for_status().json()
    found["stages"] = {stage["stage"]: stage for stage in found["stages"]}
    found["delivery"] = {delivery["stage"]: delivery for delivery in found["deliveries"]}
    return found


async def journey_when(
    api: httpx.AsyncClient,
    booking_id: str,
    condition: Callable[[dict[str, Any]], Any],
    *,
    what: str,
    timeout_seconds: float = PATIENCE_SECONDS,
) -> dict[str, Any]:
    """Wait until a booking's journey satisfies `condition`, and return it."""

    async def look() -> dict[str, Any] | None:
        found = await journey_of(api, booking_id)
        return found if condition(found) else None

    found = await eventually(look, what=what, timeout_seconds=timeout_seconds)
    assert found is not None
    return found


async def judged(api: httpx.AsyncClient, booking_id: str, *stages: str) -> dict[str, Any]:
    """Wait until each of a booking's stages (realtime, if none is named) has its outcome; returns the journey."""
    wanted = stages or ("realtime",)
    return await journey_when(
        api, booking_id, lambda found: all(outcome_of(found, stage)[0] for stage in wanted), what="it is judged"
    )


async def delivered(api: httpx.AsyncClient, booking_id: str, stage: str = "realtime") -> dict[str, Any]:
    """Wait until a booking's delivery is acknowledged; returns the journey."""
    return await journey_when(
        api, booking_id, lambda found: found["delivery"][stage]["state"] == "delivered", what="it is delivered"
    )


def outcome_of(journey: Mapping[str, Any], stage: str = "realtime") -> tuple[str | None, str | None]:
    """Outcome and reason of a stage."""
    return journey["stages"][stage]["outcome"], journey["stages"][stage]["reason"]


async def provider_token(api: httpx.AsyncClient, provider_id: str) -> str:
    """A token with which a browser may subscribe as this provider."""
    token: str = (await api.post(f"/v1/providers/{provider_id}/token")).raise_for_status().json()["token"]
    return token


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream; a comment has only `comment`."""

    name: str | None
    data: str
    id: str | None
    comment: str | None = None

    @property
    def booking_id(self) -> str:
        """The booking that it tells of."""
        booking_id: str = json.loads(self.data)["booking"]["id"]
        return booking_id


class EventStream:
    """The events of a stream, in the format of the HTML standard, section 9.2."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self, timeout_seconds: float = EVENT_SECONDS) -> ServerSentEvent:
        """The next event or comment. Raises TimeoutError, or StopAsyncIteration at the stream's end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(timeout_seconds):
            while line := await anext(self._lines):
                name, _, value = line.partition(":")
                fields[name or "comment"] = value.removeprefix(" ")
        return ServerSentEvent(fields.get("event"), fields.get("data", ""), fields.get("id"), fields.get("comment"))

    async def __aiter__(self) -> AsyncIterator[ServerSentEvent]:
        """All events and comments until the stream ends."""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield await self.next()

    async def next_booking(self) -> ServerSentEvent:
        """The next event of a booking."""
        while (event := await self.next()).name != "booking.created":
            pass
        return event


@asynccontextmanager
async def event_stream(
    service: RunningService, provider_id: str, *, token: str | None = None, last_event_id: str | None = None
) -> AsyncIterator[EventStream]:
    """Subscribe over server-sent events, and wait until it is done."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with (
        api_of(service, token) as api,
        api.stream("GET", "/v1/realtime/events", params={"provider_id": provider_id}, headers=headers) as response,
    ):
        assert response.status_code == httpx.codes.OK, await response.aread()
        stream = EventStream(response)
        assert (await stream.next()).name == "subscribed"
        yield stream
