"""Bookings and their journeys."""

from __future__ import annotations

import re
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from monitor.domain.booking import ID_PATTERN
from monitor.domain.lifecycle import Action, Status
from monitor.domain.representation import UnreadableBookingError, booking_json, show_booking
from monitor.domain.vocabulary import Traffic
from monitor.pipeline.desk import IDEMPOTENCY_KEY_PATTERN
from monitor.service import Service
from monitor.store import bookings
from monitor.store.lifecycle import RemoveSynthetic, Take, UnknownBookingError
from monitor.telemetry.logs import get_logger
from monitor.telemetry.tracing import TraceContext
from monitor.web import schemas
from monitor.web.auth import Authenticator
from monitor.web.context import (
    AnyCaller,
    ApiCaller,
    CursorQuery,
    EntityId,
    Limit,
    ServiceHere,
    answer,
    next_cursor,
    problems,
)
from monitor.web.front import json_response, read_body, require_json
from monitor.web.problems import invalid_field

log = get_logger(__name__)

router = APIRouter(tags=["bookings"])


async def make_booking(request: Request, service: Service, authenticator: Authenticator) -> Response:
    """Make a booking. In the way of every booking, so without the framework's layers; its schema is in `openapi`."""
    caller = authenticator.identify(request.headers)
    caller.require_api()
    require_json(request)
    body = await read_body(request, service.settings.body_limit)
    keys = request.headers.getlist("idempotency-key")
    if len(keys) > 1:
        raise invalid_field("Idempotency-Key", "is given once")
    key = keys[0] if keys else None
    if key is not None and not re.fullmatch(IDEMPOTENCY_KEY_PATTERN, key):
        raise invalid_field("Idempotency-Key", "has 1 to 255 characters, visible ones of ASCII")
    trace: TraceContext = request.scope["state"]["trace"]
    made = await service.desk.make(body, trace, caller=caller.name, idempotency_key=key)
    headers = {"Location": f"/v1/bookings/{made.booking_id}", "traceresponse": trace.traceparent}
    if made.replayed:
        headers["Idempotent-Replayed"] = "true"
    return json_response(made.body, 201, headers)


@router.get("/v1/bookings", response_model=schemas.BookingPage, responses=problems())
async def list_bookings(
    service: ServiceHere,
    caller: AnyCaller,
    provider_id: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    status: Status | None = None,
    cursor: CursorQuery = None,
    limit: Limit = 50,
) -> Response:
    """Bookings, newest first. A provider sees its own."""
    if caller.provider_id is not None:
        caller.require_provider(provider_id or caller.provider_id)
        provider_id = caller.provider_id
    rows = await service.readers.run(
        bookings.page,
        provider_id=provider_id,
        status=None if status is None else status.value,
        before=cursor,
        limit=limit,
    )
    shown, unreadable = [], []
    for row in rows:
        try:
            shown.append(orjson.Fragment(booking_json(row)))
        except UnreadableBookingError as error:
            log.error("booking.unreadable", booking_id=row["id"], error=str(error))  # noqa: TRY400 - told without what the row holds
            unreadable.append(row["id"])
    return answer(
        {"bookings": shown, "unreadable": unreadable, "next_cursor": next_cursor([row["id"] for row in rows], limit)}
    )


@router.get("/v1/bookings/{booking_id}", response_model=schemas.Booking, responses=problems(404))
async def get_booking(booking_id: EntityId, service: ServiceHere, caller: AnyCaller) -> Response:
    """One booking."""
    row = await service.readers.run(bookings.find, booking_id)
    if row is None or caller.provider_id not in (None, row["provider_id"]):
        raise UnknownBookingError(booking_id)
    return answer(show_booking(row))


@router.get("/v1/bookings/{booking_id}/journey", response_model=schemas.FullJourney, responses=problems(404))
async def get_journey(booking_id: EntityId, service: ServiceHere, caller: ApiCaller) -> Response:
    """A booking's stages with their evidence and outcomes, and its deliveries with their attempts."""
    _ = caller
    journey = await service.journeys.find(booking_id)
    if journey is None:
        raise UnknownBookingError(booking_id)
    return answer(journey)


@router.get("/v1/journeys", response_model=schemas.JourneyPage, responses=problems())
async def list_journeys(
    service: ServiceHere,
    caller: ApiCaller,
    provider_id: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
    traffic: Traffic | None = None,
    cursor: CursorQuery = None,
    limit: Limit = 50,
) -> Response:
    """Journeys, newest first, without their deliveries."""
    _ = caller
    shown, unreadable = await service.journeys.recent(
        provider_id=provider_id, traffic=None if traffic is None else traffic.value, before=cursor, limit=limit
    )
    ids = sorted([*(journey["booking_id"] for journey in shown), *unreadable], reverse=True)
    return answer({"journeys": shown, "unreadable": unreadable, "next_cursor": next_cursor(ids, limit)})


async def _take(booking_id: str, action: Action, service: ServiceHere, caller: AnyCaller) -> Response:
    taken: Any = await service.writer.offer(Take(booking_id, action, service.clock(), caller.provider_id))
    return answer(show_booking(taken))


@router.post("/v1/bookings/{booking_id}/accept", response_model=schemas.Booking, responses=problems(404, 409))
async def accept_booking(booking_id: EntityId, service: ServiceHere, caller: AnyCaller) -> Response:
    """The provider takes the booking. Possible until its response deadline."""
    return await _take(booking_id, Action.ACCEPT, service, caller)


@router.post("/v1/bookings/{booking_id}/decline", response_model=schemas.Booking, responses=problems(404, 409))
async def decline_booking(booking_id: EntityId, service: ServiceHere, caller: AnyCaller) -> Response:
    """The provider does not take the booking. Possible until its response deadline."""
    return await _take(booking_id, Action.DECLINE, service, caller)


@router.post("/v1/bookings/{booking_id}/cancel", response_model=schemas.Booking, responses=problems(404, 409))
async def cancel_booking(booking_id: EntityId, service: ServiceHere, caller: ApiCaller) -> Response:
    """The booking is called off."""
    return await _take(booking_id, Action.CANCEL, service, caller)


@router.post("/v1/bookings/{booking_id}/complete", response_model=schemas.Booking, responses=problems(404, 409))
async def complete_booking(booking_id: EntityId, service: ServiceHere, caller: AnyCaller) -> Response:
    """The service was rendered."""
    return await _take(booking_id, Action.COMPLETE, service, caller)


@router.delete("/v1/bookings/{booking_id}", status_code=204, responses=problems(404, 409))
async def remove_canary_booking(booking_id: EntityId, service: ServiceHere, caller: ApiCaller) -> Response:
    """Remove a canary's booking with all that belongs to it. Real bookings are never removed: 409."""
    _ = caller
    await service.writer.offer(RemoveSynthetic(booking_id))
    return Response(status_code=204)
