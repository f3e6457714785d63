"""Realtime: events to providers over WebSocket and server-sent events, and their acknowledgements."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import Annotated, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Header, Query, Response, WebSocket, WebSocketDisconnect
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from monitor.domain.booking import ID_PATTERN
from monitor.domain.ids import new_id
from monitor.domain.vocabulary import Transport
from monitor.pipeline.realtime.hub import Subscriber, SubscriberLimitError
from monitor.service import Service
from monitor.store.writer import StoreUnavailableError
from monitor.telemetry.logs import get_logger
from monitor.web import schemas
from monitor.web.auth import Authenticator, Caller
from monitor.web.context import AnyCaller, JsonRoute, ServiceHere, answer, authenticator_of, problems
from monitor.web.direct import direct_way
from monitor.web.problems import ProblemError, answer_for

log = get_logger(__name__)

router = APIRouter(tags=["realtime"], route_class=JsonRoute)

GOING_AWAY = 1001
"""Close codes of RFC 6455, section 7.4.1, and of its registry."""
UNSUPPORTED_DATA = 1003
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009
TRY_AGAIN_LATER = 1013
LONGEST_MESSAGE = 4096
"""Characters that a subscriber's message may have."""
CLOSE_SECONDS = 5.0
"""For a subscriber that reads nothing any more to be let go."""
SEND_SECONDS = 30.0
"""For an event to leave over a connection that takes none."""

EVENT_ID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
"""UUIDv7, version and variant (RFC 9562)."""
ProviderQuery = Annotated[str, Query(pattern=ID_PATTERN)]
TokenQuery = Annotated[str | None, Query(description="A provider's token, for browsers, which can set no header.")]
LastIdQuery = Annotated[str | None, Query(pattern=EVENT_ID_PATTERN, description="Id of the last event that was seen.")]


@router.websocket("/v1/realtime")
async def realtime_socket(
    socket: WebSocket, provider_id: ProviderQuery, token: TokenQuery = None, last_id: LastIdQuery = None
) -> None:
    """Events of one provider. The client answers each with `{"type":"ack","id":...}`."""
    service: Service = socket.app.state.service
    authenticator: Authenticator = socket.app.state.authenticator
    subscriber = _subscriber(service, provider_id, Transport.WEBSOCKET)
    try:
        authenticator.identify(socket.headers, token).require_provider(provider_id)
        await service.realtime.open(subscriber)
    except (ProblemError, SubscriberLimitError, StoreUnavailableError) as error:
        denial = answer_for(error)
        if denial is None:
            raise
        await socket.send_denial_response(denial)
        return
    try:
        ended = await _serve(service, socket, subscriber, last_id)
    finally:
        await service.realtime.close(subscriber)
    await _close(socket, subscriber)
    for end in ended:
        if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect | OSError | RuntimeError):
            raise end


async def _serve(
    service: Service, socket: WebSocket, subscriber: Subscriber, last_id: str | None
) -> list[BaseException | None]:
    """Send and take messages until either side goes; returns what each of the parts ended with."""
    try:
        await socket.accept()
        await socket.send_text(_hello(service, subscriber))
    except WebSocketDisconnect:
        return []
    way = direct_way(socket.scope)
    subscriber.send_at_once = lambda event: way.send(event.frame)
    way.take = lambda text: _acknowledge(service, subscriber, text)
    tasks = [
        asyncio.create_task(_send_events(socket, subscriber)),
        asyncio.create_task(_take_messages(service, socket, subscriber)),
        asyncio.create_task(subscriber.gone.wait()),
    ]
    catching_up = asyncio.create_task(_catch_up(service, subscriber, last_id))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        way.take = subscriber.send_at_once = None
        for task in (*tasks, catching_up):
            task.cancel()
        ended = await asyncio.gather(*tasks, catching_up, return_exceptions=True)
    return [end if isinstance(end, BaseException) else None for end in ended]


async def _close(socket: WebSocket, subscriber: Subscriber) -> None:
    code, reason = GOING_AWAY, ""
    if subscriber.overflowed:
        code, reason = TRY_AGAIN_LATER, "too slow; reconnect with last_id"
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code, reason)
    except (TimeoutError, RuntimeError, WebSocketDisconnect) as error:
        log.debug("realtime.close_skipped", error=error, subscription_id=subscriber.id)


async def _send_events(socket: WebSocket, subscriber: Subscriber) -> None:
    """Send events; the heartbeat is the server's ping."""
    while (event := await subscriber.next()) is not None:
        await socket.send_text(event.frame)


def _acknowledge(service: Service, subscriber: Subscriber, text: str) -> bool:
    """Take a message if it is an acknowledgement of something that was sent, and not yet acknowledged, here."""
    said = _read_message(text) if len(text) <= LONGEST_MESSAGE else _Said()
    return said.acknowledged is not None and service.realtime.acknowledge(subscriber, said.acknowledged)


async def _take_messages(service: Service, socket: WebSocket, subscriber: Subscriber) -> None:
    """Take what is no acknowledgement. Of those as many are allowed as events were sent; the rest has its limit."""
    allowed = service.settings.subscriber_messages_per_second
    second, taken = 0, 0
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        text = message.get("text")
        if text is None:
            await socket.close(UNSUPPORTED_DATA, "messages are text")
            return
        if len(text) > LONGEST_MESSAGE:
            await socket.close(MESSAGE_TOO_BIG, f"a message has at most {LONGEST_MESSAGE} characters")
            return
        said = _read_message(text)
        if said.mismatched is not None and service.realtime.mismatch(subscriber, *said.mismatched):
            continue
        now = int(time.monotonic())
        second, taken = (second, taken + 1) if now == second else (now, 1)
        if taken > allowed:
            await socket.close(POLICY_VIOLATION, f"at most {allowed} messages a second")
            return
        if said.fault is not None:
            await socket.send_text(orjson.dumps({"type": "error", "detail": said.fault}).decode())


