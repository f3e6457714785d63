"""The OpenAPI document: what the framework derives, mended where it is not true, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from monitor.domain.booking import BookingRequest
from monitor.domain.intake import ALIASES, EXTRA_LIMIT_BYTES
from monitor.pipeline.desk import IDEMPOTENCY_KEY_PATTERN
from monitor.web.context import problems
from monitor.web.schemas import MadeBooking, Problem

MAKE_BOOKING = "/v1/bookings"
"""The route that stands outside the framework's layers."""

_REFERENCE = "#/components/schemas/{model}"
_TRACE = "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"
_OPEN = frozenset({"/metrics", "/healthz", "/readyz"})
"""Paths that ask for no token."""

_ABOUT = """\
Bookings, the chat rooms and notifications that belong to them, and the ledger that proves that they exist.

Every error is a problem of RFC 9457 (`application/problem+json`). Bodies are JSON in UTF-8.

`GET /v1/realtime` is a WebSocket, with the parameters of `GET /v1/realtime/events`. The service sends
`{"type":"booking.created","id":...,"traceparent":...,"booking":{...}}`, and the client answers each with
`{"type":"ack","id":...}`.
"""

_ALIASES = "\n".join(
    f"| `{ours}` | {', '.join(f'`{name}`' for name in names)} |" for ours, names in sorted(ALIASES.items())
)
_BODY = f"""\
Fields that are not named here are kept as `extra`: {EXTRA_LIMIT_BYTES} bytes of JSON at most, and no integer beyond
64 bits. In place of these names those of older clients are accepted:

| field | also known as |
|---|---|
{_ALIASES}

There, ids may be numbers, `price` is in whole units of the currency, and `date` with `time` stands for `scheduled_for`.
"""


def describe(app: FastAPI, *, tokens_needed: bool) -> dict[str, Any]:
    """The document of an application."""
    document = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
    schemas = document["components"]["schemas"]
    _, definitions = models_json_schema(
        [(BookingRequest, "validation"), (MadeBooking, "validation"), (Problem, "validation")],
        ref_template=_REFERENCE,
    )
    schemas.update(definitions["$defs"])
    schemas["BookingRequest"] |= {"additionalProperties": True, "description": _BODY}
    document["paths"].setdefault(MAKE_BOOKING, {})["post"] = _make_booking()
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "pagerduty": {"type": "apiKey", "in": "header", "name": "X-PagerDuty-Signature"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _mend(operation)
            if path not in _OPEN:
                operation.setdefault("security", [{"token": []}] if tokens_needed else [{"token": []}, {}])
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _mend(operation: dict[str, Any]) -> None:
    """Correct two things: a parameter is given or absent but never null, and our 422 is a problem."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
        for choice in choices:
            schema.update(choice)
    invalid = operation["responses"].get("422", {}).get("content", {})
    if "application/json" in invalid:
        del operation["responses"]["422"]


def _make_booking() -> dict[str, Any]:
    made = {
        "description": "The booking is on disk, with all that belongs to it.",
        "headers": {
            "Location": {"required": True, "schema": {"type": "string"}},
            "traceresponse": {
                "description": "The trace of this request, in the form of a W3C traceparent.",
                "required": True,
                "schema": {"type": "string", "pattern": _TRACE},
            },
            "Idempotent-Replayed": {
                "description": "There when an earlier request with this Idempotency-Key made the booking.",
                "schema": {"type": "string", "const": "true"},
            },
        },
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="MadeBooking")}}},
    }
    faults = {str(status): response for status, response in problems(409, 413, 415).items()}
    return {
        "tags": ["bookings"],
        "operationId": "make_booking",
        "summary": "Make Booking",
        "description": "Make a booking: it is on disk, complete, when this answers 201.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Makes it safe to send the same body again: there will be one booking.",
                "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model="BookingRequest")}}},
        },
        "responses": {"201": made, **faults},
    }
