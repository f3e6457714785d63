"""The faults of the drill: the four root causes of the incident, and three more that end a night.

Each is put into the sealed copy from outside: rows vanish behind its back, its tables are renamed, its clients
behave as the old ones did. What the copy then says of it is its own diagnosis.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect

from monitor.domain.vocabulary import AlertName, AttemptResult, Reason
from monitor.drill.sealed import Sealed
from monitor.pipeline.push.answers import PushResult
from monitor.pipeline.push.endpoints import PushSubscription
from monitor.pipeline.push.relay import Sender
from monitor.store.inbox import PutPushSubscription

BAD_BOOKINGS = 3
"""A total outage pages at the third due booking."""
GOOD_BOOKINGS = 12
"""Enough good ones afterwards for the evidence of three bad ones to be gone."""
_BUSY_SECONDS = 5


class Fault(Protocol):
    """Something that goes wrong, and is put right again."""

    def __call__(self, sealed: Sealed) -> AbstractAsyncContextManager[None]:
        """Let it go wrong; it is right again when the block ends."""
        ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault, and the page that it must lead to."""

    name: str
    title: str
    fault: Fault
    alert: AlertName
    reason: Reason | None
    """The cause class that the page must name."""
    sender: Sender | None = None
    """The push service, where the fault needs one."""


@asynccontextmanager
async def chat_room_never_made(sealed: Sealed) -> AsyncIterator[None]:
    """Root cause 1: the component that should make the chat room does not run."""
    for _ in range(BAD_BOOKINGS):
        _outside(sealed, "DELETE FROM chat_rooms WHERE booking_id = ?", await sealed.book())
    yield


@asynccontextmanager
async def notifications_collection_missing(sealed: Sealed) -> AsyncIterator[None]:
    """Root cause 2: notifications are written to a collection that does not exist."""
    for _ in range(BAD_BOOKINGS):
        await sealed.book()
    _outside(sealed, "ALTER TABLE notifications RENAME TO notifications_under_another_name")
    try:
        yield
    finally:
        _outside(sealed, "ALTER TABLE notifications_under_another_name RENAME TO notifications")


@asynccontextmanager
async def client_compares_legacy_field(sealed: Sealed) -> AsyncIterator[None]:
    """Root cause 3: the client's filter compares `therapistId`, and the booking has `provider_id`."""

    def answer(event: dict[str, Any]) -> dict[str, Any]:
        if event["booking"].get("therapistId") == "drill-provider":
            return {"type": "ack", "id": event["id"]}
        return {"type": "mismatch", "id": event["id"], "field": "therapistId"}

    async with _subscriber(sealed, answer):
        for _ in range(BAD_BOOKINGS):
            await sealed.book()
        yield


@asynccontextmanager
async def bookings_in_legacy_fields(sealed: Sealed) -> AsyncIterator[None]:
    """Root cause 4: bookings arrive with `therapistId` only."""
    for _ in range(BAD_BOOKINGS):
        body = {
            "therapistId": "drill-provider",
            "therapistName": "Drill provider",
            "customerId": "drill-customer",
            "customerName": "Drill customer",
        }
        answer = await sealed.client.post("/v1/bookings", json=body)
        answer.raise_for_status()
    yield
    # Drift is counted over an hour; here that hour is made to pass.
    _outside(sealed, "UPDATE drift_minutes SET minute = minute - 120")


@asynccontextmanager
async def push_service_down(sealed: Sealed) -> AsyncIterator[None]:
    """The push service answers nothing but errors."""
    await sealed.service.writer.submit(
        PutPushSubscription("drill-provider", "https://push.invalid/drill", "-", "-", None, sealed.service.clock(), 1)
    )
    for _ in range(BAD_BOOKINGS):
        await sealed.book()
    yield
    _outside(sealed, "DELETE FROM push_subscriptions")


@asynccontextmanager
async def subscriber_silent(sealed: Sealed) -> AsyncIterator[None]:
    """The provider's dashboard is connected, and takes no notice of any event."""
    async with _subscriber(sealed, lambda _event: None):
        for _ in range(BAD_BOOKINGS):
            await sealed.book()
        yield


@asynccontextmanager
async def database_stalled(sealed: Sealed) -> AsyncIterator[None]:
    """Another process holds the database, and nothing can be written."""
    await sealed.book()
    with closing(sqlite3.connect(sealed.database, isolation_level=None, timeout=_BUSY_SECONDS)) as outside:
        outside.execute("BEGIN IMMEDIATE")
        yield
        outside.execute("ROLLBACK")


class BrokenPushService:
    """A push service that is down."""

    async def send(
        self, subscription: PushSubscription, payload: bytes, ttl_seconds: int, *, about: str | None = None
    ) -> PushResult:
        """Fail, as a push service does that answers 503."""
        _ = (subscription, payload, ttl_seconds, about)
        return PushResult(AttemptResult.ERROR, "503")


SCENARIOS = (
    Scenario(
        "chat-room",
        "1 the chat room is never made",
        chat_room_never_made,
        AlertName.CHAT_ROOM_LOW,
        Reason.NEVER_ATTEMPTED,
    ),
    Scenario(
        "notification",
        "2 the notifications collection does not exist",
        notifications_collection_missing,
        AlertName.NOTIFICATION_LOW,
        Reason.TARGET_MISSING,
    ),
    Scenario(
        "realtime-field",
        "3 the client compares another field",
        client_compares_legacy_field,
        AlertName.REALTIME_LOW,
        Reason.FIELD_MISMATCH,
    ),
    Scenario(
        "legacy-fields",
        "4 bookings come in legacy fields only",
        bookings_in_legacy_fields,
        AlertName.SCHEMA_DRIFT,
        Reason.FIELD_MISMATCH,
    ),
    Scenario(
        "push-down",
        "the push service is down",
        push_service_down,
        AlertName.NOTIFICATION_LOW,
        Reason.PUSH_REJECTED,
        BrokenPushService(),
    ),
    Scenario(
        "realtime-silent",
        "the subscriber is silent",
        subscriber_silent,
        AlertName.REALTIME_LOW,
        Reason.SUBSCRIBER_SILENT,
    ),
    Scenario("database", "the database is stalled", database_stalled, AlertName.LEDGER_STALE, None),
)
"""The drill's programme."""


def _outside(sealed: Sealed, statement: str, *values: str) -> None:
    """Do something to the copy's database behind its back."""
    with closing(sqlite3.connect(sealed.database, timeout=_BUSY_SECONDS)) as connection, connection:
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute(statement, values)


def well_behaved_subscriber(sealed: Sealed) -> AbstractAsyncContextManager[None]:
    """A provider's dashboard as it should be: it acknowledges what it gets."""
    return _subscriber(sealed, lambda event: {"type": "ack", "id": event["id"]})


@asynccontextmanager
async def _subscriber(sealed: Sealed, answer: Any) -> AsyncIterator[None]:
    """A provider's dashboard that is connected, and answers events in its way."""
    url = f"{sealed.url.replace('http', 'ws', 1)}/v1/realtime?provider_id=drill-provider"
    async with connect(url, proxy=None) as socket:
        await socket.recv()
        task = asyncio.create_task(_listen(socket, answer))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _listen(socket: ClientConnection, answer: Any) -> None:
    async for frame in socket:
        event = json.loads(frame)
        reply = answer(event) if event["type"] == "booking.created" else None
        if reply is not None:
            await socket.send(json.dumps(reply))
