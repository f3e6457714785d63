"""Calling a running instance from the command line. What answers there may be anything."""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

TIMEOUT_SECONDS = 10


class CallError(Exception):
    """The instance did not give the answer that was asked for; the message says what it did instead."""


async def call(url: str, token: str | None, method: str, path: str, wanted: str, kind: type[T], **options: Any) -> T:
    """Send a request to the instance at `url`; return the field `wanted` of what it answers, which is a `kind`.

    Raises CallError.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = await client.request(method, url.rstrip("/") + path, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CallError(f"{url} does not answer: {type(error).__name__}: {error}") from error
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.is_success and isinstance(body, dict):
        try:
            return TypeAdapter(kind).validate_python(body.get(wanted))
        except ValidationError as error:
            raise CallError(f"{url} answered {answer.status_code}, and not as a booking-monitor does") from error
    if isinstance(body, dict) and "detail" in body:
        raise CallError(f"{url} answered {answer.status_code}: {body['detail']}")
    raise CallError(f"{url} answered {answer.status_code}, and not as a booking-monitor does")
