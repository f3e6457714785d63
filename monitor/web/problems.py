"""Errors as problem details (RFC 9457): always JSON, naming the field, never a stack trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from monitor.domain.booking import explain
from monitor.domain.intake import FieldError, InvalidBookingError
from monitor.domain.lifecycle import IllegalTransitionError
from monitor.pipeline.push.endpoints import InvalidSubscriptionError
from monitor.pipeline.realtime.hub import SubscriberLimitError
from monitor.store.bookings import KeyReusedError
from monitor.store.chat import RoomClosedError, UnknownRoomError
from monitor.store.lifecycle import NotSyntheticError, UnknownBookingError
from monitor.store.writer import StoreUnavailableError, WriterBusyError
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
INVALID = "The request is not in order."
FAILED = "The service failed; the fault is in its log."
CUT_SHORT = "The service is stopping, and it is not known whether this was done; an Idempotency-Key has it done once."
RETRY_AFTER_SECONDS = "1"


class ProblemError(Exception):
    """A request that cannot be answered, with what to say about it."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.errors = errors


def invalid_field(field: str, allowed: str) -> ProblemError:
    """The problem of a request in which one field is not in order."""
    return ProblemError(422, INVALID, errors=(FieldError(field, allowed),))


def problem(
    status: int, detail: str, *, errors: Iterable[FieldError] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The response that tells of a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    found = [{"field": error.field, "message": error.message} for error in errors]
    if found:
        body["errors"] = found
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def answer_for(error: Exception) -> Response | None:
    """The response to an error that the parts below raise; None for one that is a fault of ours."""
    if isinstance(error, ProblemError):
        return problem(error.status, error.detail, errors=error.errors, headers=error.headers)
    if isinstance(error, InvalidBookingError):
        return problem(422, "The booking is not in order; nothing was stored.", errors=error.errors)
    if isinstance(error, InvalidSubscriptionError):
        fault = FieldError(error.field, error.allowed)
        return problem(422, "The push subscription is not in order.", errors=[fault])
    for kind, (status, detail) in _KNOWN.items():
        if isinstance(error, kind):
            headers = {"Retry-After": RETRY_AFTER_SECONDS} if status in _PASSING else None
            return problem(status, detail or str(error), headers=headers)
    return None


_KNOWN: dict[type[Exception], tuple[int, str]] = {
    KeyReusedError: (409, "This Idempotency-Key came before with another body."),
    IllegalTransitionError: (409, ""),
    NotSyntheticError: (409, "Only a canary's booking can be removed; cancel a real one."),
    UnknownBookingError: (404, "There is no such booking."),
    UnknownRoomError: (404, "There is no such chat room."),
    RoomClosedError: (409, "The chat room has expired and takes no more messages."),
    SubscriberLimitError: (429, ""),
    WriterBusyError: (503, "The service has more to write than it can take; nothing of this was stored."),
    StoreUnavailableError: (
        503,
        "The store did not answer; try again, with the same Idempotency-Key if you have one.",
    ),
}
"""Status and detail by error, the special before the general; an empty detail is what the error itself says."""

_PASSING = (429, 503)


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Have every error of every route answered by a problem; `routes` are all that the application has."""

    async def http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(_methods(routes, request.scope)))
        return problem(error.status_code, str(error.detail), headers=headers)

    for kind in (ProblemError, InvalidBookingError, InvalidSubscriptionError, *_KNOWN):
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _refuse)
    app.add_exception_handler(Exception, _fail)


async def _known(_request: Request, error: Exception) -> Response:
    answer = answer_for(error)
    if answer is None:
        raise error
    return answer


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return problem(422, INVALID, errors=_field_errors(error))


async def _refuse(socket: WebSocket, error: Exception) -> None:
    if not isinstance(error, WebSocketRequestValidationError):
        raise error
    await socket.send_denial_response(problem(422, INVALID, errors=_field_errors(error)))


async def _fail(_request: Request, _error: Exception) -> Response:
    return problem(500, FAILED)


def _methods(routes: Sequence[BaseRoute], scope: Scope) -> set[str]:
    """The methods that the path of a request knows."""
    return {
        method
        for route in routes
        if isinstance(route, Route | APIRoute) and route.matches(scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def _field_errors(error: RequestValidationError | WebSocketRequestValidationError) -> list[FieldError]:
    return [FieldError(_field(fault["loc"]), explain(fault)) for fault in error.errors()]


def _field(location: Sequence[object]) -> str:
    """Where a fault is, without the part of the request (`query`, `body`) unless it is the whole part."""
    return ".".join(str(part) for part in location[1:] or location)
