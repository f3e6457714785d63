"""Fan-out over NATS. Loaded only where it is used: the client brings much with it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from monitor.pipeline.realtime.bus import Receive
from monitor.pipeline.realtime.hub import Event
from monitor.telemetry.logs import get_logger
from monitor.telemetry.tracing import parse

log = get_logger(__name__)

_Sent = tuple[str, str, str, int, orjson.Fragment, str | None]
_LARGEST_MESSAGE_BYTES = 512 * 1024
_RECONNECT_WAIT_SECONDS = 1
_CONNECT_TIMEOUT_SECONDS = 2
_PENDING_BYTES = 8 * 1024 * 1024
"""What may wait to be sent; more is left to the store."""
_PING_SECONDS = 3
_PINGS_UNANSWERED = 2
"""After so many the connection is given up and made anew."""
_CLOSE_SECONDS = 1.0


def subject_of(environment: str) -> str:
    """The subject of an installation: two that share a NATS must not hear of each other's bookings."""
    return f"booking-monitor.events.{hashlib.sha256(environment.encode()).hexdigest()[:16]}"


class NatsBus:
    """Fan-out over NATS core: one message for all events of a group commit."""

    def __init__(self, url: str, replica: str, environment: str) -> None:
        self._url = url
        self._replica = replica
        self._subject = subject_of(environment)
        self._client = Client()
        self._connecting: asyncio.Task[None] | None = None

    async def start(self, receive: Receive) -> None:
        """Connect in the background, and keep at it for as long as NATS is away."""
        self._connecting = asyncio.create_task(self._connect(receive))

    async def _connect(self, receive: Receive) -> None:
        async def take(message: Msg) -> None:
            for event in _decode(message.data, self._replica):
                receive(event)

        while True:
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS + 1):
                    await self._client.connect(
                        self._url,
                        name=f"booking-monitor {self._replica}",
                        max_reconnect_attempts=-1,
                        reconnect_time_wait=_RECONNECT_WAIT_SECONDS,
                        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
                        pending_size=2 * _PENDING_BYTES,  # beyond it the client would wait for a server that hangs
                        ping_interval=_PING_SECONDS,
                        max_outstanding_pings=_PINGS_UNANSWERED,
                        error_cb=_note_error,
                        disconnected_cb=_note("bus.disconnected"),
                        reconnected_cb=_note("bus.reconnected"),
                    )
                await self._client.subscribe(self._subject, cb=take)
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.warning("bus.unreachable", error=type(error).__name__)
                await _close(self._client)
                self._client = Client()
                await asyncio.sleep(_RECONNECT_WAIT_SECONDS)
            else:
                log.info("bus.connected")
                return

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell the others of a group of events, in as few messages as hold them."""
        batch: list[_Sent] = []
        size = 0
        for event in events:
            batch.append(
                (
                    event.id,
                    event.booking_id,
                    event.provider_id,
                    event.sequence,
                    orjson.Fragment(event.booking_json),
                    event.traceparent,
                )
            )
            size += len(event.booking_json)
            if size > _LARGEST_MESSAGE_BYTES:
                await self._send(batch)
                batch, size = [], 0
        if batch:
            await self._send(batch)

    async def stop(self) -> None:
        """Disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await _close(self._client)

    async def _send(self, batch: list[_Sent]) -> None:
        if not self._client.is_connected or self._client.pending_data_size > _PENDING_BYTES:
            return
        try:
            await self._client.publish(self._subject, orjson.dumps({"from": self._replica, "events": batch}))
        except (nats.errors.Error, OSError) as error:
            log.warning("bus.publish_failed", error=type(error).__name__, events=len(batch))


def _decode(data: bytes, replica: str) -> list[Event]:
    try:
        message = orjson.loads(data)
        if message["from"] == replica:
            return []
        return [
            Event(
                _text(event_id),
                _text(booking_id),
                _text(provider_id),
                int(sequence),
                _object(booking),
                _traceparent(traceparent),
            )
            for event_id, booking_id, provider_id, sequence, booking, traceparent in message["events"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        log.error("bus.message_unreadable", error=type(error).__name__)  # noqa: TRY400 - a traceback would show it
        return []


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _traceparent(value: object) -> str | None:
    """A trace context in our own spelling; None for a text that is none, as an older replica's bare trace id."""
    context = None if value is None else parse(_text(value))
    return None if context is None else context.traceparent


def _object(value: object) -> bytes:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return orjson.dumps(value)


async def _close(client: Client) -> None:
    """Close a connection, or give up: the client would wait for a server that hangs, and may ignore a cancellation."""
    closing = asyncio.create_task(client.close())
    _, unfinished = await asyncio.wait((closing,), timeout=_CLOSE_SECONDS)
    if unfinished:
        closing.cancel()
        log.warning("bus.not_closed", error="TimeoutError")
    elif (error := closing.exception()) is not None:
        log.warning("bus.not_closed", error=type(error).__name__)


async def _note_error(error: Exception) -> None:
    log.warning("bus.error", error=type(error).__name__)


def _note(event: str) -> Callable[[], Awaitable[None]]:
    async def note() -> None:
        log.warning(event)

    return note
