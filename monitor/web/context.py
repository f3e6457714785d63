"""What a route is given: the service, and who is calling."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

import orjson
from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from monitor.service import Service
from monitor.web.auth import Authenticator, Caller
from monitor.web.front import read_body, require_json
from monitor.web.problems import MEDIA_TYPE
from monitor.web.schemas import UUID_PATTERN

LONGEST_PAGE = 200
"""Entries that one page of a list has at most."""


def service_of(request: Request) -> Service:
    """The service that answers this request."""
    service: Service = request.app.state.service
    return service


def authenticator_of(request: Request) -> Authenticator:
    """Who knows the tokens."""
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def caller_of(request: Request) -> Caller:
    """Who is calling. Raises ProblemError when nobody known is."""
    return authenticator_of(request).identify(request.headers)


def api_caller_of(request: Request) -> Caller:
    """A holder of an API token. Raises ProblemError for anybody else."""
    caller = caller_of(request)
    caller.require_api()
    return caller


class JsonRoute(APIRoute):
    """A route whose body, if it takes one, is JSON and within the limit.

    The framework reads and parses a body before it asks any dependency, so this stands before the framework.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that the framework would use, behind the reading of the body."""
        handle = super().get_route_handler()
        return handle if self.body_field is None else functools.partial(_read_json, handle)


async def _read_json(handle: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    require_json(request)
    body = await read_body(request, service_of(request).settings.body_limit)
    request._body = body  # noqa: SLF001 - where Starlette itself keeps a body once it is read
    if body:
        try:
            request._json = from_json(body, allow_inf_nan=False)  # noqa: SLF001 - and what it means
        except ValueError as error:
            fault = {"type": "json_invalid", "loc": ("body",), "msg": f"is JSON in UTF-8: {error}"}
            raise RequestValidationError([fault]) from error
    return await handle(request)


def answer(body: Any, status: int = 200) -> Response:
    """A response of JSON."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def next_cursor(ids: Sequence[str], limit: int) -> str | None:
    """The cursor of the page of a list that follows the one with these ids; None where none does."""
    return ids[-1] if len(ids) == limit else None


ServiceHere = Annotated[Service, Depends(service_of)]
AnyCaller = Annotated[Caller, Depends(caller_of)]
ApiCaller = Annotated[Caller, Depends(api_caller_of)]
EntityId = Annotated[str, Path(pattern=UUID_PATTERN)]
Limit = Annotated[int, Query(ge=1, le=LONGEST_PAGE)]
CursorQuery = Annotated[str | None, Query(pattern=UUID_PATTERN, description="`next_cursor` of the page before.")]

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}, "description": description}
    for status, description in {
        401: "No known token.",
        403: "Not for this caller.",
        404: "There is no such thing.",
        409: "Not as things stand.",
        413: "The body is too large.",
        415: "The body is not said to be JSON.",
        422: "The request is not in order.",
        429: "Too many.",
        503: "Not now.",
    }.items()
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route can answer with, for its OpenAPI entry; those of every route are included."""
    return {status: PROBLEMS[status] for status in sorted({401, 403, 422, 503, *statuses})}