_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MESSAGES = 'a message is {"type":"ack","id":"..."}, {"type":"mismatch","id":"...","field":"..."} or {"type":"ping"}'


class _Said(NamedTuple):
    acknowledged: str | None = None
    """Id of the event, if that is what was said."""
    mismatched: tuple[str, str] | None = None
    """Id of the event, and the field on which the client's filter did not match it."""
    fault: str | None = None
    """What is wrong with the message."""


def _read_message(text: str) -> _Said:
    try:
        message = orjson.loads(text)
        kind, event_id = message["type"], message.get("id")
    except (ValueError, TypeError, KeyError, AttributeError):
        return _Said(fault='a message is JSON, {"type":"ack","id":"..."}')
    if kind == "ack" and isinstance(event_id, str):
        return _Said(acknowledged=event_id)
    field = message.get("field")
    if kind == "mismatch" and isinstance(event_id, str) and isinstance(field, str) and _FIELD.fullmatch(field):
        return _Said(mismatched=(event_id, field))
    return _Said() if kind == "ping" else _Said(fault=_MESSAGES)


class EventStream(Response):
    """Server-sent events. An event that cannot leave in time ends the stream: a slow reader holds up nobody."""

    media_type = "text/event-stream"

    def __init__(self, service: Service, subscriber: Subscriber, last_id: str | None) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._service = service
        self._subscriber = subscriber
        self._last_id = last_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until either side goes."""
        _ = scope
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        tasks = [
            asyncio.create_task(self._send(send)),
            asyncio.create_task(_disconnected(receive)),
            asyncio.create_task(self._subscriber.gone.wait()),
        ]
        catching_up = asyncio.create_task(_catch_up(self._service, self._subscriber, self._last_id))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, catching_up):
                task.cancel()
            ended = await asyncio.gather(*tasks, catching_up, return_exceptions=True)
            await self._service.realtime.close(self._subscriber)
            await self._end(send)
        for end in ended:
            if isinstance(end, Exception) and not isinstance(end, TimeoutError | OSError):
                raise end

    async def _send(self, send: Send) -> None:
        await self._write(send, f"event: subscribed\ndata: {_hello(self._service, self._subscriber)}\n\n")
        while not self._subscriber.closed:
            event = await self._subscriber.next(self._service.settings.realtime_heartbeat)
            if event is None:
                await self._write(send, ": still here\n\n")
            else:
                await self._write(send, f"id: {event.id}\nevent: booking.created\ndata: {event.frame}\n\n")

    async def _end(self, send: Send) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, text: str) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def _caller_of_stream(request: Request, token: TokenQuery = None) -> Caller:
    return authenticator_of(request).identify(request.headers, token)


@router.get(
    "/v1/realtime/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events."}, **problems(429)},
)
async def realtime_events(
    service: ServiceHere,
    caller: Annotated[Caller, Depends(_caller_of_stream)],
    provider_id: ProviderQuery,
    last_id: LastIdQuery = None,
    last_event_id: Annotated[str | None, Header(pattern=EVENT_ID_PATTERN)] = None,
) -> Response:
    """Events of one provider, as server-sent events. They are acknowledged by `POST /v1/realtime/acknowledgements`."""
    caller.require_provider(provider_id)
    subscriber = _subscriber(service, provider_id, Transport.SSE)
    await service.realtime.open(subscriber)
    return EventStream(service, subscriber, last_event_id or last_id)


@router.post(
    "/v1/realtime/acknowledgements",
    response_model=schemas.Acknowledged,
    responses=problems(413, 415),
)
async def acknowledge_events(body: schemas.Acknowledgements, service: ServiceHere, caller: AnyCaller) -> Response:
    """Acknowledge events that were received over a transport that cannot answer."""
    caller.require_provider(body.provider_id)
    return answer({"acknowledged": await service.realtime.acknowledge_later(body.provider_id, body.ids)})


def _subscriber(service: Service, provider_id: str, transport: Transport) -> Subscriber:
    return Subscriber(new_id(service.clock()), provider_id, transport, service.settings.subscriber_queue_limit)


def _hello(service: Service, subscriber: Subscriber) -> str:
    return orjson.dumps(
        {
            "type": "subscribed",
            "id": subscriber.id,
            "provider_id": subscriber.provider_id,
            "heartbeat_seconds": service.settings.realtime_heartbeat,
        }
    ).decode()


async def _catch_up(service: Service, subscriber: Subscriber, last_id: str | None) -> None:
    """Send what was missed. Where that fails, the connection ends: the subscriber comes back and is caught up then."""
    try:
        await service.realtime.catch_up(subscriber, last_id)
    except StoreUnavailableError as error:
        log.warning("realtime.catch_up_later", subscription_id=subscriber.id, error=error)
        subscriber.close()
    except Exception:  # a fault of ours: who asked must not go on as if caught up, and it is raised where it is logged
        subscriber.close()
        raise


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
